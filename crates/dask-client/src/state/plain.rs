//! Values on their way to and from the scheduler's shared state, and waits that happen there.

use std::future::Future as StdFuture;
use std::sync::Arc;
use std::time::Duration;

use dask_pickle::{Template, Value as Python};
use dask_wire::family::{Decoded, decode};
use dask_wire::{FromPython, Key, Payload, Request, Value};
use serde::Serialize;
use tokio::time::{Instant, timeout};
use tracing::Instrument;

use crate::client::Shared;
use crate::error::{Error, ErrorKind, Result};
use crate::waiting::diagnosis::Diagnosis;
use crate::waiting::limit::from_now;

/// What a value given to shared state is sent as.
pub(crate) enum Sent {
    /// The value is a future: only its key travels.
    Key(Key),
    /// Anything else.
    Data(Value<'static>),
}

impl Sent {
    pub(crate) fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        let template = Template::of(value).map_err(Error::encode)?;
        match template.as_reference() {
            Some(key) => Ok(Sent::Key(Key::from_reference(key))),
            None => data_of(&template).map(Sent::Data),
        }
    }

    /// The key of the future that it is, if it is one.
    pub(crate) fn key(&self) -> Option<&Key> {
        match self {
            Sent::Key(key) => Some(key),
            Sent::Data(_) => None,
        }
    }

    /// Completes a request that takes either, once the scheduler knows the future.
    pub(crate) async fn put_into(self, request: Request, shared: &Shared) -> Result<Request> {
        Ok(match self {
            Sent::Key(key) => {
                shared.until_known(std::slice::from_ref(&key)).await?;
                request.with("key", key.to_value())?
            }
            Sent::Data(data) => request.with("data", data)?,
        })
    }
}

/// Plain data as Python's client sends it (lists and tuples alike as arrays), everything else as a pickle, which the
/// scheduler keeps unread. An error if there is a future inside.
pub(crate) fn data<T: Serialize + ?Sized>(value: &T) -> Result<Value<'static>> {
    data_of(&Template::of(value).map_err(Error::encode)?)
}

fn data_of(template: &Template) -> Result<Value<'static>> {
    let pickle = template.to_pickle().map_err(Error::encode)?;
    let plain = dask_pickle::read(pickle.clone(), Vec::new(), &dask_pickle::Limits::default())
        .and_then(|tree| Python::from_view(tree.root()))
        .ok()
        .and_then(plain);
    Ok(plain.unwrap_or_else(|| Payload::pickle(pickle, []).into()))
}

/// A value that msgpack can express; `None` for every other.
fn plain(value: Python) -> Option<Value<'static>> {
    Some(match value {
        Python::None => Value::Nil,
        Python::Bool(value) => value.into(),
        Python::Int(value) => value.into(),
        Python::BigInt(value) => Value::UInt(u64::try_from(value).ok()?),
        Python::Float(value) => value.into(),
        Python::Str(text) => text.into(),
        Python::Bytes(bytes) => bytes.to_vec().into(),
        Python::List(items) | Python::Tuple(items) => {
            Value::Array(items.into_iter().map(plain).collect::<Option<_>>()?)
        }
        Python::Dict(pairs) => Value::Map(
            pairs
                .into_iter()
                .map(|(key, value)| Some((plain(key)?, plain(value)?)))
                .collect::<Option<_>>()?,
        ),
        _ => return None,
    })
}

/// Reads a received value, plain or serialized, as a Rust value.
pub(crate) fn typed<R: FromPython>(
    value: Value<'_>,
    limits: &dask_pickle::Limits,
    what: impl std::fmt::Display,
) -> Result<R> {
    let decoded = match value {
        Value::Payload(payload) => decode(&payload, limits),
        plain => Ok(Decoded::Msgpack(plain.into_owned())),
    };
    decoded.and_then(|decoded| R::from_python(Arc::new(decoded))).map_err(|error| Error::decode(what, error))
}

/// Runs work to its end even when the caller goes away meanwhile. What comes out is then dropped, so a value whose
/// drop undoes it (a lease, an item of a queue) is never lost.
pub(crate) async fn to_the_end<T: Send + 'static>(
    work: impl StdFuture<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    // The task fails only when its runtime is shut down under it.
    tokio::spawn(work.in_current_span()).await.unwrap_or_else(|_| Err(Error::closed()))
}

