//! Which of the server's two interfaces a cluster is steered by.

use crate::api::Saturn;
use crate::error::{Error, Result};
use crate::status::Status;

/// The interface by which a cluster was started, and is steered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Surface {
    /// dask-saturn's, of a project or (without one) of the token's resource.
    Legacy { project_id: Option<String> },
    /// The public one of 2026.
    Public,
}

impl Surface {
    fn project_id(&self) -> Option<&str> {
        match self {
            Self::Legacy { project_id } => project_id.as_deref(),
            Self::Public => None,
        }
    }

    /// The endpoints that exist only there: addresses for the outside, and certificates.
    pub(crate) fn legacy<'a>(&'a self, saturn: &'a Saturn) -> crate::api::legacy::Legacy<'a> {
        saturn.legacy(self.project_id())
    }

    /// Ends the cluster, so that it costs nothing any more. One that is gone already is fine.
    pub(crate) async fn close(&self, saturn: &Saturn, id: &str) -> Result<()> {
        let outcome = match self {
            Self::Legacy { .. } => self.legacy(saturn).close(id).await,
            Self::Public => saturn.public().end(id).await,
        };
        match outcome {
            Err(Error::UnknownCluster { .. }) => Ok(()),
            outcome => outcome,
        }
    }

    pub(crate) async fn scale(&self, saturn: &Saturn, id: &str, n: u32) -> Result<()> {
        match self {
            Self::Legacy { .. } => self.legacy(saturn).scale(id, n).await,
            Self::Public => saturn.public().scale(id, n).await,
        }
    }

    pub(crate) async fn adapt(&self, saturn: &Saturn, id: &str, minimum: u32, maximum: u32) -> Result<()> {
        match self {
            Self::Legacy { .. } => self.legacy(saturn).adapt(id, minimum, maximum).await,
            Self::Public => saturn.public().adapt(id, minimum, maximum).await,
        }
    }

    pub(crate) async fn status(&self, saturn: &Saturn, id: &str) -> Result<Status> {
        match self {
            Self::Legacy { .. } => self.legacy(saturn).status(id).await,
            Self::Public => Ok(saturn.public().get(id).await?.status),
        }
    }
}
