//! Certificates for a cluster that speaks TLS: an authority of its own and one certificate
//! that scheduler, workers and clients share.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};

use crate::Error;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The files by which a client is let in, and their text.
#[derive(Clone)]
#[non_exhaustive]
pub struct TlsFiles {
    /// The authority's certificate (PEM).
    pub ca: PathBuf,
    /// The certificate (PEM), valid for `127.0.0.1` and `localhost`, for servers and clients.
    pub cert: PathBuf,
    /// The key of that certificate (PEM, PKCS#8).
    pub key: PathBuf,
    /// The text of `ca`.
    pub ca_pem: String,
    /// The text of `cert`.
    pub cert_pem: String,
    /// The text of `key`.
    pub key_pem: String,
}

impl std::fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ca, cert, key, .. } = self;
        f.debug_struct("TlsFiles")
            .field("ca", ca)
            .field("cert", cert)
            .field("key", key)
            .finish_non_exhaustive()
    }
}

fn params(name: &str, hosts: &[&str]) -> Result<CertificateParams, rcgen::Error> {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + DAY * 365).into();
    Ok(params)
}

/// Makes the certificates and writes them into a directory.
pub(crate) fn make(directory: &Path) -> Result<TlsFiles, Error> {
    let mut authority = params("dask-local authority", &[])?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_key = KeyPair::generate()?;
    let ca_pem = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);

    let mut leaf = params("dask-local", &["localhost", "127.0.0.1"])?;
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    leaf.use_authority_key_identifier_extension = true;
    let leaf_key = KeyPair::generate()?;
    let cert_pem = leaf.signed_by(&leaf_key, &issuer)?.pem();
    let key_pem = leaf_key.serialize_pem();

    let (ca, cert, key) = (directory.join("ca.pem"), directory.join("cert.pem"), directory.join("key.pem"));
    for (path, text) in [(&ca, &ca_pem), (&cert, &cert_pem), (&key, &key_pem)] {
        write_private(path, text).map_err(Error::io(format!("write {}", path.display())))?;
    }
    Ok(TlsFiles { ca, cert, key, ca_pem, cert_pem, key_pem })
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut options = std::fs::File::options();
    options.create_new(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_files_are_written_and_debug_shows_no_key() {
        let directory = tempfile::tempdir().unwrap();
        let files = make(directory.path()).unwrap();
        assert!(files.ca_pem.starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(files.key_pem.contains("PRIVATE KEY"));
        assert_eq!(std::fs::read_to_string(&files.cert).unwrap(), files.cert_pem);
        assert!(!format!("{files:?}").contains("PRIVATE KEY"));
    }
}
