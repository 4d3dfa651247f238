//! A second look at a scheduler that could not be connected to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dask_client::Address;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::certificates::{Identity, Verification};

/// What answers at the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Nothing takes a connection.
    Nothing,
    /// Something whose certificate the cluster's authority did not sign.
    Foreign,
    /// Something whose certificate is not what was asked for: why, and what to do.
    Untrusted(&'static str),
    /// Something that does not take this client's certificate.
    Refused(String),
    /// Something that takes connections, and does not say what a scheduler says.
    Silent,
}

/// Looks who answers, within a limit.
pub(crate) async fn look(
    address: &Address,
    via: Option<(String, u16)>,
    identity: &Identity,
    verification: &Verification,
    limit: Duration,
) -> Finding {
    let (host, port) = via.unwrap_or_else(|| (address.host().to_owned(), address.port()));
    let met = AtomicBool::new(false);
    let looking = async {
        let config = config(identity, verification)?;
        let name = ServerName::try_from(address.host().to_owned()).ok()?;
        let tcp = TcpStream::connect((host.as_str(), port)).await.ok()?;
        met.store(true, Ordering::Release);
        let connected = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
        Some(match connected {
            Err(error) => judge(&error).unwrap_or(Finding::Silent),
            // Whether the client's own certificate is accepted is told after the handshake (TLS 1.3).
            Ok(mut tls) => match tls.read(&mut [0; 1]).await {
                Err(error) => judge(&error).unwrap_or(Finding::Silent),
                Ok(_) => Finding::Silent,
            },
        })
    };
    match tokio::time::timeout(limit, looking).await {
        Ok(finding) => finding.unwrap_or(Finding::Nothing),
        Err(_) if met.load(Ordering::Acquire) => Finding::Silent,
        Err(_) => Finding::Nothing,
    }
}

/// What a failure says about the certificates; `None` if nothing.
fn judge(error: &std::io::Error) -> Option<Finding> {
    use rustls::AlertDescription as Alert;
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        // Another authority of the same name looks like a bad signature.
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => Finding::Foreign,
        rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => {
            Finding::Untrusted(
                "is not the one that is pinned; pin the one that it has now, if that is known to be right",
            )
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Finding::Untrusted(
            "is made out to another name; judge the chain alone, as Dask does, if that is known",
        ),
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => Finding::Untrusted("has expired; start the cluster anew, and look at this machine's clock"),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => Finding::Untrusted("is not valid yet; look at this machine's clock"),
        rustls::Error::InvalidCertificate(_) => {
            Finding::Untrusted("is not acceptable; tell the server's operators")
        }
        rustls::Error::AlertReceived(
            alert @ (Alert::CertificateRequired
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError),
        ) => Finding::Refused(format!("{alert:?}")),
        _ => return None,
    })
}

fn config(identity: &Identity, verification: &Verification) -> Option<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(identity.anchors());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let pinned = match verification {
        Verification::Pinned(pem) => Some(crate::certificates::read(pem)?),
        _ => None,
    };
    let verifier = Verifier {
        roots,
        name: *verification == Verification::Name,
        pinned,
        provider: Arc::clone(&provider),
    };
    let (chain, key) = identity.own()?;
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(chain, key)
        .ok()
}

/// Judges as the client does, and says more exactly what is wrong.
#[derive(Debug)]
struct Verifier {
    roots: RootCertStore,
    name: bool,
    pinned: Option<Vec<CertificateDer<'static>>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(pinned) = &self.pinned {
            if !pinned.iter().any(|one| one.as_ref() == leaf.as_ref()) {
                return Err(CertificateError::ApplicationVerificationFailure.into());
            }
        } else {
            let parsed = ParsedCertificate::try_from(leaf)?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, others, now, algorithms)?;
            if self.name {
                verify_server_name(&parsed, name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
