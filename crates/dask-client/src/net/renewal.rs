//! TLS settings that are made anew while a client lives: certificates that are short-lived.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::sync::Mutex;

use super::address::Address;
use super::tls::{Tls, TlsConfig};
use crate::error::Error;

/// TLS settings for connections that are opened from now on.
#[derive(Clone, Debug)]
pub struct FreshTls {
    pub(crate) config: TlsConfig,
    pub(crate) renew_after: Option<Duration>,
}

impl FreshTls {
    /// Settings that hold until the client has to connect again.
    pub fn new(config: TlsConfig) -> Self {
        Self { config, renew_after: None }
    }

    /// Asks for others after this time, for connections that are opened then: shortly before the certificate expires.
    #[must_use]
    pub fn renew_after(mut self, time: Duration) -> Self {
        self.renew_after = Some(time);
        self
    }
}

/// Where a client gets its TLS settings from, again and again.
///
/// It is asked before the first connection, when the stream to the scheduler has broken, when a server does not accept
/// what was given last, and when [`FreshTls::renew_after`] has passed: always just before a connection is opened, and
/// within the time that connecting may take.
pub trait TlsSource: fmt::Debug + Send + Sync {
    /// Settings for connections from now on. The error's words become part of the client's own error.
    fn tls(&self) -> BoxFuture<'_, Result<FreshTls, Box<dyn std::error::Error + Send + Sync>>>;
}

/// What TLS settings come from.
#[derive(Clone, Debug)]
pub(crate) enum TlsSettings {
    Fixed(TlsConfig),
    Renewed(Arc<dyn TlsSource>),
}

/// The ready-made settings of a client, and how to get others.
#[derive(Clone, Debug)]
pub(crate) enum TlsOrigin {
    Fixed(Tls),
    Renewed(Arc<Renewal>),
}

impl TlsOrigin {
    /// The settings to open a connection with.
    pub(crate) async fn current(&self, peer: &Address) -> Result<Tls, Error> {
        match self {
            Self::Fixed(tls) => Ok(tls.clone()),
            Self::Renewed(renewal) => renewal.current(peer).await,
        }
    }

    /// The next connection is opened with others, if there are any.
    pub(crate) fn expire(&self) {
        if let Self::Renewed(renewal) = self {
            renewal.stale.store(true, Ordering::Release);
        }
    }
}

#[derive(Debug)]
pub(crate) struct Renewal {
    source: Arc<dyn TlsSource>,
    stale: AtomicBool,
    current: Mutex<Option<Held>>,
}

#[derive(Debug)]
struct Held {
    tls: Tls,
    until: Option<Instant>,
}

impl Renewal {
    pub(crate) fn new(source: Arc<dyn TlsSource>) -> Arc<Self> {
        Arc::new(Self { source, stale: AtomicBool::new(false), current: Mutex::new(None) })
    }

    /// One caller renews, the others wait for it.
    async fn current(&self, peer: &Address) -> Result<Tls, Error> {
        let mut current = self.current.lock().await;
        if let Some(held) = current.as_ref()
            && !self.stale.load(Ordering::Acquire)
            && held.until.is_none_or(|until| Instant::now() < until)
        {
            return Ok(held.tls.clone());
        }
        let fresh = self.source.tls().await.map_err(|error| Error::no_certificate(peer, error.as_ref()))?;
        let tls = fresh.config.build().map_err(|error| Error::config(error.to_string()))?;
        self.stale.store(false, Ordering::Release);
        let until = fresh.renew_after.and_then(|time| Instant::now().checked_add(time));
        *current = Some(Held { tls: tls.clone(), until });
        tracing::debug!(%peer, "TLS settings were renewed");
        Ok(tls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[derive(Debug)]
    struct Counting {
        asked: AtomicU32,
        at_once: bool,
        ca: String,
    }

    fn counting(at_once: bool) -> Arc<Counting> {
        let ca = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap().cert.pem();
        Arc::new(Counting { asked: AtomicU32::new(0), at_once, ca })
    }

    impl TlsSource for Counting {
        fn tls(&self) -> BoxFuture<'_, Result<FreshTls, Box<dyn std::error::Error + Send + Sync>>> {
            let count = self.asked.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                if count == 3 {
                    return Err("the authority sleeps".into());
                }
                let fresh = FreshTls::new(TlsConfig::new().ca(self.ca.as_str()));
                Ok(if self.at_once { fresh.renew_after(Duration::ZERO) } else { fresh })
            })
        }
    }

    #[tokio::test]
    async fn settings_are_renewed_when_they_are_stale_or_old_and_only_then() {
        let peer: Address = "tls://a:1".parse().unwrap();
        let source = counting(false);
        let origin = TlsOrigin::Renewed(Renewal::new(Arc::clone(&source) as Arc<dyn TlsSource>));
        let asked = || source.asked.load(Ordering::Relaxed);
        origin.current(&peer).await.unwrap();
        origin.current(&peer).await.unwrap();
        assert_eq!(asked(), 1);
        origin.expire();
        origin.current(&peer).await.unwrap();
        origin.current(&peer).await.unwrap();
        assert_eq!(asked(), 2);
        origin.expire();
        origin.current(&peer).await.unwrap();
        origin.expire();
        let error = origin.current(&peer).await.unwrap_err();
        assert!(error.to_string().contains("the authority sleeps"), "{error}");
        // What failed is tried again.
        origin.current(&peer).await.unwrap();
        assert_eq!(asked(), 5);

        let source = counting(true);
        let origin = TlsOrigin::Renewed(Renewal::new(Arc::clone(&source) as Arc<dyn TlsSource>));
        origin.current(&peer).await.unwrap();
        origin.current(&peer).await.unwrap();
        assert_eq!(source.asked.load(Ordering::Relaxed), 2);
    }
}
