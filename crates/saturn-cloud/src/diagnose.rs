//! A second look at a scheduler that could not be connected to.

use std::sync::Arc;
use std::time::Duration;

use dask_client::Address;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::certificates::Identity;

/// Whether what answers at the address shows a certificate that the cluster's authority did not sign.
pub(crate) async fn is_foreign(
    address: &Address,
    via: Option<(String, u16)>,
    identity: &Identity,
    limit: Duration,
) -> bool {
    let (host, port) = via.unwrap_or_else(|| (address.host().to_owned(), address.port()));
    let look = async {
        let config = config(identity)?;
        let name = ServerName::try_from(address.host().to_owned()).ok()?;
        let tcp = TcpStream::connect((host.as_str(), port)).await.ok()?;
        let error = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.err()?;
        let error = error.get_ref()?.downcast_ref::<rustls::Error>()?.clone();
        // The chain is looked at before the name, so these are about the chain alone. Another authority of the same name
        // looks like a bad signature.
        let rustls::Error::InvalidCertificate(why) = error else { return None };
        Some(matches!(why, CertificateError::UnknownIssuer | CertificateError::BadSignature))
    };
    tokio::time::timeout(limit, look).await.ok().flatten().unwrap_or(false)
}

fn config(identity: &Identity) -> Option<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(identity.anchors());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    Some(builder.with_root_certificates(roots).with_no_client_auth())
}
