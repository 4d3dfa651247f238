//! The requests of dask-saturn, from 0.2.2 to 0.4.4, as it makes them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::http::{Dress, Http};
use super::null_as_default;
use crate::error::{Error, Result};
use crate::options::ClusterOptions;
use crate::sizes::Sizes;
use crate::status::Status;

/// The endpoints of dask-saturn. Made by [`super::Saturn::legacy`].
#[derive(Clone, Copy, Debug)]
pub struct Legacy<'a> {
    http: &'a Http,
    project_id: Option<&'a str>,
}

/// What a request to create, or to poll, answers.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Created {
    /// The cluster's id; servers may leave it out until the cluster is ready.
    #[serde(default)]
    pub id: Option<String>,
    /// What the cluster is doing.
    pub status: Status,
    /// Things the user should know, repeated in every answer.
    #[serde(default, deserialize_with = "null_as_default")]
    pub warnings: Vec<String>,
    /// Why the status is [`Status::Error`].
    #[serde(default, deserialize_with = "null_as_default")]
    pub errors: Vec<String>,
}

/// Where a cluster's scheduler and dashboard are.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct ClusterInfo {
    /// The scheduler's address; `tls://…` for connections from outside. Empty while the server does not know it.
    #[serde(default, deserialize_with = "null_as_default")]
    pub scheduler_address: String,
    /// The dashboard's URL.
    #[serde(default)]
    pub dashboard_link: Option<String>,
}

#[derive(Serialize)]
struct CreateBody<'a> {
    #[serde(flatten)]
    options: &'a ClusterOptions,
    #[serde(skip_serializing_if = "Option::is_none")]
    project_id: Option<&'a str>,
}

#[derive(Deserialize)]
struct StatusBody {
    status: Status,
}

impl<'a> Legacy<'a> {
    pub(super) fn new(http: &'a Http, project_id: Option<&'a str>) -> Self {
        Self { http, project_id }
    }

    fn dress(&self) -> Dress {
        if self.project_id.is_some() { Dress::Old } else { Dress::Versioned }
    }

    /// The sizes that the server offers (`GET api/dask_clusters/info`).
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn sizes(&self) -> Result<Sizes> {
        Sizes::parse(&self.http.get(self.dress(), &["info"]).send().await?)
    }

    /// Creates the project's or the resource's cluster, or asks how far it is: the two are one request here, and
    /// repeating it is harmless (`POST api/dask_clusters?is_external=true`).
    ///
    /// # Errors
    /// The server cannot be reached or refuses; [`Error::UnknownProject`] if it does not know the project.
    pub async fn create(&self, options: &ClusterOptions) -> Result<Created> {
        let body = CreateBody { options, project_id: self.project_id };
        let request = self.http.post(self.dress(), &[]).query("is_external", true).json(&body)?;
        match (request.send().await, self.project_id) {
            (Ok(answer), _) => answer.json(),
            (Err(Error::NotFound { message, .. }), Some(id)) => {
                Err(Error::UnknownProject { project_id: id.to_owned(), message })
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Destroys the resource's cluster and creates it anew with these options (`POST api/dask_clusters/reset`). The new
    /// cluster's id, if the server tells it.
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn reset(&self, options: &ClusterOptions) -> Result<Option<String>> {
        let answer = self.http.post(self.dress(), &["reset"]).json(options)?.send().await?.no_page()?;
        // dask-saturn reads nothing of it.
        let body = answer.json::<Value>().unwrap_or_default();
        Ok(body.get("id").and_then(Value::as_str).map(str::to_owned))
    }

    /// Where scheduler and dashboard are, for clients outside of Saturn Cloud (`GET …/{id}/info?is_external=true`).
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn info(&self, id: &str) -> Result<ClusterInfo> {
        let answer = self.http.get(self.dress(), &[id, "info"]).query("is_external", true).send().await;
        about(id, answer)?.json()
    }

    /// Has a certificate request (PEM) signed by the cluster's authority; the chain, as PEM (`POST …/{id}/csr`).
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn sign(&self, id: &str, csr: &str) -> Result<String> {
        let answer = self.http.post(self.dress(), &[id, "csr"]).raw(csr.to_owned()).send().await;
        Ok(about(id, answer)?.no_page()?.text)
    }

    /// What the cluster is doing: Dask's word, else the word for its process (`GET …/{id}/status`, else `GET …/{id}`).
    ///
    /// # Errors
    /// The server cannot be reached or refuses both.
    pub async fn status(&self, id: &str) -> Result<Status> {
        let first = self.http.get(self.dress(), &[id, "status"]).send().await;
        match first.and_then(|answer| answer.json::<StatusBody>()) {
            Ok(body) => Ok(body.status),
            // A dead process cannot tell its status; the server can.
            Err(
                error @ (Error::Unauthorized { .. } | Error::TokenExpired { .. } | Error::Unreachable { .. }),
            ) => Err(error),
            Err(_) => self.process_status(id).await,
        }
    }

    /// What the process behind the cluster is doing (`GET …/{id}`).
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn process_status(&self, id: &str) -> Result<Status> {
        let answer = self.http.get(self.dress(), &[id]).send().await;
        Ok(about(id, answer)?.json::<StatusBody>()?.status)
    }

    /// The scheduler's own description of itself and its workers (`GET …/{id}/scheduler_info`).
    ///
    /// # Errors
    /// The server cannot be reached or refuses; [`Error::ClusterDied`] if the cluster does not run.
    pub async fn scheduler_info(&self, id: &str) -> Result<Map<String, Value>> {
        match self.http.get(self.dress(), &[id, "scheduler_info"]).send().await {
            Ok(answer) => answer.json(),
            Err(error) => match self.process_status(id).await {
                Ok(status) if status.is_over() => Err(Error::ClusterDied { id: id.to_owned(), status }),
                _ => about(id, Err(error)),
            },
        }
    }

    /// Has the cluster run `n` workers (`POST …/{id}/scale`).
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn scale(&self, id: &str, n: u32) -> Result<()> {
        let answer =
            self.http.post(self.dress(), &[id, "scale"]).json(&serde_json::json!({ "n": n }))?.send().await;
        about(id, answer)?.no_page()?;
        Ok(())
    }

    /// Has the cluster run as many workers as it needs, within these bounds (`POST …/{id}/adapt`).
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn adapt(&self, id: &str, minimum: u32, maximum: u32) -> Result<()> {
        let body = serde_json::json!({ "minimum": minimum, "maximum": maximum });
        let answer = self.http.post(self.dress(), &[id, "adapt"]).json(&body)?.send().await;
        about(id, answer)?.no_page()?;
        Ok(())
    }

    /// Ends the cluster (`POST …/{id}/close`).
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub async fn close(&self, id: &str) -> Result<()> {
        about(id, self.http.post(self.dress(), &[id, "close"]).send().await)?.no_page()?;
        Ok(())
    }
}

/// "Not found" about a cluster names the cluster.
pub(super) fn about<T>(id: &str, outcome: Result<T>) -> Result<T> {
    outcome.map_err(|error| match error {
        Error::NotFound { message, .. } => Error::UnknownCluster { id: id.to_owned(), message },
        error => error,
    })
}
