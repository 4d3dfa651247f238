//! Messages by topic: logged on the scheduler, and pushed to whoever subscribed.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use dask_wire::{Feature, FromPython, Peer, Value};
use futures::Stream;
use serde::Serialize;

use crate::client::{Client, Handle, Shared};
use crate::error::Result;
use crate::state::plain::{data, typed};

/// Messages that a subscription keeps for a slow reader, unless told otherwise.
const CAPACITY: usize = 1024;

/// A message that was logged on a topic.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TopicEvent {
    /// When the scheduler logged it, in seconds since 1970.
    pub timestamp: f64,
    /// The message.
    pub message: Value<'static>,
    /// How many messages directly before this one were dropped because the subscription's buffer was full.
    pub lagged: u64,
}

impl TopicEvent {
    /// The message as a Rust value.
    ///
    /// # Errors
    /// It is not of type `R`.
    pub fn to<R: FromPython>(&self) -> Result<R> {
        typed(self.message.clone(), &dask_pickle::Limits::default(), "the message of a topic")
    }
}

impl Client {
    /// Logs a message on a topic: Python's `Client.log_event`.
    ///
    /// Op `log_event`, from 2020.12.0 on.
    ///
    /// # Errors
    /// The release has no topics, the message cannot be sent, or the scheduler does not answer.
    pub async fn log_event<T: Serialize + ?Sized>(&self, topic: &str, message: &T) -> Result<()> {
        let shared = self.shared();
        let request = shared.request("log_event")?;
        let request = request.with("topic", topic.to_owned())?.with("msg", data(message)?)?;
        shared.rpc(request).await.map(drop)
    }

    /// The latest messages of a topic, oldest first; how many are kept is configured on the scheduler. Python's
    /// `Client.get_events`.
    ///
    /// Op `events`, from 2020.12.0 on.
    ///
    /// # Errors
    /// The release has no topics, or the scheduler does not answer.
    pub async fn topic_events(&self, topic: &str) -> Result<Vec<TopicEvent>> {
        let shared = self.shared();
        let reply = shared.rpc(shared.request("events")?.with("topic", topic.to_owned())?).await?;
        let value = reply.value()?;
        let event = |event: &Value<'_>| match event.as_array() {
            Some([timestamp, message]) => Ok(TopicEvent {
                timestamp: timestamp.as_f64().unwrap_or_default(),
                message: message.clone().into_owned(),
                lagged: 0,
            }),
            _ => Err(reply.unexpected(format_args!("{} for an event", event.kind()))),
        };
        value.as_array().unwrap_or_default().iter().map(event).collect()
    }

    /// Everything that is logged on a topic from now on, as a stream: Python's `Client.subscribe_topic`.
    ///
    /// The latest 1024 messages are kept for a reader that is slow; see [`Client::subscribe_with`]. A client that
    /// reconnects subscribes again and misses what was logged meanwhile; otherwise the stream ends with the connection.
    /// Dropping it unsubscribes.
    ///
    /// Stream op `subscribe-topic`, from 2021.9.1 on.
    ///
    /// # Errors
    /// The release has no subscriptions, or the client is closed.
    pub async fn subscribe(&self, topic: impl Into<String>) -> Result<Subscription> {
        self.subscribe_with(topic, CAPACITY).await
    }

    /// As [`Client::subscribe`], keeping at most `capacity` messages (one at least). When more come in unread, the
    /// oldest are dropped, and [`TopicEvent::lagged`] of the next one counts them.
    ///
    /// # Errors
    /// As [`Client::subscribe`].
    pub async fn subscribe_with(&self, topic: impl Into<String>, capacity: usize) -> Result<Subscription> {
        let shared = self.shared();
        shared.dialect().need(Feature::Topics)?;
        shared.stream().await?;
        let topic = topic.into();
        let inbox = Arc::new(Inbox::new(capacity));
        shared.topics.add(shared, &topic, &inbox)?;
        Ok(Subscription { inbox, topic, handle: Arc::clone(self.handle()) })
    }
}

/// The messages of one topic, from [`Client::subscribe`].
#[must_use = "dropping a subscription unsubscribes"]
pub struct Subscription {
    inbox: Arc<Inbox>,
    topic: String,
    handle: Arc<Handle>,
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Subscription({:?})", self.topic)
    }
}

impl Subscription {
    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }
}

