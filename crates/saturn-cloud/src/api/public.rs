//! The public API of 2026.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::http::{Dress, Http};
use super::legacy::about;
use super::null_as_default;
use crate::error::{Error, Result};
use crate::options::ClusterOptions;
use crate::sizes::Sizes;
use crate::status::Status;

/// Clusters of one page of a list.
const PAGE: u32 = 100;
/// Pages of a list or of logs that are read at most.
const MOST_PAGES: usize = 1000;
/// How long reading all pages of something may take, in request timeouts.
const MOST_TIMEOUTS: u32 = 10;

/// The endpoints of the public API. Made by [`super::Saturn::public`].
#[derive(Clone, Copy, Debug)]
pub struct Public<'a> {
    http: &'a Http,
}

/// To what a cluster is attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Resource {
    /// A workspace, by id.
    #[serde(rename = "workspace_id")]
    Workspace(String),
    /// A deployment, by id.
    #[serde(rename = "deployment_id")]
    Deployment(String),
    /// A job, by id.
    #[serde(rename = "job_id")]
    Job(String),
}

impl Resource {
    /// What it is, and its id.
    pub(crate) fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Workspace(id) => ("workspace", id),
            Self::Deployment(id) => ("deployment", id),
            Self::Job(id) => ("job", id),
        }
    }
}

/// A cluster, as the server describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DaskCluster {
    /// Its id.
    pub id: String,
    /// The name of what it is attached to.
    #[serde(default, deserialize_with = "null_as_default")]
    pub name: String,
    /// What it is doing.
    pub status: Status,
    /// The workers' machine.
    #[serde(default, deserialize_with = "null_as_default")]
    pub worker_size: String,
    /// Whether workers run on spot instances.
    #[serde(default, deserialize_with = "null_as_default")]
    pub worker_is_spot: bool,
    /// The scheduler's machine.
    #[serde(default, deserialize_with = "null_as_default")]
    pub scheduler_size: String,
    /// How many workers it shall have.
    #[serde(default, deserialize_with = "null_as_default")]
    pub n_workers: u32,
    /// Processes on each worker's machine.
    #[serde(default)]
    pub nprocs: Option<u32>,
    /// Threads of each process.
    #[serde(default)]
    pub nthreads: Option<u32>,
    /// The scheduler's address inside of Saturn Cloud.
    #[serde(default)]
    pub scheduler_url: Option<String>,
    /// The dashboard's URL.
    #[serde(default)]
    pub url: Option<String>,
    /// When it was made, in the server's words.
    #[serde(default)]
    pub created_at: Option<String>,
    /// Things the user should know.
    #[serde(default, deserialize_with = "null_as_default")]
    pub warnings: Vec<String>,
    /// What is wrong with it.
    #[serde(default, deserialize_with = "null_as_default")]
    pub errors: Vec<String>,
    /// The workspace it is attached to.
    #[serde(default)]
    pub workspace_id: Option<String>,
    /// The deployment it is attached to.
    #[serde(default)]
    pub deployment_id: Option<String>,
    /// The job it is attached to.
    #[serde(default)]
    pub job_id: Option<String>,
}

impl DaskCluster {
    /// To what it is attached, where the server tells.
    pub fn resource(&self) -> Option<Resource> {
        let one = |id: &Option<String>, kind: fn(String) -> Resource| id.clone().map(kind);
        one(&self.workspace_id, Resource::Workspace)
            .or_else(|| one(&self.deployment_id, Resource::Deployment))
            .or_else(|| one(&self.job_id, Resource::Job))
    }

    /// What it costs in US dollars an hour while it runs, where prices are known. Spot workers cost less.
    pub fn cost_per_hour(&self, sizes: &Sizes) -> Option<f64> {
        sizes.cost_per_hour(&self.worker_size, self.n_workers, &self.scheduler_size)
    }
}

/// How many workers are how far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct WorkerCounts {
    /// All of them.
    pub count: u32,
    /// Those that wait for a machine or start.
    pub pending_count: u32,
    /// Those that run.
    pub running_count: u32,
    /// Those that broke down.
    pub error_count: u32,
}

