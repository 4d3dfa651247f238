//! Results in the order in which they come.

use std::collections::VecDeque;
use std::future::Future as StdFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use dask_wire::session::KeyState;
use dask_wire::{FromPython, Key};
use futures::Stream;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, Sleep};
use tracing::Instrument;

use crate::client::{Client, Handle};
use crate::error::{Error, ErrorKind, Result};
use crate::results::gather::{ATTEMPTS, Fetched, Tally, gather_span, pause_before};
use crate::waiting::limit::from_now;
use crate::waiting::wait::read;
use crate::waiting::watch::Watch;
use crate::work::future::Future;

/// Results fetched together.
const BATCH: usize = 256;
/// Results of types that may be large are fetched by fewer.
const BULKY_BATCH: usize = 4;
/// Fetches under way at once.
const FETCHES: usize = 4;
/// Results fetched and not yet taken, above which no more are fetched.
const AHEAD: usize = 2 * BATCH;

impl Client {
    /// The futures with their results, each as soon as it is there, as a stream. A task that failed comes with its error.
    ///
    /// Costs are linear: each key is looked at when it changed, and results that are there together are fetched together,
    /// as [`Client::gather`] does. Python's `as_completed`.
    pub fn as_completed<R>(&self, futures: impl IntoIterator<Item = Future<R>>) -> AsCompleted<R> {
        let mut harvest = Harvest::new(Arc::clone(&self.handle));
        harvest.extend(futures.into_iter().map(|future| ((), future)));
        AsCompleted { harvest, deadline: None }
    }
}

/// A stream of futures with their results. Made by [`Client::as_completed`].
#[must_use = "streams do nothing unless polled"]
#[derive(Debug)]
pub struct AsCompleted<R> {
    harvest: Harvest<(), R>,
    deadline: Option<Deadline>,
}

impl<R> AsCompleted<R> {
    /// Ends within this time from now: what is not done by then comes with the reason why.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(Deadline::new(deadline));
        self
    }

    /// One more future of the same client to wait for, also after the stream has ended: it goes on then. Python's
    /// `as_completed.add`.
    pub fn push(&mut self, future: Future<R>) {
        self.harvest.extend([((), future)]);
    }

    /// How many are still to come.
    pub fn len(&self) -> usize {
        self.harvest.len()
    }

    /// Whether none is to come any more.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<R: FromPython> AsCompleted<R> {
    /// The next one; `None` after the last.
    pub async fn next(&mut self) -> Option<(Future<R>, Result<R>)> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl<R: FromPython> Stream for AsCompleted<R> {
    type Item = (Future<R>, Result<R>);

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Poll::Ready(next) = this.harvest.poll_next(cx) {
            return Poll::Ready(next.map(|((), future, result)| (future, result)));
        }
        let Some(deadline) = &mut this.deadline else { return Poll::Pending };
        let error = ready!(deadline.poll(cx, &this.harvest));
        Poll::Ready(this.harvest.give_up(&error, deadline.after).map(|((), future, result)| (future, result)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

/// A limit on a stream of results, and the reason why it passed.
pub(crate) struct Deadline {
    after: Duration,
    until: Instant,
    /// Begun when first polled: what is made outside of a runtime may still be polled inside of one.
    sleep: Option<Pin<Box<Sleep>>>,
    diagnosing: Option<BoxFuture<'static, Error>>,
    error: Option<Error>,
}

impl std::fmt::Debug for Deadline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Deadline").field(&self.after).finish()
    }
}

impl Deadline {
    pub(crate) fn new(after: Duration) -> Self {
        Self { after, until: from_now(after), sleep: None, diagnosing: None, error: None }
    }

    /// Whether time is up.
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// The time there was.
    pub(crate) fn after(&self) -> Duration {
        self.after
    }

    /// Ready when time is up and the cluster was asked why.
    pub(crate) fn poll<T, R>(&mut self, cx: &mut Context<'_>, harvest: &Harvest<T, R>) -> Poll<Error> {
        loop {
            if let Some(error) = &self.error {
                return Poll::Ready(error.clone());
            }
            if let Some(diagnosing) = &mut self.diagnosing {
                self.error = Some(ready!(diagnosing.as_mut().poll(cx)));
                continue;
            }
            let until = self.until;
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
            ready!(sleep.as_mut().poll(cx));
            let after = self.after;
            match harvest.first_open() {
                Some(key) => {
                    let shared = Arc::clone(&harvest.handle.shared);
                    self.diagnosing = Some(Box::pin(async move { shared.timed_out(&key, after).await }));
                }
                None => self.error = Some(Error::timeout("the stream of results", after)),
            }
        }
    }
}

/// Futures with tags, whose results are fetched as they come.
pub(crate) struct Harvest<T, R> {
    handle: Arc<Handle>,
    watch: Watch,
    slots: Vec<Option<Slot<T, R>>>,
    free: Vec<u32>,
    len: usize,
    /// Before this place there is none left to give up.
    given_up: usize,
    /// Finished, to be fetched.
    ripe: VecDeque<u32>,
    fetching: FuturesUnordered<BoxFuture<'static, Vec<(u32, Fetched)>>>,
    done: VecDeque<(u32, Result<R>)>,
}

/// One that is done, with its tag.
pub(crate) type Ripe<T, R> = (T, Future<R>, Result<R>);

struct Slot<T, R> {
    tag: T,
    future: Future<R>,
    attempts: u32,
}

impl<T, R> std::fmt::Debug for Harvest<T, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} results to come", self.len)
    }
}

