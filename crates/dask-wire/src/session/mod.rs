//! What a registered client remembers, as a pure function from events to actions.
//!
//! A [`Session`] holds the state of every key that somebody in the program holds. Calls change it and queue messages;
//! messages from the scheduler change it and wake whoever waits. It does no I/O and reads no clock:
//!
//! ```text
//!   submit, hold, release, cancel, …  ──►  Session  ──►  take_outgoing()   ops for the scheduler
//!   receive(message), disconnected()  ──►           ──►  take_wakes()      who must look again
//!                                                   ──►  take_notices()    events, heartbeat interval, restarts
//! ```
//!
//! Promises, each tested: a future ends in exactly one way unless it is retried; a key is released exactly once, after
//! its last holder is gone; a disconnect answers everybody with the one cause; nothing of an older connection is
//! applied to a newer one.

mod again;
mod key_state;
mod placement;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

pub use key_state::{Failure, KeyState, LostReason};
pub use placement::Placement;

use crate::dialect::{Dialect, Feature, NotAvailable, Peer, SubmitError};
pub use crate::graph::Needs;
use crate::graph::Submission;
use crate::key::Key;
use crate::payload::Payload;
use crate::value::Value;
use again::Origins;

/// Something the program around a session wants to know, besides the state of its keys.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Notice {
    /// The scheduler wants heartbeats this many seconds apart.
    HeartbeatInterval(f64),
    /// A message on a topic this client subscribed to.
    Event {
        /// The topic.
        topic: String,
        /// When the scheduler logged it, in seconds since 1970.
        timestamp: f64,
        /// The message.
        message: Value<'static>,
    },
    /// The scheduler was restarted: every key is gone.
    Restarted,
    /// A warning that came with the registration, for example of version differences.
    Warning(String),
    /// The scheduler closes the stream.
    Closing,
}

/// What is to be done after a call to [`Session::cancel`].
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub enum CancelVia {
    /// The op is among the outgoing ones.
    Stream,
    /// Nothing: the scheduler is gone.
    Nothing,
    /// This release cancels by RPC: send this request.
    Rpc(Value<'static>),
}

/// Whether a client that lost its scheduler submits its work again to the next one. What has failed stays failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnReconnect {
    /// Every future ends with the cause of the disconnect.
    #[default]
    Fail,
    /// Graphs of futures still held, and of what those take, are kept in memory and submitted again: what was finished is
    /// computed once more, since its result went with the scheduler. What takes scattered data is lost.
    Resubmit,
}

/// The state of one client on one scheduler. `W` is whatever the runtime needs to wake a waiter.
#[derive(Debug)]
pub struct Session<W> {
    client: Arc<str>,
    dialect: Dialect,
    policy: OnReconnect,
    connected: bool,
    closed: bool,
    keys: HashMap<Key, Entry<W>>,
    outgoing: Vec<Value<'static>>,
    /// About how many bytes `outgoing` takes.
    unsent: usize,
    releases: HashSet<Key>,
    desires: Vec<Key>,
    wakes: Vec<W>,
    notices: Vec<Notice>,
    pending: usize,
    types: placement::Types,
    /// Empty unless [`OnReconnect::Resubmit`].
    origins: Origins,
}

/// What an op that waits to be sent takes at least, in bytes.
const OP: usize = 256;
/// What a key in such an op takes.
const KEY: usize = 64;

#[derive(Debug)]
struct Entry<W> {
    state: KeyState,
    holders: usize,
    waiters: Vec<W>,
    /// The graph that computes it; only under [`OnReconnect::Resubmit`].
    origin: Option<u64>,
    placement: Placement,
    /// Its result was there and is gone; whether it comes again is open.
    lost: bool,
    /// Sent from here, so that no worker can compute it again.
    sent: bool,
    /// It was cancelled before, and word of that may still be on its way.
    revived: bool,
    /// Kept while the outcome is open, to be able to say why it is.
    needs: Option<Needs>,
}

