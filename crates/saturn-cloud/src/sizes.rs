//! The machines that a server offers, and what they cost.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::http::Answer;
use crate::api::null_as_default;
use crate::error::{Error, Result};
use crate::options::ClusterOptions;

/// A kind of machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InstanceSize {
    /// What to give as `worker_size` or `scheduler_size`.
    pub name: String,
    /// A description for people, such as `8XLarge - 32 cores - 256 GB RAM`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub display: String,
    /// Virtual processors.
    #[serde(default)]
    pub cores: Option<u32>,
    /// Memory, as the server writes it, such as `16Gi`.
    #[serde(default)]
    pub memory: Option<String>,
    /// Graphics processors.
    #[serde(default, deserialize_with = "null_as_default")]
    pub gpu: u32,
    /// US dollars for an hour, where the server tells.
    #[serde(default)]
    pub price_per_hour: Option<f64>,
    /// Whether it cannot be had now.
    #[serde(default, deserialize_with = "null_as_default")]
    pub disabled: bool,
    /// Why it cannot be had.
    #[serde(default, deserialize_with = "null_as_default")]
    pub disabled_message: String,
}

/// The machines that a server offers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sizes {
    list: Vec<InstanceSize>,
}

#[derive(Deserialize)]
struct Body {
    server_options: ServerOptions,
}

#[derive(Deserialize)]
struct ServerOptions {
    size: Listing,
}

/// A list, or an object by name as older servers had.
#[derive(Deserialize)]
#[serde(untagged)]
enum Listing {
    List(Vec<Value>),
    ByName(serde_json::Map<String, Value>),
}

impl Sizes {
    pub(crate) fn parse(answer: &Answer) -> Result<Self> {
        let body: Body = answer.json()?;
        Ok(Self::read(body.server_options.size))
    }

    /// What cannot be read of a size is left out: it is no reason not to start a cluster.
    fn read(listing: Listing) -> Self {
        let values: Vec<Value> = match listing {
            Listing::List(list) => list,
            Listing::ByName(map) => map
                .into_iter()
                .map(|(name, mut value)| {
                    if let Some(fields) = value.as_object_mut() {
                        fields.entry("name").or_insert_with(|| name.into());
                    }
                    value
                })
                .collect(),
        };
        let one = |value: Value| {
            let name = value.get("name").and_then(Value::as_str).map(str::to_owned);
            serde_json::from_value(value).or_else(|error| {
                tracing::warn!(size = name, %error, "a size cannot be read");
                serde_json::from_value(serde_json::json!({ "name": name }))
            })
        };
        Self { list: values.into_iter().flat_map(one).collect() }
    }