/// One part of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PartSummary {
    /// What it is doing.
    pub status: Status,
}

/// How far the parts of a cluster are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RuntimeSummary {
    /// What the cluster is doing as a whole.
    pub status: Status,
    /// What manages the cluster inside of Saturn Cloud, if it exists.
    #[serde(default)]
    pub kubecluster_summary: Option<PartSummary>,
    /// The scheduler, if it exists.
    #[serde(default)]
    pub scheduler_summary: Option<PartSummary>,
    /// The workers.
    #[serde(default, deserialize_with = "null_as_default")]
    pub worker_summary: WorkerCounts,
    /// What is wrong.
    #[serde(default, deserialize_with = "null_as_default")]
    pub errors: Vec<String>,
    /// What it waits for or suffers from, in the server's own form.
    #[serde(default, deserialize_with = "null_as_default")]
    pub conditions: Vec<serde_json::Value>,
}

/// A part of a cluster whose logs can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Component {
    /// What manages the cluster inside of Saturn Cloud.
    KubeCluster,
    /// The scheduler.
    Scheduler,
    /// The workers.
    Worker,
}

impl Component {
    /// Its name in requests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KubeCluster => "kubecluster",
            Self::Scheduler => "scheduler",
            Self::Worker => "worker",
        }
    }
}

/// A line of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LogLine {
    /// When, in the server's words.
    #[serde(default, deserialize_with = "null_as_default")]
    pub timestamp: String,
    /// What.
    #[serde(default, deserialize_with = "null_as_default")]
    pub content: String,
    /// The process group it comes from.
    #[serde(default, deserialize_with = "null_as_default")]
    pub pod_name: String,
    /// The process it comes from.
    #[serde(default, deserialize_with = "null_as_default")]
    pub container_name: String,
}

/// The last lines of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Logs {
    /// The lines, the newest last.
    pub lines: Vec<LogLine>,
    /// How many earlier lines there are.
    pub left_out: usize,
    /// The log is so long that later lines were not read.
    pub is_cut: bool,
}

/// As many of the last lines as are wanted.
struct Last {
    lines: VecDeque<LogLine>,
    most: usize,
    left_out: usize,
}

impl Last {
    fn extend(&mut self, lines: Vec<LogLine>) {
        self.lines.extend(lines);
        let many = self.lines.len().saturating_sub(self.most);
        self.lines.drain(..many);
        self.left_out = self.left_out.saturating_add(many);
    }
}

#[derive(Deserialize)]
struct ClusterPage {
    #[serde(default, deserialize_with = "null_as_default")]
    dask_clusters: Vec<DaskCluster>,
    #[serde(default)]
    next_key: Option<String>,
}

#[derive(Deserialize)]
struct LogPage {
    #[serde(default, deserialize_with = "null_as_default")]
    logs: Vec<LogLine>,
    #[serde(default)]
    next_key: Option<String>,
}

#[derive(Serialize)]
struct CreateBody<'a> {
    resource: &'a Resource,
    #[serde(flatten)]
    options: &'a ClusterOptions,
}

/// The time that reading many pages may take.
struct Time {
    begun: Instant,
    limit: Duration,
}

impl Time {
    fn check(&self, what: &str) -> Result<()> {
        match self.begun.elapsed() > self.limit {
            true => Err(Error::RequestTimeout { url: what.to_owned(), after: self.limit }),
            false => Ok(()),
        }
    }
}

impl<'a> Public<'a> {
    pub(super) fn new(http: &'a Http) -> Self {
        Self { http }
    }

    fn time(&self) -> Time {
        let limit = self.http.settings.request_timeout().saturating_mul(MOST_TIMEOUTS);
        Time { begun: Instant::now(), limit }
    }

    /// Every cluster that the token may see (`GET api/dask_clusters`, page by page).
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn list(&self) -> Result<Vec<DaskCluster>> {
        let mut list = Vec::new();
        let mut key: Option<String> = None;
        let time = self.time();
        for _ in 0..MOST_PAGES {
            time.check("the list of clusters")?;
            let request =
                self.http.get(Dress::Public, &[]).query("page_size", PAGE).query_if("next_key", key.as_ref());
            let page: ClusterPage = request.send().await?.json()?;
            list.extend(page.dask_clusters);
            // A key that does not change would lead around in a circle.
            match page.next_key {
                Some(next) if !next.is_empty() && Some(&next) != key.as_ref() => key = Some(next),
                _ => break,
            }
        }
        Ok(list)
    }