impl Stream for Subscription {
    type Item = TopicEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<TopicEvent>> {
        self.inbox.poll(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let shared = &self.handle.shared;
        shared.topics.remove(shared, &self.topic, &self.inbox);
    }
}

/// Who listens to which topic.
#[derive(Default)]
pub(crate) struct Topics {
    by_name: Mutex<HashMap<String, Vec<Arc<Inbox>>>>,
}

impl Topics {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Arc<Inbox>>>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first listener subscribes at the scheduler. Under the lock, so that the ops keep the order of the calls.
    fn add(&self, shared: &Shared, topic: &str, inbox: &Arc<Inbox>) -> Result<()> {
        let mut by_name = self.lock();
        shared.check_open()?;
        let listeners = by_name.entry(topic.to_owned()).or_default();
        if listeners.is_empty() {
            shared.send_topic_op("subscribe-topic", topic)?;
        }
        listeners.push(Arc::clone(inbox));
        Ok(())
    }

    /// The last listener unsubscribes.
    fn remove(&self, shared: &Shared, topic: &str, inbox: &Arc<Inbox>) {
        let mut by_name = self.lock();
        let Some(listeners) = by_name.get_mut(topic) else { return };
        listeners.retain(|other| !Arc::ptr_eq(other, inbox));
        if listeners.is_empty() {
            by_name.remove(topic);
            if shared.check_open().is_ok() {
                // The release has the op, or nobody had subscribed.
                drop(shared.send_topic_op("unsubscribe-topic", topic));
            }
        }
    }

    pub(crate) fn deliver(&self, topic: &str, timestamp: f64, message: Value<'static>) {
        let listeners = self.lock().get(topic).cloned().unwrap_or_default();
        let Some((last, others)) = listeners.split_last() else { return };
        for inbox in others {
            inbox.push(timestamp, message.clone());
        }
        last.push(timestamp, message);
    }

    /// The client registered anew: subscribes again to everything that somebody listens to.
    pub(crate) fn renew(&self, shared: &Shared) {
        for topic in self.lock().keys() {
            if let Err(error) = shared.send_topic_op("subscribe-topic", topic) {
                tracing::warn!(topic, %error, "not subscribed again");
            }
        }
    }

    /// Nothing more will come.
    pub(crate) fn end(&self) {
        let all = std::mem::take(&mut *self.lock());
        all.values().flatten().for_each(|inbox| inbox.end());
    }
}

impl Shared {
    fn send_topic_op(&self, op: &str, topic: &str) -> Result<()> {
        let name = self.session.look(|session| session.client().to_string());
        let request = self.dialect().request(Peer::Stream, op)?;
        let message = request.with("topic", topic.to_owned())?.with("client", name)?.into_stream()?;
        self.session.change(|session| session.send(message));
        Ok(())
    }
}

/// Messages that wait for one reader.
struct Inbox {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<TopicEvent>,
    reader: Option<Waker>,
    ended: bool,
}

impl Inbox {
    fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, timestamp: f64, message: Value<'static>) {
        let mut state = self.lock();
        state.waiting.push_back(TopicEvent { timestamp, message, lagged: 0 });
        if state.waiting.len() > self.capacity {
            let dropped = state.waiting.pop_front().map_or(0, |event| event.lagged.saturating_add(1));
            if let Some(next) = state.waiting.front_mut() {
                next.lagged = next.lagged.saturating_add(dropped);
            }
        }
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }

    fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<TopicEvent>> {
        let mut state = self.lock();
        match state.waiting.pop_front() {
            Some(event) => Poll::Ready(Some(event)),
            None if state.ended => Poll::Ready(None),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(inbox: &Inbox) -> Poll<Option<(i64, u64)>> {
        let event = inbox.poll(&mut Context::from_waker(Waker::noop()));
        event.map(|event| event.map(|event| (event.message.as_i64().unwrap(), event.lagged)))
    }

    #[test]
    fn a_full_inbox_drops_the_oldest_and_counts_them() {
        let inbox = Inbox::new(2);
        (1..=5).for_each(|n| inbox.push(0.0, n.into()));
        assert_eq!(poll(&inbox), Poll::Ready(Some((4, 3))));
        inbox.push(0.0, 6.into());
        assert_eq!(poll(&inbox), Poll::Ready(Some((5, 0))));
        assert_eq!(poll(&inbox), Poll::Ready(Some((6, 0))));
        assert_eq!(poll(&inbox), Poll::Pending);
        inbox.push(0.0, 7.into());
        inbox.end();
        assert_eq!(poll(&inbox), Poll::Ready(Some((7, 0))));
        assert_eq!(poll(&inbox), Poll::Ready(None));
    }
}