impl<W> Session<W> {
    /// A session that has just registered as `client` with a scheduler of this dialect.
    pub fn new(client: impl Into<Arc<str>>, dialect: Dialect, policy: OnReconnect) -> Self {
        Self {
            client: client.into(),
            dialect,
            policy,
            connected: true,
            closed: false,
            keys: HashMap::new(),
            outgoing: Vec::new(),
            unsent: 0,
            releases: HashSet::new(),
            desires: Vec::new(),
            wakes: Vec::new(),
            notices: Vec::new(),
            pending: 0,
            types: placement::Types::default(),
            origins: Origins::default(),
        }
    }

    /// The name this client registered under.
    pub fn client(&self) -> &Arc<str> {
        &self.client
    }

    /// Another name for the next attempt to register. One that was used cannot be used again: the scheduler may still
    /// have to notice that the attempt was given up, and then removes the client of that name.
    pub fn rename(&mut self, client: impl Into<Arc<str>>) {
        self.client = client.into();
    }

    /// Whether there is a scheduler to send to.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// The scheduler's dialect.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Keys held whose outcome is still open.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// The keys held whose outcome is still open, in no order.
    pub fn pending_keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(|(_, entry)| entry.state.is_pending()).map(|(key, _)| key)
    }

    /// Keys held.
    pub fn held(&self) -> usize {
        self.keys.len()
    }

    /// About how many bytes of ops wait to be sent; releases, which are bounded by what was held, do not count.
    pub fn unsent(&self) -> usize {
        self.unsent
    }

    /// Whether anything waits to be sent.
    pub fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty() || !self.desires.is_empty() || !self.releases.is_empty()
    }

    /// Whether what waits to be sent can wait a little: releases, which are better sent together.
    pub fn may_wait(&self) -> bool {
        self.outgoing.is_empty() && self.desires.is_empty()
    }

    /// The state of a key; `None` when nobody holds it.
    pub fn state(&self, key: &Key) -> Option<&KeyState> {
        self.keys.get(key).map(|entry| &entry.state)
    }

    /// Whether somebody holds this key.
    pub fn holds(&self, key: &Key) -> bool {
        self.keys.contains_key(key)
    }

    /// Registers a waiter to be given back by [`Session::take_wakes`] when the key's state next changes.
    pub fn wait(&mut self, key: &Key, waiter: W) {
        if let Some(entry) = self.keys.get_mut(key) {
            entry.waiters.push(waiter);
        }
    }

    /// As [`Session::wait`], but only for a key whose outcome is open; says whether it is. Waiters that are no longer
    /// `alive` are forgotten as new ones come, so that waits which gave up leave nothing behind.
    pub fn wait_while_pending(
        &mut self,
        key: &Key,
        alive: impl Fn(&W) -> bool,
        waiter: impl FnOnce() -> W,
    ) -> bool {
        match self.keys.get_mut(key) {
            Some(entry) if entry.state.is_pending() => {
                if entry.waiters.len() >= 4 && entry.waiters.len().is_power_of_two() {
                    entry.waiters.retain(alive);
                }
                entry.waiters.push(waiter());
                true
            }
            _ => false,
        }
    }

    /// What is known of where a key's result lies and of how large it may be.
    pub fn placement(&self, key: &Key) -> Placement {
        self.keys.get(key).map(|entry| entry.placement.clone()).unwrap_or_default()
    }

    /// What the tasks that were submitted together with this key ask of workers; `None` once its outcome is known, or if
    /// any worker would do.
    pub fn needs(&self, key: &Key) -> Option<Needs> {
        self.keys.get(key).and_then(|entry| entry.needs.clone())
    }

    /// Queues a graph. Each wanted key gets one holder more.
    ///
    /// # Errors
    /// This release cannot express the graph; nothing is queued.
    pub fn submit(&mut self, submission: Arc<Submission>) -> Result<(), SubmitError> {
        let message = self.dialect.submit(&submission)?;
        self.submit_encoded(message, submission);
        Ok(())
    }

    /// As [`Session::submit`], with the message that this session's dialect made of the submission: lets a program
    /// do the work of encoding before it takes a lock around the session.
    pub fn submit_encoded(&mut self, message: Value<'static>, submission: Arc<Submission>) {
        self.push(message, submission.size());
        let origin = (self.policy == OnReconnect::Resubmit).then(|| {
            let needs = self.needs_of(&submission);
            self.origins.keep(Arc::clone(&submission), needs)
        });
        let needs = submission.needs();
        for key in &submission.wanted {
            let entry = self.entry(key);
            entry.holders += 1;
            if needs.is_some() && !matches!(entry.state, KeyState::Finished | KeyState::Erred(_)) {
                entry.needs.clone_from(&needs);
            }
            // A new task under the key of one that was cancelled or lost.
            let ended = matches!(entry.state, KeyState::Cancelled { .. } | KeyState::Lost(_));
            if ended {
                entry.revived = matches!(entry.state, KeyState::Cancelled { .. });
                entry.state = KeyState::Pending;
                self.pending += 1;
            }
            if let Some(origin) = origin {
                self.set_origin(key, origin, ended);
            }
        }
        if let Some(origin) = origin {
            self.origins.sweep(origin);
        }
    }

    /// The kept graphs whose results a submission takes.
    fn needs_of(&self, submission: &Submission) -> Vec<u64> {
        let here: HashSet<&Key> = submission.tasks.iter().map(|task| &task.key).collect();
        let mut needs = BTreeSet::new();
        for key in submission.tasks.iter().flat_map(crate::graph::Task::dependencies) {
            if !here.contains(&key) {
                needs.extend(self.keys.get(&key).and_then(|entry| entry.origin));
            }
        }
        needs.into_iter().collect()
    }

    fn set_origin(&mut self, key: &Key, origin: u64, replace: bool) {
        let Some(entry) = self.keys.get_mut(key) else { return };
        if entry.origin.is_some() && !replace {
            return;
        }
        let before = entry.origin.replace(origin);
        self.origins.hold(origin);
        if let Some(before) = before {
            self.origins.let_go(before);
        }
    }

    /// Queues an op. What is meant for a scheduler that is gone must not reach the next one.
    fn push(&mut self, op: Value<'static>, size: usize) {
        if self.connected {
            self.unsent = self.unsent.saturating_add(size.saturating_add(OP));
            self.outgoing.push(op);
        }
    }

    /// One holder more for a key that others may have made: the scheduler is asked to keep it for this client. If it was
    /// cancelled or lost for this client, its outcome is open again, and the scheduler is asked for it.
    pub fn desire(&mut self, key: &Key) {
        let known = self.keys.contains_key(key);
        let connected = self.connected;
        let entry = self.entry(key);
        entry.holders += 1;
        let ended =
            known && connected && matches!(entry.state, KeyState::Cancelled { .. } | KeyState::Lost(_));
        if ended {
            entry.revived = matches!(entry.state, KeyState::Cancelled { .. });
            entry.state = KeyState::Pending;
            entry.placement = Placement::default();
            self.pending += 1;
        }
        if connected && (!known || ended) {
            self.desires.push(key.clone());
        }
        if ended {
            self.report(key);
        }
    }

    /// Wants keys that nobody may want by now, so that they can be cancelled; nobody here holds them.
    ///
    /// # Errors
    /// The release has no such op.
    pub fn want_in_passing(&mut self, keys: &[Key]) -> Result<(), NotAvailable> {
        let request = self.dialect.request(Peer::Stream, "client-desires-keys")?;
        let request = request
            .with("keys", keys.iter().collect::<Value<'_>>())?
            .with("client", self.client.to_string())?;
        self.push(request.into_stream()?, keys.len().saturating_mul(KEY));
        Ok(())
    }

    /// The scheduler does not know a key that is held here, and will not tell.
    pub fn unknown(&mut self, key: &Key) {
        self.change(key, KeyState::Lost(LostReason::Data));
    }

    /// One holder more for a key whose data this client is sending: the scheduler learns of the wish together with the
    /// data. `false` if its result is there already and need not be sent again.
    pub fn expect(&mut self, key: &Key) -> bool {
        let connected = self.connected;
        let entry = self.entry(key);
        entry.holders += 1;
        match entry.state {
            KeyState::Finished => false,
            KeyState::Pending => true,
            _ if !connected => true,
            _ => {
                entry.state = KeyState::Pending;
                self.pending += 1;
                true
            }
        }
    }

    /// Data that this client sent has arrived at these workers.
    pub fn arrived(&mut self, key: &Key, worker: Option<Arc<str>>) {
        self.change(key, KeyState::Finished);
        if let Some(entry) = self.keys.get_mut(key) {
            entry.placement = Placement { worker, bulky: true };
            entry.sent = true;
        }
    }

    /// A failed task is about to be run again: its outcome is open from now on. `false` if it has not failed.
    pub fn reopen(&mut self, key: &Key) -> bool {
        let erred = matches!(self.state(key), Some(KeyState::Erred(_)));
        if erred {
            self.change(key, KeyState::Pending);
        }
        erred
    }

    /// Has the scheduler tell a key's state again.
    pub fn report(&mut self, key: &Key) {
        let request = self.dialect.request(Peer::Stream, "report-key").and_then(|r| r.with("key", key));
        if let Ok(op) = request.and_then(crate::dialect::Request::into_stream) {
            self.push(op, KEY);
        }
    }

    /// Has the scheduler finish tasks even if nobody wants them any more, as for a client of the name that it reserves
    /// for that.
    ///
    /// # Errors
    /// The release has no such op.
    pub fn fire_and_forget(&mut self, keys: &[Key]) -> Result<(), NotAvailable> {
        let request = self.dialect.request(Peer::Stream, "client-desires-keys")?;
        let request =
            request.with("keys", keys.iter().collect::<Value<'_>>())?.with("client", "fire-and-forget")?;
        self.push(request.into_stream()?, keys.len().saturating_mul(KEY));
        Ok(())
    }

    /// Takes back what [`Session::fire_and_forget`] said. The scheduler does so itself when a task ends, but not for one
    /// that had ended before it was told.
    pub fn take_back(&mut self, keys: &[Key]) {
        let request = self.dialect.request(Peer::Stream, "client-releases-keys").and_then(|request| {
            request.with("keys", keys.iter().collect::<Value<'_>>())?.with("client", "fire-and-forget")
        });
        if let Ok(op) = request.and_then(crate::dialect::Request::into_stream) {
            self.push(op, keys.len().saturating_mul(KEY));
        }
    }

    /// One holder more for a key that is held already. Nothing is sent.
    pub fn hold(&mut self, key: &Key) {
        if let Some(entry) = self.keys.get_mut(key) {
            entry.holders += 1;
        }
    }

    /// One holder less; after the last one the scheduler is told to forget the key.
    pub fn release(&mut self, key: &Key) {
        let Some(entry) = self.keys.get_mut(key) else { return };
        entry.holders = entry.holders.saturating_sub(1);
        if entry.holders > 0 {
            return;
        }
        if let Some(entry) = self.keys.remove(key) {
            if entry.state.is_pending() {
                self.pending -= 1;
            }
            self.wakes.extend(entry.waiters);
            if let Some(origin) = entry.origin {
                self.origins.let_go(origin);
            }
            // Sent even for a cancelled key: the scheduler may have met a newer submission of it since.
            if self.connected {
                self.releases.insert(key.clone());
            }
        }
    }

    fn entry(&mut self, key: &Key) -> &mut Entry<W> {
        // Wanted again before the release was sent: then it must not be sent.
        self.releases.remove(key);
        let connected = self.connected;
        let pending = &mut self.pending;
        self.keys.entry(key.clone()).or_insert_with(|| {
            // The scheduler that knew of it is gone, so nothing will ever be heard of it.
            let state = match connected {
                true => KeyState::Pending,
                false => KeyState::Lost(LostReason::Disconnected("it had just ended".into())),
            };
            *pending += usize::from(connected);
            Entry {
                state,
                holders: 0,
                waiters: Vec::new(),
                origin: None,
                placement: Placement::default(),
                lost: false,
                sent: false,
                revived: false,
                needs: None,
            }
        })
    }

    /// A finished key's result could not be fetched: its outcome is open again, and the scheduler is asked for it.
    pub fn ask_again(&mut self, key: &Key) {
        if matches!(self.state(key), Some(KeyState::Finished)) {
            self.change(key, KeyState::Pending);
            if let Some(entry) = self.keys.get_mut(key) {
                entry.placement.worker = None;
                entry.lost = true;
            }
            self.report(key);
        }
    }

    /// Queues an op that needs no bookkeeping (subscriptions, confirmations). Without a scheduler it is dropped.
    pub fn send(&mut self, op: Value<'static>) {
        self.push(op, KEY);
    }

    /// Cancels keys: their futures end as cancelled now, and the scheduler is told.
    ///
    /// With `force` they are cancelled even if other clients want them. `reason` and `message` reach those clients on
    /// releases that carry them.
    ///
    /// Without, this client just wants them no longer where [`Feature::CancelStumbles`]. With it, nothing may depend on
    /// them there that nobody wants, or the stream ends.
    ///
    /// # Errors
    /// The release has no way to cancel.
    pub fn cancel(
        &mut self,
        keys: &[Key],
        force: bool,
        reason: &str,
        message: &str,
    ) -> Result<CancelVia, NotAvailable> {
        let list = keys.iter().collect::<Value<'_>>();
        let via = if !self.connected {
            // It forgets what this client wanted anyway.
            CancelVia::Nothing
        } else if !force && self.dialect.has(Feature::CancelStumbles) {
            // Not with the other releases, which come last: the same key may be submitted anew right behind it.
            let request = self.dialect.request(Peer::Stream, "client-releases-keys")?;
            let request = request.with("keys", list)?.with("client", self.client.to_string())?;
            self.push(request.into_stream()?, keys.len().saturating_mul(KEY));
            CancelVia::Stream
        } else if self.dialect.has(Feature::CancelOnStream) {
            let request = self
                .dialect
                .request(Peer::Stream, "cancel-keys")?
                .with("keys", list)?
                .with("force", force)?;
            let request = request
                .with_if_taken("reason", Value::from(reason.to_owned()))
                .with_if_taken("msg", Value::from(message.to_owned()));
            self.push(request.into_stream()?, keys.len().saturating_mul(KEY));
            CancelVia::Stream
        } else {
            let request = self.dialect.request(Peer::Scheduler, "cancel")?;
            let request =
                request.with("keys", list)?.with("client", self.client.to_string())?.with("force", force)?;
            CancelVia::Rpc(request.into_rpc()?)
        };
        for key in keys {
            self.change(key, KeyState::Cancelled { reason: reason.into(), message: message.into() });
        }
        Ok(via)
    }

    /// Queues the goodbye. What is still waited for ends as closed.
    pub fn close(&mut self) {
        if self.connected && !self.closed {
            for op in ["close-client", "close-stream"] {
                self.push(Value::Map(vec![(Value::from("op"), Value::from(op))]), 0);
            }
            self.releases.clear();
            self.desires.clear();
        }
        self.closed = true;
        self.end_all(|| LostReason::Closed);
    }

    /// The connection is gone: without [`OnReconnect::Resubmit`] every open or finished future ends with this cause, since
    /// the scheduler released the keys. What failed stays as it is.
    pub fn disconnected(&mut self, cause: Arc<str>) {
        self.connected = false;
        self.forget_unsent();
        if self.policy == OnReconnect::Fail || self.closed {
            self.end_all(|| LostReason::Disconnected(Arc::clone(&cause)));
            return;
        }
        // What cannot be submitted again is lost; the rest waits for the next scheduler.
        let held: Vec<(Key, bool)> = (self.keys.iter())
            .filter(|(_, entry)| matches!(entry.state, KeyState::Pending | KeyState::Finished))
            .map(|(key, entry)| (key.clone(), entry.origin.is_some()))
            .collect();
        for (key, again) in held {
            if again {
                self.change(&key, KeyState::Pending);
                if let Some(entry) = self.keys.get_mut(&key) {
                    entry.placement = Placement::default();
                    (entry.lost, entry.sent) = (false, false);
                }
            } else {
                self.change(&key, KeyState::Lost(LostReason::Disconnected(Arc::clone(&cause))));
            }
        }
    }

    fn forget_unsent(&mut self) {
        self.outgoing.clear();
        self.unsent = 0;
        self.releases.clear();
        self.desires.clear();
    }

    /// There will be no other connection: what still waits for one ends with this cause.
    pub fn give_up(&mut self, cause: Arc<str>) {
        self.end_all(|| LostReason::Disconnected(Arc::clone(&cause)));
    }

    /// Registered again as `client`, perhaps with another scheduler of another release. Kept graphs are submitted again,
    /// in the order in which they came and as far as somebody still holds what they give; nothing else that was said to
    /// an earlier scheduler is said to this one.
    ///
    /// What takes something that cannot be computed again ends as [`LostReason::NotAgain`].
    ///
    /// # Errors
    /// A kept graph cannot be expressed in the new scheduler's release; its futures have ended as lost.
    pub fn reconnected(&mut self, client: impl Into<Arc<str>>, dialect: Dialect) -> Result<(), SubmitError> {
        self.client = client.into();
        self.dialect = dialect;
        self.connected = true;
        self.forget_unsent();
        let open = (self.keys.iter())
            .filter(|(_, entry)| entry.state.is_pending())
            .filter_map(|(key, entry)| Some((key, entry.origin?)));
        let again = self.origins.again(open, dialect);
        for (message, size) in again.messages {
            self.push(message, size);
        }
        for (key, needs) in again.needs {
            if let Some(entry) = self.keys.get_mut(&key) {
                entry.needs = Some(needs);
            }
        }
        for (key, why) in again.lost {
            self.change(&key, KeyState::Lost(LostReason::NotAgain(why)));
        }
        again.error.map_or(Ok(()), Err)
    }

    /// Before the client is registered: the scheduler is of another release than was thought.
    pub fn set_dialect(&mut self, dialect: Dialect) {
        self.dialect = dialect;
    }

    /// Applies a message from the scheduler: an array of ops, or a single one. Ops that are not known are passed over,
    /// as Dask's own client does.
    pub fn receive(&mut self, message: Value<'_>) {
        if !self.connected {
            return;
        }
        match message {
            Value::Array(ops) => ops.into_iter().for_each(|op| self.apply(op)),
            op => self.apply(op),
        }
    }

    fn apply(&mut self, mut message: Value<'_>) {
        let op = message.get("op").and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = message.get("key").and_then(Key::from_value);
        match (op.as_str(), key) {
            ("key-in-memory", Some(key)) => {
                self.change(&key, KeyState::Finished);
                if let Some(entry) = self.keys.get_mut(&key) {
                    entry.lost = false;
                    self.types.note(&mut entry.placement, &message);
                }
            }
            ("task-erred", Some(key)) => {
                let mut payload = |name| match message.take(name) {
                    Some(Value::Payload(payload)) => Some(*payload),
                    // Exceptions of the scheduler's own: the bare pickle.
                    Some(Value::Bin(pickle)) => Some(Payload::pickle(pickle.into_owned(), [])),
                    _ => None,
                };
                let failure = Failure { exception: payload("exception"), traceback: payload("traceback") };
                self.change(&key, KeyState::Erred(Arc::new(failure)));
            }
            ("task-retried", Some(key)) => self.change(&key, KeyState::Pending),
            // Computed again or forgotten: the scheduler says this before it knows which.
            ("lost-data", Some(key)) => self.ask_again(&key),
            ("cancelled-key", Some(key)) => self.cancelled(&key, &message),
            ("cancelled-keys", _) => {
                let keys = message.get("keys").and_then(Value::as_array).unwrap_or_default();
                let keys: Vec<Key> = keys.iter().filter_map(Key::from_value).collect();
                keys.iter().for_each(|key| self.cancelled(key, &message));
            }
            ("restart", _) => {
                self.end_all(|| LostReason::Restart);
                self.notices.push(Notice::Restarted);
            }
            ("adjust-heartbeat-interval", _) => {
                if let Some(interval) = message.get("interval").and_then(Value::as_f64) {
                    self.notices.push(Notice::HeartbeatInterval(interval));
                }
            }
            ("event", _) => self.event(message),
            ("stream-start", _) => {
                if let Some(text) =
                    message.get("warning").and_then(Value::as_str).filter(|text| !text.is_empty())
                {
                    self.notices.push(Notice::Warning(text.to_owned()));
                }
            }
            ("close" | "stream-closed", _) => self.notices.push(Notice::Closing),
            _ => (),
        }
    }

    fn event(&mut self, mut message: Value<'_>) {
        let topic = message.get("topic").and_then(Value::as_str).map(str::to_owned);
        if let (Some(topic), Some(Value::Array(event))) = (topic, message.take("event")) {
            let mut parts = event.into_iter();
            let timestamp = parts.next().and_then(|time| time.as_f64()).unwrap_or_default();
            let message = parts.next().unwrap_or(Value::Nil).into_owned();
            self.notices.push(Notice::Event { topic, timestamp, message });
        }
    }

    fn cancelled(&mut self, key: &Key, message: &Value<'_>) {
        if self.keys.get_mut(key).is_some_and(|entry| std::mem::take(&mut entry.revived)) {
            // Most likely of the cancelling before it: the scheduler is asked, and says so again if it is not.
            self.report(key);
            return;
        }
        // A reason given by ourselves is the better one, and a result that is already here is not taken away.
        if self.state(key).is_some_and(KeyState::is_pending)
            || matches!(self.state(key), Some(KeyState::Finished))
        {
            let text = |name| message.get(name).and_then(Value::as_str).unwrap_or_default().into();
            // What the scheduler forgets because it cannot be computed again it calls cancelled, too.
            let forgotten =
                matches!(message.get("reason").and_then(Value::as_str), None | Some("already forgotten"));
            let lost = |entry: &Entry<W>| entry.sent || (entry.lost && entry.state.is_pending());
            let lost = forgotten && self.keys.get(key).is_some_and(lost);
            let cancelled = KeyState::Cancelled { reason: text("reason"), message: text("msg") };
            self.change(key, if lost { KeyState::Lost(LostReason::Data) } else { cancelled });
        }
    }

    fn change(&mut self, key: &Key, state: KeyState) {
        let Some(entry) = self.keys.get_mut(key) else { return };
        if !entry.state.may_become(&state) {
            return;
        }
        match (entry.state.is_pending(), state.is_pending()) {
            (true, false) => {
                self.pending -= 1;
                entry.needs = None;
            }
            (false, true) => self.pending += 1,
            _ => (),
        }
        entry.state = state;
        self.wakes.append(&mut entry.waiters);
    }

    fn end_all(&mut self, reason: impl Fn() -> LostReason) {
        for entry in self.keys.values_mut() {
            let state = KeyState::Lost(reason());
            if entry.state.may_become(&state) {
                entry.state = state;
                self.wakes.append(&mut entry.waiters);
            }
        }
        self.pending = 0;
    }

    /// Everything to be sent now, as one batch; `None` if there is nothing. Releases come last: one that came before new
    /// work would make that work wait for the scheduler's next batch to the same worker.
    pub fn take_outgoing(&mut self) -> Option<Value<'static>> {
        if !self.connected || !self.has_outgoing() {
            return None;
        }
        let client = || Value::from(self.client.to_string());
        let about = |op: &'static str, keys: Value<'static>| {
            Value::Map(vec![("op".into(), op.into()), ("keys".into(), keys), ("client".into(), client())])
        };
        let mut batch = Vec::new();
        if !self.desires.is_empty() {
            batch.push(about("client-desires-keys", self.desires.iter().collect()));
        }
        batch.append(&mut self.outgoing);
        self.unsent = 0;
        if !self.releases.is_empty() {
            batch.push(about("client-releases-keys", self.releases.iter().collect()));
        }
        self.desires.clear();
        self.releases.clear();
        Some(Value::Array(batch))
    }

    /// Whoever must look at a key's state again. Wake them after letting go of any lock around the session.
    pub fn take_wakes(&mut self) -> Vec<W> {
        std::mem::take(&mut self.wakes)
    }

    /// What else happened since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }
}

#[cfg(test)]
mod again_tests;
#[cfg(test)]
mod tests;