/// Gives up after a deadline, if there is one.
pub(crate) async fn no_longer_than<T>(
    deadline: Option<Duration>,
    what: impl std::fmt::Display,
    work: impl StdFuture<Output = Result<T>>,
) -> Result<T> {
    let Some(deadline) = deadline else { return work.await };
    match timeout(deadline, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::timeout(what, deadline)),
    }
}

/// How much longer than its own limit the scheduler may take to say that a wait was in vain.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

/// Waits for a request with a time limit that the scheduler keeps. Its clock decides, so that what it says to be in
/// vain has no effect; only one that is silent is given up, a little later.
pub(crate) async fn kept_by_scheduler<T>(
    limit: Option<Duration>,
    what: impl std::fmt::Display,
    work: impl StdFuture<Output = Result<T>>,
) -> Result<T> {
    let Some(limit) = limit else { return work.await };
    match timeout(limit.saturating_add(GRACE), work).await {
        Ok(Err(error)) if is_timeout(&error) => Err(Error::timeout(what, limit)),
        Ok(outcome) => outcome,
        Err(_) => Err(silent(what, limit)),
    }
}

/// Waits for what only the scheduler can give, for as long as it takes or up to a limit, in turns of at most the time that
/// a reply may take. `ask` asks for one turn; nothing or a timeout of the scheduler's means another. So a wait that nobody
/// waits for any more is over with its turn, and a silent scheduler is told of.
pub(crate) async fn in_turns<T, F: StdFuture<Output = Result<Option<T>>>>(
    shared: &Shared,
    within: Option<Duration>,
    what: impl std::fmt::Display,
    mut ask: impl FnMut(Duration) -> F,
) -> Result<T> {
    let until = within.map(from_now);
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let longest = shared.settings.rpc_timeout;
        let turn = left.unwrap_or(longest).min(longest);
        match timeout(turn.saturating_add(GRACE), ask(turn)).await {
            Ok(Ok(Some(given))) => return Ok(given),
            Ok(Err(error)) if !is_timeout(&error) => return Err(error),
            Ok(_) => match within {
                Some(within) if left.is_some_and(|left| left <= turn) => {
                    return Err(Error::timeout(what, within));
                }
                _ => shared.check_open()?,
            },
            Err(_) => return Err(silent(what, within.unwrap_or(turn))),
        }
    }
}

/// Not even that a wait was in vain is said.
fn silent(what: impl std::fmt::Display, after: Duration) -> Error {
    Error::because(&what.to_string(), after, Diagnosis::SchedulerSilent)
}

/// Whether the scheduler says that it waited in vain.
fn is_timeout(error: &Error) -> bool {
    error.kind() == ErrorKind::Rpc
        && error.python().is_some_and(|python| python.class.rsplit('.').next() == Some("TimeoutError"))
}

/// A limit as Dask takes it: seconds, or nil. Before Python 3.12 a scheduler given none at all does not even look.
pub(crate) fn seconds(limit: Option<Duration>) -> Value<'static> {
    limit.map(|limit| limit.max(Duration::from_millis(1)).as_secs_f64()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_data_is_plain_and_the_rest_is_pickled() {
        let value = data(&(1, "two", [3.5, 4.0], Option::<i64>::None, u64::MAX)).unwrap();
        let expected = Value::Array(vec![
            1.into(),
            "two".into(),
            Value::Array(vec![3.5.into(), 4.0.into()]),
            Value::Nil,
            Value::UInt(u64::MAX),
        ]);
        assert_eq!(value, expected);
        assert!(data(&dask_pickle::Set(vec![1, 2])).unwrap().as_payload().is_some());
        let round: Vec<i64> = typed(data(&[1, 2]).unwrap(), &dask_pickle::Limits::default(), "it").unwrap();
        assert_eq!(round, [1, 2]);
    }

    #[test]
    fn a_lone_future_is_a_key_and_one_inside_is_refused() {
        assert!(matches!(Sent::of(&dask_pickle::Ref("x")).unwrap(), Sent::Key(key) if key == Key::from("x")));
        assert_eq!(Sent::of(&[dask_pickle::Ref("x")]).err().map(|e| e.kind()), Some(ErrorKind::Encode));
    }
}
