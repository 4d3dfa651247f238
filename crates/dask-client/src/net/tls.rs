//! TLS as Dask clusters use it: both sides show certificates of one private CA, and names rarely match.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// How a server's certificate is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verify {
    /// Signed by the CA; names do not matter. What Dask itself does, and the default.
    #[default]
    Chain,
    /// Signed by the CA and made out to the host that is connected to (or to [`TlsConfig::server_name`]).
    Name,
    /// Exactly one of the certificates of the CA file, whatever it says. For self-signed certificates that are no proper
    /// leaf, as `openssl req -x509` makes them.
    Pinned,
}

/// A certificate or key: a file, or PEM text itself, as Dask's own settings take either.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// A PEM file.
    File(PathBuf),
    /// PEM text.
    Text(String),
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Pem::File(path) => write!(f, "{}", path.display()),
            Pem::Text(_) => f.write_str("<PEM text>"),
        }
    }
}

impl From<PathBuf> for Pem {
    fn from(path: PathBuf) -> Self {
        Pem::File(path)
    }
}

/// A text with a line break is PEM itself, any other is a path: Dask's rule.
impl From<String> for Pem {
    fn from(text: String) -> Self {
        if text.contains('\n') { Pem::Text(text) } else { Pem::File(text.into()) }
    }
}

impl From<&str> for Pem {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl Pem {
    fn read(&self, what: &'static str) -> Result<Vec<u8>, TlsConfigError> {
        match self {
            Pem::Text(text) => Ok(text.clone().into_bytes()),
            Pem::File(path) => std::fs::read(path).map_err(|error| {
                TlsConfigError(format!("cannot read the {what} {}: {error}", path.display()))
            }),
        }
    }
}

/// What this client shows and expects on `tls://` and `wss://` connections.
#[derive(Clone, Debug, Default)]
pub struct TlsConfig {
    ca: Option<Pem>,
    cert: Option<Pem>,
    key: Option<Pem>,
    verify: Verify,
    server_name: Option<String>,
    min_version: Option<TlsVersion>,
    max_version: Option<TlsVersion>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl TlsConfig {
    /// Nothing set yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The CA that signed the cluster's certificates (Dask's `tls-ca-file`).
    pub fn ca(mut self, ca: impl Into<Pem>) -> Self {
        self.ca = Some(ca.into());
        self
    }

    /// This client's certificate (Dask's `tls-client-cert`). Dask clusters demand one. The key may be in the same PEM.
    pub fn cert(mut self, cert: impl Into<Pem>) -> Self {
        self.cert = Some(cert.into());
        self
    }

    /// This client's private key (Dask's `tls-client-key`).
    pub fn key(mut self, key: impl Into<Pem>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// How the server's certificate is judged.
    pub fn verify(mut self, verify: Verify) -> Self {
        self.verify = verify;
        self
    }

    /// The name to ask for (SNI) and, with [`Verify::Name`], to check, where it is not the host connected to.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// The oldest version of TLS that is spoken (Dask's `tls-min-version`). Default 1.2.
    pub fn min_version(mut self, version: TlsVersion) -> Self {
        self.min_version = Some(version);
        self
    }

    /// The newest version of TLS that is spoken (Dask's `tls-max-version`). Default 1.3.
    pub fn max_version(mut self, version: TlsVersion) -> Self {
        self.max_version = Some(version);
        self
    }

    fn versions(&self) -> Result<Vec<&'static rustls::SupportedProtocolVersion>, TlsConfigError> {
        let all =
            [(TlsVersion::Tls13, &rustls::version::TLS13), (TlsVersion::Tls12, &rustls::version::TLS12)];
        let fits = |version: &TlsVersion| {
            self.min_version.is_none_or(|min| *version >= min)
                && self.max_version.is_none_or(|max| *version <= max)
        };
        let versions: Vec<_> =
            all.into_iter().filter(|(version, _)| fits(version)).map(|(_, spoken)| spoken).collect();
        match versions.is_empty() {
            true => Err(TlsConfigError("the oldest version of TLS is newer than the newest".to_owned())),
            false => Ok(versions),
        }
    }

    pub(crate) fn build(&self) -> Result<Tls, TlsConfigError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let ca = self.ca.as_ref().ok_or_else(|| {
            TlsConfigError("no CA is set; give the cluster's CA file (tls-ca-file)".to_owned())
        })?;
        let ca = certificates(&ca.read("CA file")?, "CA file")?;
        let verifier = Arc::new(Verifier::new(&ca, self.verify, &provider)?);
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions()?)
            .map_err(|error| TlsConfigError(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match &self.cert {
            None => builder.with_no_client_auth(),
            Some(cert) => {
                let pem = cert.read("client certificate")?;
                let chain = certificates(&pem, "client certificate")?;
                let key = match &self.key {
                    Some(key) => key.read("client key")?,
                    None => pem,
                };
                let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| {
                    TlsConfigError(format!("the client key holds no usable private key: {error}"))
                })?;
                builder.with_client_auth_cert(chain, key).map_err(|error| {
                    TlsConfigError(format!("client certificate and key do not go together: {error}"))
                })?
            }
        };
        let server_name = match &self.server_name {
            Some(name) => Some(server_name(name)?),
            None => None,
        };
        Ok(Tls { config: Arc::new(config), server_name })
    }
}

/// What a TLS handshake came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsSession {
    /// `TLS 1.3` or `TLS 1.2`.
    pub version: &'static str,
    /// When the server's certificate expires, if that could be read.
    pub expires: Option<SystemTime>,
}

