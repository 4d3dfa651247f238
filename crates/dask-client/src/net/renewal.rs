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
    pub(crate) expires_after: Option<Duration>,
}

/// How long after a failure others are asked for again, while those that are held will do.
const AGAIN: Duration = Duration::from_secs(5);

impl FreshTls {
    /// Settings that hold until the client has to connect again.
    pub fn new(config: TlsConfig) -> Self {
        Self { config, renew_after: None, expires_after: None }
    }

    /// Asks for others after this time, for connections that are opened then: some time before the certificate expires.
    /// While others cannot be had, these are used on.
    #[must_use]
    pub fn renew_after(mut self, time: Duration) -> Self {
        self.renew_after = Some(time);
        self
    }

    /// These are of no use after this time: whoever connects then needs others.
    #[must_use]
    pub fn expires_after(mut self, time: Duration) -> Self {
        self.expires_after = Some(time);
        self
    }
}

/// Where a client gets its TLS settings from, again and again.
///
/// It is asked before the first connection, when the stream to the scheduler has broken, when a server does not accept
/// what was given last, and when [`FreshTls::renew_after`] has passed: always just before a connection is opened, and
/// within the time that connecting may take. When it fails, or takes more than half of that time, what was given last is
/// used on and it is asked again a little later, unless that has expired or was not accepted.
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
    /// The settings to open a connection with. Others are waited for no longer than `patience` while those that are held
    /// will do.
    pub(crate) async fn current(&self, peer: &Address, patience: Duration) -> Result<Tls, Error> {
        match self {
            Self::Fixed(tls) => Ok(tls.clone()),
            Self::Renewed(renewal) => renewal.current(peer, patience).await,
        }
    }

    /// The next connection is opened with others, if they can be had.
    pub(crate) fn renew(&self) {
        if let Self::Renewed(renewal) = self {
            renewal.due.store(true, Ordering::Release);
        }
    }

    /// The next connection is opened with others: these were not accepted.
    pub(crate) fn refuse(&self) {
        if let Self::Renewed(renewal) = self {
            renewal.refused.store(true, Ordering::Release);
        }
    }
}

#[derive(Debug)]
pub(crate) struct Renewal {
    source: Arc<dyn TlsSource>,
    /// Others would be better.
    due: AtomicBool,
    /// Those that are held are of no use.
    refused: AtomicBool,
    again: Duration,
    current: Mutex<Option<Held>>,
}

#[derive(Debug)]
struct Held {
    tls: Tls,
    until: Option<Instant>,
    expires: Option<Instant>,
    /// Others could not be had: not asked for before this time.
    paused: Option<Instant>,
}

impl Renewal {
    pub(crate) fn new(source: Arc<dyn TlsSource>) -> Arc<Self> {
        Arc::new(Self::pausing(source, AGAIN))
    }

    fn pausing(source: Arc<dyn TlsSource>, again: Duration) -> Self {
        let (due, refused) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { source, due, refused, again, current: Mutex::new(None) }
    }

    /// One caller renews, the others wait for it.
    async fn current(&self, peer: &Address, patience: Duration) -> Result<Tls, Error> {
        let mut current = self.current.lock().await;
        let now = Instant::now();
        let refused = self.refused.load(Ordering::Acquire);
        let Some(held) =
            current.as_mut().filter(|held| !refused && held.expires.is_none_or(|expires| now < expires))
        else {
            let (tls, fresh) = self.fresh(peer).await?;
            *current = Some(fresh);
            return Ok(tls);
        };
        let due = self.due.load(Ordering::Acquire) || held.until.is_some_and(|until| until <= now);
        if !due || held.paused.is_some_and(|paused| now < paused) {
            return Ok(held.tls.clone());
        }
        let error = match tokio::time::timeout(patience, self.fresh(peer)).await {
            Ok(Ok((tls, fresh))) => {
                *held = fresh;
                return Ok(tls);
            }
            Ok(Err(error)) => error,
            Err(_) => Error::connect_timeout(peer, "getting a certificate for this client", patience),
        };
        tracing::warn!(%error, "TLS settings are due and could not be renewed; the old ones are used on");
        held.paused = Instant::now().checked_add(self.again);
        Ok(held.tls.clone())
    }