impl<T, R> Unpin for Harvest<T, R> {}

impl<T, R> Harvest<T, R> {
    pub(crate) fn new(handle: Arc<Handle>) -> Self {
        Self {
            handle,
            watch: Watch::default(),
            slots: Vec::new(),
            free: Vec::new(),
            len: 0,
            given_up: 0,
            ripe: VecDeque::new(),
            fetching: FuturesUnordered::new(),
            done: VecDeque::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn extend(&mut self, futures: impl IntoIterator<Item = (T, Future<R>)>) {
        let mut added = Vec::new();
        self.given_up = 0;
        for (tag, future) in futures {
            let slot = Some(Slot { tag, future, attempts: 0 });
            let number = match self.free.pop() {
                Some(number) => {
                    if let Some(place) = self.slots.get_mut(number as usize) {
                        *place = slot;
                    }
                    number
                }
                None => {
                    // More futures than this do not fit into memory.
                    let Ok(number) = u32::try_from(self.slots.len()) else { break };
                    self.slots.push(slot);
                    number
                }
            };
            self.len += 1;
            added.push(number);
        }
        let slots = &self.slots;
        let keys = added.iter().filter_map(|number| {
            let slot = slots.get(*number as usize)?.as_ref()?;
            Some((*number, slot.future.key()))
        });
        self.watch.add(&self.handle.shared.session, keys);
    }

    fn slot(&self, number: u32) -> Option<&Slot<T, R>> {
        self.slots.get(number as usize)?.as_ref()
    }

    fn take(&mut self, number: u32) -> Option<(T, Future<R>)> {
        let slot = self.slots.get_mut(number as usize)?.take()?;
        self.free.push(number);
        self.len -= 1;
        Some((slot.tag, slot.future))
    }

    /// A key whose outcome is open, or else one whose result was not fetched yet.
    fn first_open(&self) -> Option<Key> {
        let keys = || self.slots.iter().flatten().map(|slot| slot.future.key());
        keys().find(|key| self.handle.shared.is_pending(key)).or_else(|| keys().next()).cloned()
    }

    /// One of those still to come, with this error of a wait for all of them.
    pub(crate) fn give_up(&mut self, error: &Error, after: Duration) -> Option<Ripe<T, R>> {
        let more = self.slots.iter().skip(self.given_up).position(Option::is_some)?;
        self.given_up += more;
        // Its place is not used again: what is still under way for this one must not be taken for another's result.
        let Slot { tag, future, .. } = self.slots.get_mut(self.given_up)?.take()?;
        self.len -= 1;
        let error = error.of_another(future.key(), after);
        Some((tag, future, Err(error)))
    }

    fn look(&mut self, number: u32) {
        let Some(slot) = self.slot(number) else { return };
        let shared = &self.handle.shared;
        let key = slot.future.key();
        let finished = shared.session.look(|session| match session.state(key) {
            Some(KeyState::Pending) => None,
            state => Some(matches!(state, Some(KeyState::Finished))),
        });
        match finished {
            None => self.watch.add(&shared.session, [(number, key)]),
            Some(true) => self.ripe.push_back(number),
            Some(false) => {
                let error = shared.outcome(key).err().unwrap_or_else(Error::closed);
                self.done.push_back((number, Err(error)));
            }
        }
    }

    /// Starts to fetch what is ripe.
    fn fetch(&mut self) {
        while !self.ripe.is_empty() && self.fetching.len() < FETCHES && self.done.len() < AHEAD {
            let mut batch = Vec::new();
            let mut bulky = 0;
            let session = &self.handle.shared.session;
            while let Some(number) = self.ripe.front().copied() {
                self.ripe.pop_front();
                let Some(slot) = self.slots.get(number as usize).and_then(Option::as_ref) else { continue };
                let key = slot.future.key().clone();
                bulky += usize::from(session.look(|session| session.placement(&key).bulky));
                batch.push((number, slot.attempts, key));
                if batch.len() >= BATCH || bulky >= BULKY_BATCH {
                    break;
                }
            }
            let shared = Arc::clone(&self.handle.shared);
            let span = gather_span(batch.iter().map(|(_, _, key)| key));
            let inside = span.clone();
            let fetching = async move {
                let mut tally = Tally::default();
                let attempts = batch.iter().map(|(_, attempts, _)| *attempts).max().unwrap_or(0);
                pause_before(attempts).await;
                let keys: Vec<Key> = batch.iter().map(|(_, _, key)| key.clone()).collect();
                let mut found = shared.fetch_round(&keys, &mut tally).await;
                tally.record(&inside);
                let fetched = batch
                    .into_iter()
                    .map(|(number, _, key)| (number, found.remove(&key).unwrap_or(Fetched::Gone)));
                fetched.collect()
            };
            self.fetching.push(Box::pin(fetching.instrument(span)));
        }
    }
}

impl<T, R: FromPython> Harvest<T, R> {
    /// The next one with its tag; `None` when there is none to come.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Ripe<T, R>>> {
        loop {
            while let Poll::Ready(changed) = self.watch.poll_changed(cx) {
                changed.into_iter().for_each(|number| self.look(number));
            }
            self.fetch();
            while let Some((number, result)) = self.done.pop_front() {
                if let Some((tag, future)) = self.take(number) {
                    return Poll::Ready(Some((tag, future, result)));
                }
            }
            if self.len == 0 {
                return Poll::Ready(None);
            }
            match Pin::new(&mut self.fetching).poll_next(cx) {
                Poll::Ready(Some(fetched)) => {
                    fetched.into_iter().for_each(|(number, found)| self.fetched(number, found))
                }
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn fetched(&mut self, number: u32, found: Fetched) {
        let Some(slot) = self.slots.get_mut(number as usize).and_then(Option::as_mut) else { return };
        let key = slot.future.key();
        let result = match found {
            Fetched::Got(result) => read(key, result),
            Fetched::Failed(error) => Err(error),
            Fetched::Gone if slot.attempts < ATTEMPTS => {
                // The scheduler was asked whether it is computed again.
                slot.attempts += 1;
                self.watch.add(&self.handle.shared.session, [(number, key)]);
                return;
            }
            Fetched::Gone => Err(Error::vanished(key, ATTEMPTS)),
        };
        self.done.push_back((number, result));
    }
}

impl Error {
    pub(crate) fn vanished(key: &Key, attempts: u32) -> Self {
        Self::about(
            ErrorKind::Lost,
            key,
            format!(
                "the result of {key} vanished {attempts} times before it could be fetched; do workers keep dying?"
            ),
        )
    }
}