impl TlsSession {
    pub(crate) fn of(connection: &rustls::ClientConnection) -> Self {
        let version = match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS",
        };
        let certificate = connection.peer_certificates().and_then(<[_]>::first);
        Self {
            version,
            expires: certificate.and_then(|certificate| super::certificate::expires(certificate)),
        }
    }
}

/// TLS settings cannot be used. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("TLS settings: {0}")]
pub(crate) struct TlsConfigError(pub(crate) String);

/// Ready-made TLS settings.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl Tls {
    pub(crate) fn name_for(&self, host: &str) -> Result<ServerName<'static>, TlsConfigError> {
        self.server_name.clone().map_or_else(|| server_name(host), Ok)
    }
}

fn server_name(host: &str) -> Result<ServerName<'static>, TlsConfigError> {
    ServerName::try_from(host.to_owned())
        .map_err(|_| TlsConfigError(format!("{host:?} is no host name for TLS")))
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| TlsConfigError(format!("the {what} is not PEM: {error}")))?;
    if found.is_empty() {
        return Err(TlsConfigError(format!("the {what} holds no certificate")));
    }
    Ok(found)
}

#[derive(Debug)]
struct Verifier {
    policy: Verify,
    roots: RootCertStore,
    pinned: Vec<CertificateDer<'static>>,
    by_name: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(
        ca: &[CertificateDer<'static>],
        policy: Verify,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, TlsConfigError> {
        let mut roots = RootCertStore::empty();
        for certificate in ca {
            roots.add(certificate.clone()).map_err(|error| {
                TlsConfigError(format!("the CA file holds an unusable certificate: {error}"))
            })?;
        }
        let by_name =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots.clone()), Arc::clone(provider))
                .build()
                .map_err(|error| TlsConfigError(error.to_string()))?;
        Ok(Self { policy, roots, pinned: ca.to_vec(), by_name, provider: Arc::clone(provider) })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.policy {
            Verify::Name => {
                self.by_name.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            Verify::Chain => {
                let certificate = ParsedCertificate::try_from(end_entity)?;
                rustls::client::verify_server_cert_signed_by_trust_anchor(
                    &certificate,
                    &self.roots,
                    intermediates,
                    now,
                    self.provider.signature_verification_algorithms.all,
                )?;
                Ok(ServerCertVerified::assertion())
            }
            Verify::Pinned if self.pinned.iter().any(|pinned| pinned == end_entity) => {
                Ok(ServerCertVerified::assertion())
            }
            Verify::Pinned => Err(rustls::CertificateError::UnknownIssuer.into()),
        }
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

/// Whether the other side has refused what this side showed.
pub(crate) fn is_refusal(error: &std::io::Error) -> bool {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(tls, Some(rustls::Error::AlertReceived(_)))
}

/// Whether trying again will fail in the same way: by a certificate or by what the sides support.
pub(crate) fn is_lasting(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

/// A TLS failure in plain words.
pub(crate) fn explain(error: &std::io::Error) -> String {
    use rustls::{AlertDescription as Alert, CertificateError as Cert, Error as Tls};
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>()) else {
        return match error.kind() {
            std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset => {
                "the server closed the connection during the TLS handshake (does it speak TLS? does it know this \
                 server name?)"
                    .to_owned()
            }
            _ => error.to_string(),
        };
    };
    match tls {
        // A bad signature is what another CA of the same name looks like.
        Tls::InvalidCertificate(Cert::UnknownIssuer | Cert::BadSignature) => {
            "the server's certificate is not signed by the given CA; is it the cluster's CA file?".to_owned()
        }
        Tls::InvalidCertificate(Cert::Expired | Cert::ExpiredContext { .. }) => {
            "the server's certificate has expired; the cluster needs a new one".to_owned()
        }
        Tls::InvalidCertificate(Cert::NotValidYet | Cert::NotValidYetContext { .. }) => {
            "the server's certificate is not valid yet; is this machine's clock right?".to_owned()
        }
        Tls::InvalidCertificate(Cert::NotValidForName | Cert::NotValidForNameContext { .. }) => {
            "the server's certificate is made out to another name; connect by that name, or verify the chain only, as \
             Dask does"
                .to_owned()
        }
        Tls::InvalidCertificate(Cert::InvalidPurpose | Cert::InvalidPurposeContext { .. }) => {
            "the server's certificate is not meant for a server".to_owned()
        }
        Tls::InvalidCertificate(other) => format!(
            "the server's certificate is not acceptable ({other:?}); if it is self-signed and the very one in the CA \
             file, verify by pinning"
        ),
        Tls::AlertReceived(Alert::CertificateRequired) => {
            "the server demands a client certificate; give tls-cert and tls-key".to_owned()
        }
        Tls::AlertReceived(Alert::UnknownCA | Alert::DecryptError) => {
            "the server does not accept this client's certificate: another CA signed it".to_owned()
        }
        Tls::AlertReceived(Alert::BadCertificate | Alert::CertificateUnknown | Alert::UnsupportedCertificate) => {
            "the server does not accept this client's certificate".to_owned()
        }
        Tls::AlertReceived(Alert::CertificateExpired) => "this client's certificate has expired".to_owned(),
        Tls::AlertReceived(Alert::UnrecognisedName) => "the server does not know this server name (SNI)".to_owned(),
        Tls::InvalidMessage(_) => {
            "the server does not speak TLS on this port; use a tcp:// address if it is a plain Dask port".to_owned()
        }
        other => other.to_string(),
    }
}