    async fn fresh(&self, peer: &Address) -> Result<(Tls, Held), Error> {
        let fresh = self.source.tls().await.map_err(|error| Error::no_certificate(peer, error.as_ref()))?;
        let tls = fresh.config.build().map_err(|error| Error::config(error.to_string()))?;
        self.due.store(false, Ordering::Release);
        self.refused.store(false, Ordering::Release);
        let after = |time: Option<Duration>| time.and_then(|time| Instant::now().checked_add(time));
        let (until, expires) = (after(fresh.renew_after), after(fresh.expires_after));
        tracing::debug!(%peer, "TLS settings were renewed");
        Ok((tls.clone(), Held { tls, until, expires, paused: None }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    /// What the source does when it is asked.
    #[derive(Clone, Copy, Debug)]
    enum Mood {
        Gives,
        Fails,
        Hangs,
    }

    #[derive(Debug)]
    struct Counting {
        asked: AtomicU32,
        mood: std::sync::Mutex<Mood>,
        renew_after: Option<Duration>,
        expires_after: Option<Duration>,
        ca: String,
    }

    impl Counting {
        fn new(renew_after: Option<Duration>, expires_after: Option<Duration>) -> Arc<Self> {
            let ca = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap().cert.pem();
            let (asked, mood) = (AtomicU32::new(0), std::sync::Mutex::new(Mood::Gives));
            Arc::new(Self { asked, mood, renew_after, expires_after, ca })
        }

        fn origin(self: &Arc<Self>, again: Duration) -> TlsOrigin {
            let source = Arc::clone(self) as Arc<dyn TlsSource>;
            TlsOrigin::Renewed(Arc::new(Renewal::pausing(source, again)))
        }

        fn feels(&self, mood: Mood) {
            *self.mood.lock().unwrap() = mood;
        }

        fn asked(&self) -> u32 {
            self.asked.load(Ordering::Relaxed)
        }
    }

    impl TlsSource for Counting {
        fn tls(&self) -> BoxFuture<'_, Result<FreshTls, Box<dyn std::error::Error + Send + Sync>>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let mood = *self.mood.lock().unwrap();
            Box::pin(async move {
                match mood {
                    Mood::Gives => {}
                    Mood::Fails => return Err("the authority sleeps".into()),
                    Mood::Hangs => std::future::pending().await,
                }
                let mut fresh = FreshTls::new(TlsConfig::new().ca(self.ca.as_str()));
                (fresh.renew_after, fresh.expires_after) = (self.renew_after, self.expires_after);
                Ok(fresh)
            })
        }
    }

    const PATIENCE: Duration = Duration::from_millis(10);
    const LONG: Duration = Duration::from_secs(3600);

    fn peer() -> Address {
        "tls://a:1".parse().unwrap()
    }

    #[tokio::test]
    async fn settings_are_renewed_when_they_are_stale_or_old_and_only_then() {
        let peer = peer();
        let source = Counting::new(None, None);
        let origin = source.origin(LONG);
        for expected in [1, 1] {
            origin.current(&peer, LONG).await.unwrap();
            assert_eq!(source.asked(), expected);
        }
        origin.renew();
        for expected in [2, 2] {
            origin.current(&peer, LONG).await.unwrap();
            assert_eq!(source.asked(), expected);
        }
        origin.refuse();
        for expected in [3, 3] {
            origin.current(&peer, LONG).await.unwrap();
            assert_eq!(source.asked(), expected);
        }
        let source = Counting::new(Some(Duration::ZERO), None);
        let origin = source.origin(LONG);
        origin.current(&peer, LONG).await.unwrap();
        origin.current(&peer, LONG).await.unwrap();
        assert_eq!(source.asked(), 2);
    }

    #[tokio::test]
    async fn settings_that_are_merely_due_are_used_on_when_there_are_no_others() {
        let peer = peer();
        for mood in [Mood::Fails, Mood::Hangs] {
            // Old ones, and such as belong to a stream that broke.
            for (renew_after, broken) in [(Some(Duration::ZERO), false), (None, true)] {
                let source = Counting::new(renew_after, Some(LONG));
                let origin = source.origin(LONG);
                origin.current(&peer, LONG).await.unwrap();
                source.feels(mood);
                if broken {
                    origin.renew();
                }
                // The source is left alone for a while.
                for _ in 0..3 {
                    origin.current(&peer, PATIENCE).await.unwrap();
                    assert_eq!(source.asked(), 2, "{mood:?} {broken}");
                }
                // And then asked again, until it gives.
                let origin = source.origin(Duration::ZERO);
                source.feels(Mood::Gives);
                origin.current(&peer, LONG).await.unwrap();
                if broken {
                    origin.renew();
                }
                source.feels(mood);
                origin.current(&peer, PATIENCE).await.unwrap();
                origin.current(&peer, PATIENCE).await.unwrap();
                assert_eq!(source.asked(), 5, "{mood:?} {broken}");
                source.feels(Mood::Gives);
                origin.current(&peer, LONG).await.unwrap();
                origin.current(&peer, LONG).await.unwrap();
                assert_eq!(source.asked(), if broken { 6 } else { 7 }, "{mood:?} {broken}");
            }
        }
    }

    #[tokio::test]
    async fn settings_that_are_of_no_use_are_not_used_on() {
        let peer = peer();
        for (expires_after, refused) in [(Some(Duration::ZERO), false), (Some(LONG), true), (None, true)] {
            let source = Counting::new(None, expires_after);
            let origin = source.origin(LONG);
            origin.current(&peer, LONG).await.unwrap();
            source.feels(Mood::Fails);
            if refused {
                origin.refuse();
            }
            // What failed is tried again at once.
            for expected in [2, 3] {
                let error = origin.current(&peer, LONG).await.unwrap_err();
                assert!(error.to_string().contains("the authority sleeps"), "{error}");
                assert_eq!(source.asked(), expected);
            }
            source.feels(Mood::Gives);
            origin.current(&peer, LONG).await.unwrap();
            assert_eq!(source.asked(), 4);
        }
    }
}
