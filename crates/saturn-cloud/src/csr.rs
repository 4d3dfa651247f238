//! The key of a client and the request to certify it, made as dask-saturn makes them.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, KeyPair, PKCS_RSA_SHA256,
    PublicKeyData, RsaKeySize,
};
use secrecy::SecretString;

use crate::error::{Error, Result};

/// `SEQUENCE {}`: an authority it is not.
const NO_AUTHORITY: [u8; 2] = [0x30, 0x00];
/// `SEQUENCE { OBJECT IDENTIFIER clientAuth }`
const CLIENT_AUTH: [u8; 12] = [0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];

const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
const EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];
const SUBJECT_KEY_IDENTIFIER: &[u64] = &[2, 5, 29, 14];

/// A key, which stays in memory, and the request to certify it.
#[derive(Debug)]
pub(crate) struct Application {
    /// PKCS#8, PEM.
    pub(crate) key: SecretString,
    /// PKCS#10, PEM.
    pub(crate) csr: String,
}

/// Makes a new RSA key of 2048 bits and a request for it. Takes a moment of computing, off the caller's thread.
pub(crate) async fn apply(cluster_id: &str) -> Result<Application> {
    let name = format!("Dask Client {cluster_id}");
    let made = tokio::task::spawn_blocking(move || make(&name)).await;
    made.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))
}

fn failed(reason: String) -> Error {
    Error::Crypto { what: "make the client's key and certificate request", reason }
}

fn make(common_name: &str) -> Result<Application, rcgen::Error> {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::NoCa;
    // Written by hand: rcgen's own are not critical, or missing in requests.
    params.custom_extensions = vec![
        extension(BASIC_CONSTRAINTS, true, NO_AUTHORITY.to_vec()),
        extension(EXTENDED_KEY_USAGE, true, CLIENT_AUTH.to_vec()),
        extension(SUBJECT_KEY_IDENTIFIER, false, key_identifier(&key)),
    ];
    let csr = params.serialize_request(&key)?.pem()?;
    Ok(Application { key: SecretString::from(key.serialize_pem()), csr })
}

fn extension(oid: &[u64], critical: bool, content: Vec<u8>) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content);
    extension.set_criticality(critical);
    extension
}

/// The SHA-1 of the public key as an `OCTET STRING`, the first method of RFC 5280. It names the key and protects nothing.
fn key_identifier(key: &KeyPair) -> Vec<u8> {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, key.der_bytes());
    let mut content = vec![0x04, 0x14];
    content.extend_from_slice(hash.as_ref());
    content
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;
    use x509_parser::prelude::*;

    #[tokio::test]
    async fn the_request_is_what_dask_saturn_makes() {
        let made = apply("c-1").await.unwrap();
        assert!(!format!("{made:?}").contains("PRIVATE KEY"));
        assert!(made.key.expose_secret().starts_with("-----BEGIN PRIVATE KEY-----"));
        let (_, pem) = parse_x509_pem(made.csr.as_bytes()).unwrap();
        assert_eq!(pem.label, "CERTIFICATE REQUEST");
        let (_, csr) = X509CertificationRequest::from_der(&pem.contents).unwrap();
        let info = &csr.certification_request_info;
        assert_eq!(info.subject.to_string(), "CN=Dask Client c-1");
        let x509_parser::public_key::PublicKey::RSA(key) = info.subject_pki.parsed().unwrap() else {
            panic!("no RSA")
        };
        assert_eq!((key.key_size(), key.try_exponent().unwrap()), (2048, 65537));
        assert_eq!(csr.signature_algorithm.algorithm.to_id_string(), "1.2.840.113549.1.1.11");
        let extensions: Vec<_> = info
            .iter_attributes()
            .flat_map(|attribute| match attribute.parsed_attribute() {
                ParsedCriAttribute::ExtensionRequest(request) => request.extensions.clone(),
                _ => Vec::new(),
            })
            .collect();
        let shape: Vec<_> = extensions.iter().map(|one| (one.oid.to_id_string(), one.critical)).collect();
        let expected = [("2.5.29.19", true), ("2.5.29.37", true), ("2.5.29.14", false)];
        assert_eq!(shape, expected.map(|(oid, critical)| (oid.to_owned(), critical)));
        let parsed: Vec<_> = extensions.iter().map(X509Extension::parsed_extension).collect();
        assert!(matches!(parsed[0], ParsedExtension::BasicConstraints(limits) if !limits.ca));
        assert!(
            matches!(parsed[1], ParsedExtension::ExtendedKeyUsage(usage) if usage.client_auth && !usage.server_auth)
        );
        assert!(matches!(parsed[2], ParsedExtension::SubjectKeyIdentifier(id) if id.0.len() == 20));
    }
}
