//! From a signed chain to what a TLS connection to a scheduler needs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dask_client::{FreshTls, Pem, TlsConfig, Verify};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::{ExposeSecret, SecretString};

use crate::error::{Aftermath, Error, Result};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
/// A certificate is used for this share of its time, then another is asked for.
const SHARE_OF_LIFE: f64 = 0.8;

/// How the scheduler's certificate is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verification {
    /// Signed by the cluster's authority; names do not matter. What Dask itself does, and the default.
    #[default]
    Chain,
    /// Signed by the cluster's authority and made out to the host of the scheduler's address.
    Name,
    /// Exactly this certificate.
    Pinned(Pem),
}

/// A client's certificate, its key, and the authority of the cluster.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    leaf: String,
    key: SecretString,
    authority: String,
}

impl Identity {
    /// From the server's answer to a certificate request: the client's certificate, then its authority's.
    pub(crate) fn new(id: &str, chain: &str, key: SecretString) -> Result<Self> {
        let found = split(chain);
        let [leaf, authority @ ..] = found.as_slice() else {
            return Err(Error::ShortChain { id: id.to_owned(), found: 0, after: Aftermath::Left });
        };
        if authority.is_empty() {
            return Err(Error::ShortChain { id: id.to_owned(), found: 1, after: Aftermath::Left });
        }
        for one in &found {
            if let Err(error) = CertificateDer::from_pem_slice(one.as_bytes()) {
                let reason = format!("one of them is not PEM ({error})");
                return Err(Error::BadChain { id: id.to_owned(), reason, after: Aftermath::Left });
            }
        }
        Ok(Self { leaf: leaf.clone(), key, authority: authority.concat() })
    }

    /// What a client shows and expects, and when it should ask for something new.
    pub(crate) fn tls(&self, verification: &Verification) -> FreshTls {
        let fresh = FreshTls::new(self.config(verification));
        match self.left() {
            // One that seems to have expired shows that the clocks differ: then it holds until it is refused.
            Some(left) if !left.is_zero() => {
                fresh.renew_after(left.mul_f64(SHARE_OF_LIFE)).expires_after(left)
            }
            _ => fresh,
        }
    }

    /// For how long the client's certificate is valid still.
    fn left(&self) -> Option<Duration> {
        let leaf = CertificateDer::from_pem_slice(self.leaf.as_bytes()).ok()?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&leaf).ok()?;
        let end = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
        let end = UNIX_EPOCH.checked_add(Duration::from_secs(end))?;
        Some(end.duration_since(SystemTime::now()).unwrap_or_default())
    }

    /// The client's certificate and its key, for TLS.
    pub(crate) fn own(&self) -> Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let chain = CertificateDer::from_pem_slice(self.leaf.as_bytes()).ok()?;
        let key = PrivateKeyDer::from_pem_slice(self.key.expose_secret().as_bytes()).ok()?;
        Some((vec![chain], key))
    }

    fn config(&self, verification: &Verification) -> TlsConfig {
        let tls = TlsConfig::new()
            .cert(Pem::Text(self.leaf.clone()))
            .key(Pem::Text(self.key.expose_secret().to_owned()));
        match verification {
            Verification::Chain => tls.ca(Pem::Text(self.authority.clone())).verify(Verify::Chain),
            Verification::Name => tls.ca(Pem::Text(self.authority.clone())).verify(Verify::Name),
            Verification::Pinned(pem) => tls.ca(pem.clone()).verify(Verify::Pinned),
        }
    }

    /// The certificates that a scheduler's has to be signed by.
    pub(crate) fn anchors(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.authority.as_bytes()).flatten().collect()
    }
}

/// The certificates of a PEM; `None` if it cannot be read.
pub(crate) fn read(pem: &Pem) -> Option<Vec<CertificateDer<'static>>> {
    let text = match pem {
        Pem::File(path) => std::fs::read(path).ok()?,
        Pem::Text(text) => text.clone().into_bytes(),
    };
    CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().ok()
}

/// Why no certificate can be pinned by this.
pub(crate) fn check_pin(pem: &Pem) -> Result<(), String> {
    let (name, text) = match pem {
        Pem::File(path) => {
            let name = path.display().to_string();
            let text = std::fs::read(path).map_err(|error| format!("{name} cannot be read: {error}"))?;
            (name, text)
        }
        Pem::Text(text) => ("the text".to_owned(), text.clone().into_bytes()),
    };
    let found: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{name} is not PEM: {error}"))?;
    match found.iter().all(|one| x509_parser::parse_x509_certificate(one).is_ok()) {
        _ if found.is_empty() => Err(format!("{name} holds no certificate in PEM form")),
        true => Ok(()),
        false => Err(format!("what {name} holds is no certificate")),
    }
}

/// The certificates of a text, each as PEM. Whatever is before, between and after them is left out.
fn split(text: &str) -> Vec<String> {
    let mut rest = text;
    let mut found = Vec::new();
    while let Some((_, after)) = rest.split_once(BEGIN) {
        let Some((body, after)) = after.split_once(END) else { break };
        found.push(format!("{BEGIN}{body}{END}\n"));
        rest = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(name: &str) -> String {
        rcgen::generate_simple_self_signed([name.to_owned()]).unwrap().cert.pem()
    }

    fn identity(chain: &str) -> Result<Identity> {
        Identity::new("c-1", chain, SecretString::from("key"))
    }

    #[test]
    fn a_pin_is_a_certificate() {
        assert_eq!(check_pin(&Pem::Text(certificate("leaf"))), Ok(()));
        for (text, words) in [
            ("", "no certificate"),
            ("hello", "no certificate"),
            ("-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", "not PEM"),
            ("-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n", "is no certificate"),
        ] {
            let reason = check_pin(&Pem::Text(text.to_owned())).unwrap_err();
            assert!(reason.contains(words), "{text:?}: {reason}");
        }
        let reason = check_pin(&Pem::File("/no/such/pin.pem".into())).unwrap_err();
        assert!(reason.contains("/no/such/pin.pem"), "{reason}");
    }

    #[test]
    fn a_chain_has_two_certificates_or_more() {
        let (leaf, authority) = (certificate("leaf"), certificate("authority"));
        let found = identity(&format!("{leaf}{authority}")).unwrap();
        assert_eq!(found.anchors().len(), 1);
        assert!(found.left().is_some_and(|left| left > Duration::from_secs(60)));
        assert_eq!(found.leaf.trim(), leaf.trim().replace("\r\n", "\n"));
        // Text around the certificates and other line ends do not matter.
        let windows =
            format!("Subject: x\r\n{leaf}\r\n{authority}").replace("\r\n", "\n").replace('\n', "\r\n");
        assert_eq!(identity(&windows).unwrap().anchors().len(), 1);
        let three = format!("{leaf}{authority}{}", certificate("root"));
        assert_eq!(identity(&three).unwrap().anchors().len(), 2);
        for (text, count) in [("", 0), ("{}", 0), (leaf.as_str(), 1)] {
            let error = identity(text).unwrap_err();
            assert!(matches!(error, Error::ShortChain { found, .. } if found == count), "{error}");
        }
        let broken = format!("{leaf}{BEGIN}\n!!!\n{END}\n");
        assert!(matches!(identity(&broken), Err(Error::BadChain { .. })));
    }
}