    /// The sizes that the server offers.
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn sizes(&self) -> Result<Sizes> {
        Sizes::parse(&self.http.get(Dress::Public, &["info"]).send().await?)
    }

    /// Creates a cluster for a resource (`POST api/dask_clusters`).
    ///
    /// # Errors
    /// The server cannot be reached or refuses; [`Error::UnknownResource`] if it does not know the resource.
    pub async fn create(&self, resource: &Resource, options: &ClusterOptions) -> Result<DaskCluster> {
        let request = self.http.post(Dress::Public, &[]).json(&CreateBody { resource, options })?;
        match request.send().await {
            Ok(answer) => answer.json(),
            Err(Error::NotFound { message, .. }) => {
                let (kind, id) = resource.parts();
                Err(Error::UnknownResource { kind, id: id.to_owned(), message })
            }
            Err(error) => Err(error),
        }
    }

    /// One cluster (`GET …/{id}`).
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn get(&self, id: &str) -> Result<DaskCluster> {
        about(id, self.http.get(Dress::Public, &[id]).send().await)?.json()
    }

    /// Starts a stopped cluster (`POST …/{id}/start`).
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn start(&self, id: &str) -> Result<DaskCluster> {
        self.act(id, "start").await
    }

    /// Stops a cluster; it can be started again (`POST …/{id}/stop`).
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn stop(&self, id: &str) -> Result<DaskCluster> {
        self.act(id, "stop").await
    }

    /// As [`Public::stop`], whatever the server says about the cluster then.
    pub(crate) async fn end(&self, id: &str) -> Result<()> {
        about(id, self.http.post(Dress::Public, &[id, "stop"]).send().await)?.no_page()?;
        Ok(())
    }

    /// Stops and starts a cluster (`POST …/{id}/restart`).
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn restart(&self, id: &str) -> Result<DaskCluster> {
        self.act(id, "restart").await
    }

    async fn act(&self, id: &str, action: &str) -> Result<DaskCluster> {
        about(id, self.http.post(Dress::Public, &[id, action]).send().await)?.json()
    }

    /// Deletes a cluster; one that runs only with `allow_active` (`DELETE …/{id}`).
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn delete(&self, id: &str, allow_active: bool) -> Result<()> {
        let request = self.http.delete(Dress::Public, &[id]).query("allow_active", allow_active);
        about(id, request.send().await)?.no_page()?;
        Ok(())
    }

    /// Has the cluster run `n` workers (`POST …/{id}/scale`).
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn scale(&self, id: &str, n: u32) -> Result<()> {
        let request = self.http.post(Dress::Public, &[id, "scale"]).json(&serde_json::json!({ "n": n }))?;
        about(id, request.send().await)?.no_page()?;
        Ok(())
    }

    /// Has the cluster run as many workers as it needs, within these bounds (`POST …/{id}/adapt`).
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn adapt(&self, id: &str, minimum: u32, maximum: u32) -> Result<()> {
        let body = serde_json::json!({ "minimum": minimum, "maximum": maximum });
        let request = self.http.post(Dress::Public, &[id, "adapt"]).json(&body)?;
        about(id, request.send().await)?.no_page()?;
        Ok(())
    }

    /// How far the cluster's parts are (`GET …/{id}/runtimesummary`).
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn runtime_summary(&self, id: &str) -> Result<RuntimeSummary> {
        about(id, self.http.get(Dress::Public, &[id, "runtimesummary"]).send().await)?.json()
    }