    /// Every size, in the server's order.
    pub fn iter(&self) -> std::slice::Iter<'_, InstanceSize> {
        self.list.iter()
    }

    /// The size of this name.
    pub fn get(&self, name: &str) -> Option<&InstanceSize> {
        self.list.iter().find(|size| size.name == name)
    }

    /// Refuses sizes that the server does not offer, so that nothing is started with them.
    ///
    /// # Errors
    /// [`Error::WrongSize`] or [`Error::SizeDisabled`], with the names that are valid.
    pub fn check(&self, options: &ClusterOptions) -> Result<()> {
        self.check_one("worker_size", options.worker_size.as_deref())?;
        self.check_one("scheduler_size", options.scheduler_size.as_deref())
    }

    fn check_one(&self, option: &'static str, given: Option<&str>) -> Result<()> {
        let Some(given) = given else { return Ok(()) };
        let valid = || self.list.iter().filter(|size| !size.disabled).map(|size| size.name.clone()).collect();
        match self.get(given) {
            None => Err(Error::WrongSize { option, given: given.to_owned(), valid: valid() }),
            Some(size) if size.disabled => {
                let message = match size.disabled_message.trim() {
                    "" => "the server gives no reason".to_owned(),
                    message => message.to_owned(),
                };
                Err(Error::SizeDisabled { option, given: given.to_owned(), message, valid: valid() })
            }
            Some(_) => Ok(()),
        }
    }

    /// What a cluster of these sizes costs in US dollars an hour; `None` where a price or a size is not known. Spot
    /// workers cost less than this.
    pub fn cost_per_hour(&self, worker_size: &str, n_workers: u32, scheduler_size: &str) -> Option<f64> {
        let price = |name| self.get(name)?.price_per_hour;
        let workers = if n_workers == 0 { 0.0 } else { price(worker_size)? * f64::from(n_workers) };
        // Sums of prices have digits that no price has.
        Some(((price(scheduler_size)? + workers) * 1e6).round() / 1e6)
    }

    /// As [`Sizes::cost_per_hour`] for options that name both sizes and the number of workers.
    pub fn cost_of(&self, options: &ClusterOptions) -> Option<f64> {
        self.cost_per_hour(
            options.worker_size.as_deref()?,
            options.n_workers?,
            options.scheduler_size.as_deref()?,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes() -> Sizes {
        let list = serde_json::json!([
            { "name": "medium", "display": "Medium", "price_per_hour": 0.1, "cores": 2, "memory": "4Gi", "new": 1 },
            { "name": "8xlarge", "display": "8XLarge", "price_per_hour": 2.0, "gpu": null },
            { "name": "g4dn", "display": "T4", "disabled": true, "disabled_message": "no capacity" },
        ]);
        Sizes { list: serde_json::from_value(list).unwrap() }
    }

    #[test]
    fn wrong_sizes_are_refused_with_the_valid_ones() {
        let sizes = sizes();
        let options = ClusterOptions::new().worker_size("huge").scheduler_size("medium");
        let error = sizes.check(&options).unwrap_err();
        assert_eq!(error.to_string(), r#"worker_size "huge" is not offered; the sizes are: medium, 8xlarge"#);
        let error = sizes.check(&ClusterOptions::new().scheduler_size("g4dn")).unwrap_err();
        assert!(matches!(&error, Error::SizeDisabled { message, .. } if message == "no capacity"), "{error}");
        // A worker size without a scheduler size is fine.
        sizes.check(&ClusterOptions::new().worker_size("medium")).unwrap();
        sizes.check(&ClusterOptions::new()).unwrap();
    }

    #[test]
    fn a_size_that_cannot_be_read_is_known_by_name() {
        let list = serde_json::json!([
            { "name": "odd", "cores": "a few" }, 7, { "cores": 2 }, { "name": "medium", "price_per_hour": 0.1 },
        ]);
        for text in
            [list.to_string(), r#"{"odd": {"cores": "a few"}, "medium": {"price_per_hour": 0.1}}"#.to_owned()]
        {
            let sizes = Sizes::read(serde_json::from_str(&text).unwrap());
            let mut names: Vec<&str> = sizes.iter().map(|size| size.name.as_str()).collect();
            names.sort_unstable();
            assert_eq!(names, ["medium", "odd"]);
            sizes.check(&ClusterOptions::new().worker_size("odd")).unwrap();
            assert_eq!(sizes.cost_per_hour("medium", 1, "odd"), None);
        }
    }

    #[test]
    fn costs_add_up_or_are_not_known() {
        let sizes = sizes();
        assert_eq!(sizes.cost_per_hour("8xlarge", 3, "medium"), Some(6.1));
        assert_eq!(sizes.cost_per_hour("g4dn", 3, "medium"), None);
        assert_eq!(sizes.cost_per_hour("g4dn", 0, "medium"), Some(0.1));
        assert_eq!(sizes.cost_of(&ClusterOptions::new().n_workers(1)), None);
    }

    #[test]
    fn only_what_is_set_is_sent_in_the_order_of_dask_saturn() {
        let options =
            ClusterOptions::new().nthreads(32).n_workers(3).scheduler_size("a").worker_is_spot(false);
        let text = serde_json::to_string(&options).unwrap();
        assert_eq!(text, r#"{"n_workers":3,"worker_is_spot":false,"scheduler_size":"a","nthreads":32}"#);
    }
}
