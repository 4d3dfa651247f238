//! The life of a client: not yet registered, connected, reconnecting, ended; and who wants to know.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex as StdMutex, PoisonError};
use std::time::Duration;

use futures::Stream;
use tokio::sync::{Mutex, MutexGuard, broadcast, watch};

use crate::client::Client;
use crate::error::{Error, Result};

/// Something that happened to a client. See [`Client::events`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ClientEvent {
    /// Registered with the scheduler for the first time.
    Connected,
    /// The stream to the scheduler broke.
    Disconnected {
        /// Why; the same error that everybody got who waited.
        cause: Error,
    },
    /// Registered again.
    Reconnected,
    /// The client ended by itself: the stream broke and it may not connect again, or could not. The last event.
    GaveUp {
        /// Why; what every later call fails with.
        cause: Error,
    },
    /// The client was closed, or its last handle dropped. The last event.
    Closed,
    /// A request took longer than [`ClientBuilder::slow_after`](crate::ClientBuilder::slow_after).
    Slow {
        /// The request's op.
        op: &'static str,
        /// How long it took.
        took: Duration,
    },
    /// This listener was too slow and missed this many events.
    Missed(u64),
}

/// Where a client stands.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// Not registered yet: nothing was submitted.
    Idle,
    /// Registered.
    Connected,
    /// The stream broke and a new one is looked for.
    Reconnecting,
    /// Over, for this reason.
    Ended(Error),
}

/// Events that a listener may be behind.
const BUFFER: usize = 64;

pub(crate) struct Life {
    stage: watch::Sender<Stage>,
    closing: watch::Sender<bool>,
    /// `None` after the last event.
    events: StdMutex<Option<broadcast::Sender<ClientEvent>>>,
    registering: Mutex<()>,
    reconnects: AtomicU64,
    slow: AtomicU64,
}

impl Life {
    pub(crate) fn new() -> Self {
        Self {
            stage: watch::Sender::new(Stage::Idle),
            closing: watch::Sender::new(false),
            events: StdMutex::new(Some(broadcast::Sender::new(BUFFER))),
            registering: Mutex::new(()),
            reconnects: AtomicU64::new(0),
            slow: AtomicU64::new(0),
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage.borrow().clone()
    }

    pub(crate) fn is_connected(&self) -> bool {
        matches!(*self.stage.borrow(), Stage::Connected) && !self.is_closing()
    }

    /// Whether the client was never registered.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(*self.stage.borrow(), Stage::Idle)
    }

    pub(crate) fn enter(&self, stage: Stage) {
        let first = matches!((&*self.stage.borrow(), &stage), (Stage::Idle, Stage::Connected));
        self.stage.send_replace(stage);
        if first {
            self.tell(ClientEvent::Connected);
        }
    }

    /// Waits while the client reconnects.
    pub(crate) async fn settled(&self) {
        let mut stage = self.stage.subscribe();
        drop(stage.wait_for(|stage| !matches!(stage, Stage::Reconnecting)).await);
    }

    /// Waits until the stream, if there is one, is over.
    pub(crate) async fn ended(&self) {
        let mut stage = self.stage.subscribe();
        drop(stage.wait_for(|stage| matches!(stage, Stage::Idle | Stage::Ended(_))).await);
    }

    /// One at a time.
    pub(crate) async fn registering(&self) -> MutexGuard<'_, ()> {
        self.registering.lock().await
    }

    /// What a caller waits for, in words.
    pub(crate) fn doing(&self) -> &'static str {
        match *self.stage.borrow() {
            Stage::Reconnecting => "reconnecting",
            _ => "registering",
        }
    }

    /// Begins the end; whether this was the first call.
    pub(crate) fn close(&self) -> bool {
        !self.closing.send_replace(true)
    }

    pub(crate) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Waits for the beginning of the end.
    pub(crate) async fn closing(&self) {
        let mut closing = self.closing.subscribe();
        drop(closing.wait_for(|closing| *closing).await);
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.is_closing() {
            return Err(Error::closed());
        }
        match &*self.stage.borrow() {
            Stage::Ended(error) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    pub(crate) fn tell(&self, event: ClientEvent) {
        if let Some(events) = &*self.events() {
            // Nobody listens: nobody is told.
            drop(events.send(event));
        }
    }

    /// Tells the last event: the streams of events end after it.
    pub(crate) fn over(&self, event: ClientEvent) {
        if let Some(events) = self.events().take() {
            drop(events.send(event));
        }
    }

    fn events(&self) -> std::sync::MutexGuard<'_, Option<broadcast::Sender<ClientEvent>>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts and tells a slow request.
    pub(crate) fn slow(&self, event: ClientEvent) {
        self.slow.fetch_add(1, Ordering::Relaxed);
        self.tell(event);
    }

    pub(crate) fn slow_ones(&self) -> u64 {
        self.slow.load(Ordering::Relaxed)
    }

    pub(crate) fn reconnected(&self) {
        self.reconnects.fetch_add(1, Ordering::Relaxed);
        self.tell(ClientEvent::Reconnected);
    }

    pub(crate) fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }
}

impl Client {
    /// What happens to this client from now on: connected, disconnected, reconnected, slow replies, the end.
    ///
    /// A listener that falls behind by more than 64 events is told how many it missed. The stream ends with the client,
    /// after [`ClientEvent::Closed`] or [`ClientEvent::GaveUp`]; on a client that has ended it is empty.
    pub fn events(&self) -> impl Stream<Item = ClientEvent> + Send + use<> {
        let events = self.shared().life.events().as_ref().map(broadcast::Sender::subscribe);
        futures::stream::unfold(events, |events| async {
            let mut events = events?;
            match events.recv().await {
                Ok(event) => Some((event, Some(events))),
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    Some((ClientEvent::Missed(missed), Some(events)))
                }
                Err(broadcast::error::RecvError::Closed) => None,
            }
        })
    }
}