    /// What the cluster's parts have logged last, of one component or of all: the last `most` lines (`GET …/{id}/logs`, page
    /// by page from the beginning, as the server has no other way; of a very long log the first hundred thousand lines).
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn logs(&self, id: &str, component: Option<Component>, most: usize) -> Result<Logs> {
        let mut last = Last { lines: VecDeque::new(), most, left_out: 0 };
        let mut key: Option<String> = None;
        let time = self.time();
        let mut is_cut = true;
        for _ in 0..MOST_PAGES {
            time.check("the logs")?;
            let request = self
                .http
                .get(Dress::Public, &[id, "logs"])
                .query_if("component", component.map(Component::as_str))
                .query("page_size", PAGE)
                .query_if("next_key", key.as_ref());
            let page: LogPage = about(id, request.send().await)?.json()?;
            last.extend(page.logs);
            match page.next_key {
                Some(next) if !next.is_empty() && Some(&next) != key.as_ref() => key = Some(next),
                _ => {
                    is_cut = false;
                    break;
                }
            }
        }
        Ok(Logs { lines: last.lines.into(), left_out: last.left_out, is_cut })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_with_unknown_and_null_fields_are_read() {
        let text = r#"{"id": "c1", "status": "running", "warnings": null, "nprocs": null, "owner": {"name": "o"},
            "future_field": [1, 2], "n_workers": 3, "worker_size": "a", "scheduler_size": "b", "job_id": null}"#;
        let cluster: DaskCluster = serde_json::from_str(text).unwrap();
        assert_eq!((cluster.n_workers, cluster.status), (3, Status::Running));
        assert!(cluster.warnings.is_empty());
    }

    #[test]
    fn reading_pages_ends_when_its_time_is_up() {
        let time = Time { begun: Instant::now(), limit: Duration::ZERO };
        std::thread::sleep(Duration::from_millis(1));
        assert!(matches!(time.check("the logs"), Err(Error::RequestTimeout { .. })));
        assert!(Time { begun: Instant::now(), limit: Duration::MAX }.check("the logs").is_ok());
    }

    #[test]
    fn the_last_lines_are_kept() {
        let line = |n: usize| LogLine {
            timestamp: String::new(),
            content: n.to_string(),
            pod_name: String::new(),
            container_name: String::new(),
        };
        for (most, kept, left_out) in
            [(0, "", 7), (3, "456", 4), (7, "0123456", 0), (usize::MAX, "0123456", 0)]
        {
            let mut last = Last { lines: VecDeque::new(), most, left_out: 0 };
            [0..5, 5..5, 5..7].into_iter().for_each(|page| last.extend(page.map(line).collect()));
            let text: String = last.lines.iter().map(|line| line.content.as_str()).collect();
            assert_eq!((text.as_str(), last.left_out), (kept, left_out));
        }
    }

    #[test]
    fn log_lines_and_pages_with_nulls_are_read() {
        let text = r#"{"logs": [{"content": "x", "timestamp": null, "pod_name": null}], "next_key": null}"#;
        let page: LogPage = serde_json::from_str(text).unwrap();
        assert_eq!((page.logs[0].content.as_str(), page.logs[0].pod_name.as_str()), ("x", ""));
        assert!(serde_json::from_str::<LogPage>(r#"{"logs": null}"#).unwrap().logs.is_empty());
        let page = r#"{"dask_clusters": null}"#;
        assert!(serde_json::from_str::<ClusterPage>(page).unwrap().dask_clusters.is_empty());
    }

    #[test]
    fn a_resource_is_an_object_with_its_kind_of_id() {
        let options = ClusterOptions::new().n_workers(1);
        let body = CreateBody { resource: &Resource::Workspace("w".to_owned()), options: &options };
        let text = serde_json::to_string(&body).unwrap();
        assert_eq!(text, r#"{"resource":{"workspace_id":"w"},"n_workers":1}"#);
    }

    #[test]
    fn a_runtime_summary_needs_only_a_status() {
        let summary: RuntimeSummary = serde_json::from_str(
            r#"{"status": "pending", "scheduler_summary": null, "worker_summary": {"count": 3, "running_count": 1},
                "kubecluster_summary": {"status": "running"}, "conditions": [{"type": "Unschedulable"}]}"#,
        )
        .unwrap();
        assert_eq!((summary.worker_summary.count, summary.worker_summary.running_count), (3, 1));
        assert_eq!(summary.kubecluster_summary.map(|part| part.status), Some(Status::Running));
        assert_eq!(summary.conditions.len(), 1);
    }
}
