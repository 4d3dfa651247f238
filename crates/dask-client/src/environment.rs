//! Settings from where Dask itself looks for them: environment variables, YAML files, scheduler files, addresses.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use yaml_rust2::{Yaml, YamlLoader};

use crate::config::ClientBuilder;
use crate::error::{Error, Result};

/// Dask's own names of settings, and their values as text.
type Settings = BTreeMap<String, String>;

/// Settings that are read, in Dask's dotted form.
const ADDRESS: &str = "scheduler-address";
const CA: &str = "distributed.comm.tls.ca-file";
const CERT: &str = "distributed.comm.tls.client.cert";
const KEY: &str = "distributed.comm.tls.client.key";
const CONNECT: &str = "distributed.comm.timeouts.connect";
const HEARTBEAT: &str = "distributed.client.heartbeat";

/// YAML files beyond this size are no settings.
const LARGEST: u64 = 4 << 20;

impl ClientBuilder {
    /// Settings as a Python client on this machine would find them: Dask's YAML files (`/etc/dask`,
    /// `~/.config/dask`, `$DASK_CONFIG`), then environment variables over them (`DASK_SCHEDULER_ADDRESS`,
    /// `DASK_DISTRIBUTED__COMM__TLS__CA_FILE`, `…__TLS__CLIENT__CERT`, `…__TLS__CLIENT__KEY`,
    /// `…__COMM__TIMEOUTS__CONNECT`, `DASK_DISTRIBUTED__CLIENT__HEARTBEAT`). What is not set keeps its default.
    ///
    /// # Errors
    /// A file cannot be read or is no YAML, or a value is of the wrong kind; the message names it.
    pub fn from_env() -> Result<Self> {
        let variables: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self::from_sources(&yaml_files(&variables), &variables)
    }

    /// As [`ClientBuilder::from_env`], from these files and variables alone. Later files win over earlier ones and
    /// variables over files.
    ///
    /// # Errors
    /// As [`ClientBuilder::from_env`].
    pub fn from_sources(files: &[PathBuf], variables: &[(String, String)]) -> Result<Self> {
        let mut settings = Settings::new();
        for file in files {
            read_yaml(file, &mut settings)?;
        }
        for (name, value) in variables {
            if let Some(name) = name.strip_prefix("DASK_") {
                // Dask's rule: two underscores divide, and one is the same as a hyphen.
                settings.insert(name.to_lowercase().replace("__", ".").replace('_', "-"), value.clone());
            }
        }
        Self::new().apply(&settings)
    }

    fn apply(mut self, settings: &Settings) -> Result<Self> {
        if let Some(address) = settings.get(ADDRESS) {
            self = self.address(address);
        }
        if let Some(text) = settings.get(CONNECT) {
            self = self.connect_timeout(duration(CONNECT, text)?);
        }
        if let Some(text) = settings.get(HEARTBEAT) {
            self = self.heartbeat(duration(HEARTBEAT, text)?);
        }
        #[cfg(feature = "tls")]
        if let Some(ca) = settings.get(CA) {
            let mut tls = crate::TlsConfig::new().ca(ca.as_str());
            if let Some(cert) = settings.get(CERT) {
                tls = tls.cert(cert.as_str());
            }
            if let Some(key) = settings.get(KEY) {
                tls = tls.key(key.as_str());
            }
            self = self.tls(tls);
        }
        #[cfg(not(feature = "tls"))]
        if [CA, CERT, KEY].into_iter().any(|name| settings.contains_key(name)) {
            tracing::warn!("TLS is configured, but this program was built without it");
        }
        Ok(self)
    }

    /// The address of a scheduler file, as `dask scheduler --scheduler-file` writes it.
    ///
    /// # Errors
    /// The file cannot be read, is no JSON or holds no address.
    pub fn scheduler_file(self, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = read_text(path)?;
        // JSON is YAML.
        let found = YamlLoader::load_from_str(&text).ok().and_then(|documents| {
            documents.first().and_then(|file| file["address"].as_str().map(str::to_owned))
        });
        match found {
            Some(address) => Ok(self.address(address)),
            None => Err(Error::config(format!("the scheduler file {} holds no address", path.display()))),
        }
    }
}

/// Where Dask looks, in its order: the last found wins.
fn yaml_files(variables: &[(String, String)]) -> Vec<PathBuf> {
    let variable = |name: &str| variables.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    let mut places = vec![PathBuf::from(variable("DASK_ROOT_CONFIG").unwrap_or("/etc/dask"))];
    if let Some(home) = variable("HOME") {
        places.push(Path::new(home).join(".config/dask"));
    }
    if let Some(place) = variable("DASK_CONFIG") {
        places.push(PathBuf::from(place));
    }
    let mut files = Vec::new();
    for place in places {
        if place.is_file() {
            files.push(place);
        } else if let Ok(entries) = std::fs::read_dir(&place) {
            let is_yaml = |path: &PathBuf| {
                path.extension()
                    .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|e| extension == *e))
            };
            let mut found: Vec<PathBuf> =
                entries.flatten().map(|entry| entry.path()).filter(is_yaml).collect();
            found.sort();
            files.extend(found);
        }
    }
    files
}

