//! The spans that a `tracing` subscriber sees, at level DEBUG: `dask.submit`, `dask.gather` and the like for calls that are
//! about tasks, with their keys; `dask.rpc` for each request, with its op and peer; `dask.stream` for each message on the
//! stream, with its op and keys.

use dask_wire::{Key, Value};

use crate::net::address::Address;

/// The span of a call about these tasks, a slice of keys: `key` is the first of them, `keys` how many there are.
macro_rules! about_keys {
    ($name:literal, $keys:expr $(, $($field:tt)*)?) => {{
        let keys = &$keys;
        tracing::debug_span!(
            $name,
            key = keys.first().map(tracing::field::display),
            keys = keys.len(),
            $($($field)*)?
        )
    }};
}
pub(crate) use about_keys;

/// The span of one request, below that of the call which makes it; `name` is that of the variable, queue, lock, … that the
/// request is about.
pub(crate) fn rpc_span(op: &'static str, peer: &Address, request: Option<&Value<'_>>) -> tracing::Span {
    let name = || request.and_then(|request| request.get("name")).and_then(Value::as_str);
    tracing::debug_span!("dask.rpc", op, %peer, name = name())
}

/// The spans of a batch of messages on the stream, for as long as it is being sent; none if nobody looks at them.
pub(crate) fn stream_spans(batch: &Value<'_>) -> Vec<tracing::Span> {
    let messages = batch.as_array().unwrap_or_default().iter();
    messages.map(stream_span).filter(|span| !span.is_disabled()).collect()
}

fn stream_span(message: &Value<'_>) -> tracing::Span {
    let text = |name| message.get(name).and_then(Value::as_str);
    let keys = || message.get("keys").and_then(Value::as_array).unwrap_or_default();
    // What stands in the macro is looked for only if somebody looks at the span.
    tracing::debug_span!(
        "dask.stream",
        op = text("op"),
        key = message.get("key").or(keys().first()).and_then(Key::from_value).map(tracing::field::display),
        keys = keys().len(),
        name = text("name"),
    )
}
