//! Each cluster's own authority: it certifies the scheduler's proxy, and clients on request.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SubjectPublicKeyInfo,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use x509_parser::prelude::{
    FromDer, ParsedCriAttribute, ParsedExtension, X509CertificationRequest, parse_x509_pem,
};

use super::record::CsrSummary;
use super::state::Chain;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Whatever goes wrong here is told in one text.
pub(super) type Outcome<T> = Result<T, String>;

pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    /// What the proxy shows and demands for this cluster.
    pub(super) server: Arc<ServerConfig>,
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn params(name: &str, hosts: Vec<String>) -> Outcome<CertificateParams> {
    let mut params = CertificateParams::new(hosts).map_err(text)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + DAY * 30).into();
    Ok(params)
}

fn issuer() -> Outcome<(Issuer<'static, KeyPair>, CertificateDer<'static>, String)> {
    let mut authority = params("Dask cluster CA", Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().map_err(text)?;
    let certificate = authority.self_signed(&key).map_err(text)?;
    let (der, pem) = (certificate.der().clone(), certificate.pem());
    Ok((Issuer::new(authority, key), der, pem))
}

impl Authority {
    /// An authority for a cluster, and the proxy's certificate for its host.
    pub(super) fn new(host: &str, chain: Chain) -> Outcome<Self> {
        let (issuer, der, certificate) = self::issuer()?;
        let foreign = match chain {
            Chain::Foreign => Some(self::issuer()?.0),
            _ => None,
        };
        let mut leaf = params(host, vec![host.to_owned()])?;
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(text)?;
        let signed = leaf.signed_by(&key, foreign.as_ref().unwrap_or(&issuer)).map_err(text)?;

        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(der).map_err(text)?;
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(text)?;
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(text)?
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![signed.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .map_err(text)?;
        Ok(Self { issuer, certificate: certificate.replace("\r\n", "\n"), server: Arc::new(server) })
    }

    /// Certifies a client: its certificate and the authority's, as PEM.
    pub(super) fn sign(
        &self,
        cluster_id: &str,
        csr: &str,
        chain: Chain,
        lifetime: Duration,
    ) -> Outcome<String> {
        let summary = summarize(csr)?;
        let wanted = format!("CN=Dask Client {cluster_id}");
        if summary.subject != wanted {
            return Err(format!("the subject is {:?} instead of {wanted:?}", summary.subject));
        }
        let (_, pem) = parse_x509_pem(csr.as_bytes()).map_err(text)?;
        let (_, request) = X509CertificationRequest::from_der(&pem.contents).map_err(text)?;
        request.verify_signature().map_err(|error| format!("the request's signature is wrong: {error}"))?;
        let spki = SubjectPublicKeyInfo::from_der(request.certification_request_info.subject_pki.raw)
            .map_err(text)?;
        let mut leaf = params(&format!("Dask Client {cluster_id}"), Vec::new())?;
        let now = SystemTime::now();
        let end =
            if lifetime.is_zero() { now - Duration::from_secs(2) } else { now + lifetime.min(DAY * 3650) };
        leaf.not_after = end.into();
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        leaf.use_authority_key_identifier_extension = true;
        let signed = leaf.signed_by(&spki, &self.issuer).map_err(text)?.pem().replace("\r\n", "\n");
        // dask-saturn's parser wants nothing before, between and after, and line feeds alone.
        Ok(match chain {
            Chain::Short => signed,
            _ => format!("{signed}{}", self.certificate),
        })
    }
}

/// What a certificate request says.
pub(super) fn summarize(csr: &str) -> Outcome<CsrSummary> {
    let (_, pem) = parse_x509_pem(csr.as_bytes()).map_err(|error| format!("it is no PEM: {error}"))?;
    if pem.label != "CERTIFICATE REQUEST" {
        return Err(format!("it is a {}", pem.label));
    }
    let (_, request) = X509CertificationRequest::from_der(&pem.contents).map_err(text)?;
    let info = &request.certification_request_info;
    let key = match info.subject_pki.parsed() {
        Ok(x509_parser::public_key::PublicKey::RSA(key)) => {
            format!("RSA {} e={}", key.key_size(), key.try_exponent().unwrap_or(0))
        }
        Ok(_) => "not RSA".to_owned(),
        Err(error) => return Err(text(error)),
    };
    let extensions = info.iter_attributes().flat_map(|attribute| match attribute.parsed_attribute() {
        ParsedCriAttribute::ExtensionRequest(asked) => asked.extensions.clone(),
        _ => Vec::new(),
    });
    let describe = |one: x509_parser::prelude::X509Extension<'_>| {
        let critical = if one.critical { " critical" } else { "" };
        let content = match one.parsed_extension() {
            // Differs with the key.
            ParsedExtension::SubjectKeyIdentifier(id) => format!("{} bytes", id.0.len()),
            _ => one.value.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        format!("{}{critical} {content}", one.oid.to_id_string())
    };
    Ok(CsrSummary {
        subject: info.subject.to_string(),
        key,
        signature: request.signature_algorithm.algorithm.to_id_string(),
        extensions: extensions.map(describe).collect(),
    })
}
