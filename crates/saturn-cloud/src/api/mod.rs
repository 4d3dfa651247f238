//! Saturn Cloud's HTTP API, in both its shapes.

pub(crate) mod http;
pub mod legacy;
pub mod public;

use serde::{Deserialize, Deserializer};

use crate::error::Result;
use crate::settings::Settings;
use http::Http;
use legacy::Legacy;
use public::Public;

/// A handle on Saturn Cloud's API. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Saturn {
    pub(crate) http: Http,
}

impl Saturn {
    /// A handle by these settings. Nothing is sent yet.
    ///
    /// # Errors
    /// HTTPS cannot be set up, for example because this machine has no certificates of authorities.
    pub fn new(settings: Settings) -> Result<Self> {
        Ok(Self { http: Http::new(settings, true)? })
    }

    /// As [`Saturn::new`], without connections that are kept: for a thread whose runtime does not always run.
    pub(crate) fn without_pool(settings: Settings) -> Result<Self> {
        Ok(Self { http: Http::new(settings, false)? })
    }

    /// By what it was made.
    pub fn settings(&self) -> &Settings {
        &self.http.settings
    }

    /// The requests that dask-saturn 0.2.2 and 0.2.3 make for a project (`Some`), or 0.3.0 to 0.4.4 for the resource that
    /// the token belongs to (`None`).
    pub fn legacy<'a>(&'a self, project_id: Option<&'a str>) -> Legacy<'a> {
        Legacy::new(&self.http, project_id)
    }

    /// The public API of 2026.
    pub fn public(&self) -> Public<'_> {
        Public::new(&self.http)
    }
}

/// `null` reads as an empty list: servers send it where there are no warnings.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