fn read_text(path: &Path) -> Result<String> {
    let cannot =
        |error: &dyn std::fmt::Display| Error::config(format!("cannot read {}: {error}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| cannot(&error))?.len();
    if size > LARGEST {
        return Err(cannot(&format_args!("{size} bytes are too many for settings")));
    }
    std::fs::read_to_string(path).map_err(|error| cannot(&error))
}

fn read_yaml(path: &Path, settings: &mut Settings) -> Result<()> {
    let text = read_text(path)?;
    let documents = YamlLoader::load_from_str(&text)
        .map_err(|error| Error::config(format!("{} is not YAML: {error}", path.display())))?;
    if let Some(document) = documents.first() {
        flatten(document, &mut String::new(), settings, 16);
    }
    Ok(())
}

/// Nested maps as dotted names; hyphens and underscores are the same.
fn flatten(value: &Yaml, name: &mut String, settings: &mut Settings, depth: usize) {
    let text = match value {
        Yaml::Hash(map) => {
            for (key, value) in map {
                if let (Some(key), Some(depth)) = (key.as_str(), depth.checked_sub(1)) {
                    let length = name.len();
                    if !name.is_empty() {
                        name.push('.');
                    }
                    name.push_str(&key.replace('_', "-"));
                    flatten(value, name, settings, depth);
                    name.truncate(length);
                }
            }
            return;
        }
        Yaml::String(text) | Yaml::Real(text) => text.clone(),
        Yaml::Integer(number) => number.to_string(),
        Yaml::Boolean(value) => value.to_string(),
        // `null` takes back what an earlier file set.
        Yaml::Null => {
            settings.remove(name);
            return;
        }
        _ => return,
    };
    settings.insert(name.clone(), text);
}

/// A duration as Dask writes it: `30s`, `100 ms`, `5 minutes`, or a bare number of seconds.
fn duration(setting: &str, text: &str) -> Result<Duration> {
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let scale = match unit.trim().to_lowercase().as_str() {
        "" | "s" | "sec" | "second" | "seconds" => 1.0,
        "ms" | "millisecond" | "milliseconds" => 1e-3,
        "us" | "microsecond" | "microseconds" => 1e-6,
        "m" | "min" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hour" | "hours" => 3600.0,
        _ => f64::NAN,
    };
    let seconds = number.parse::<f64>().unwrap_or(f64::NAN) * scale;
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        Error::config(format!("{setting} is {text:?}, which is no duration such as 30s or 100ms"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_variables_are_read_as_dask_does() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(
            path("a.yaml"),
            "scheduler-address: tcp://from-a:1\ndistributed:\n  comm:\n    timeouts:\n      connect: 3s\n  client:\n    \
             heartbeat: 250 ms\n",
        )
        .unwrap();
        std::fs::write(path("b.yaml"), "scheduler_address: tcp://from-b:2\n").unwrap();
        let files = [path("a.yaml"), path("b.yaml")];
        let builder = ClientBuilder::from_sources(&files, &[]).unwrap();
        assert_eq!(builder.address.as_deref(), Some("tcp://from-b:2"));
        assert_eq!(builder.connect_timeout, Duration::from_secs(3));
        assert_eq!(builder.heartbeat, Duration::from_millis(250));
        let variables = [
            ("DASK_SCHEDULER_ADDRESS".to_owned(), "tcp://from-env:3".to_owned()),
            ("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT".to_owned(), "2".to_owned()),
        ];
        let builder = ClientBuilder::from_sources(&files, &variables).unwrap();
        assert_eq!(builder.address.as_deref(), Some("tcp://from-env:3"));
        assert_eq!(builder.connect_timeout, Duration::from_secs(2));
    }

    #[test]
    fn mistakes_name_their_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bad.yaml");
        std::fs::write(&path, "a: [1, 2").unwrap();
        let error = ClientBuilder::from_sources(&[path], &[]).unwrap_err().to_string();
        assert!(error.contains("bad.yaml"), "{error}");
        let variables = [("DASK_DISTRIBUTED__CLIENT__HEARTBEAT".to_owned(), "often".to_owned())];
        let error = ClientBuilder::from_sources(&[], &variables).unwrap_err().to_string();
        assert!(error.contains("heartbeat") && error.contains("often"), "{error}");
        assert!(ClientBuilder::new().scheduler_file("/no/such/file").is_err());
    }
}
