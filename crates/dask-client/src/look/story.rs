//! What happened to a task.

use dask_wire::{Key, Value};
use serde::Serialize;
use tracing::Instrument;

use crate::client::Client;
use crate::error::Result;
use crate::session::trace::about_keys;

/// One step in the life of a task on the scheduler.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Transition {
    /// The task's key, as text.
    pub key: String,
    /// The state it left: `released`, `waiting`, `no-worker`, `queued`, `processing`, `memory`, `erred`, `forgotten`.
    pub from: String,
    /// The state it came to.
    pub to: String,
    /// What caused it, as Dask names it.
    pub stimulus: String,
    /// When it happened, in seconds since 1970.
    pub timestamp: f64,
}

impl Client {
    /// The steps that tasks went through on the scheduler, oldest first, as far back as its log goes; also steps that
    /// these tasks caused for others. Instead of a key a stimulus may be given. The scheduler's part of Python's
    /// `Client.story`.
    ///
    /// Op `get_story`, from 2022.4.2 on.
    ///
    /// # Errors
    /// The release cannot do it, or the scheduler does not answer.
    pub async fn story(&self, keys: &[Key]) -> Result<Vec<Transition>> {
        let shared = self.shared();
        let request = shared.request("get_story")?;
        let field = if request.accepts("keys_or_stimuli") { "keys_or_stimuli" } else { "keys" };
        let request = request.with(field, keys.iter().collect::<Value<'_>>())?;
        let asked = async {
            shared.until_taken_in(keys).await?;
            shared.rpc(request).await
        };
        let reply = asked.instrument(about_keys!("dask.story", keys)).await?;
        let value = reply.value()?;
        let steps = value.as_array().ok_or_else(|| reply.unexpected(value.kind()))?;
        let step = |step: &Value<'_>| {
            let parts = step.as_array().unwrap_or_default();
            let text = |at: usize| parts.get(at).and_then(Value::as_str).map(str::to_owned);
            // key, from, to, what it recommends, stimulus, time
            Some(Transition {
                key: Key::from_value(parts.first()?)?.to_string(),
                from: text(1)?,
                to: text(2)?,
                stimulus: text(4).unwrap_or_default(),
                timestamp: parts.last().and_then(Value::as_f64)?,
            })
        };
        steps.iter().map(|it| step(it).ok_or_else(|| reply.unexpected("a step that is none"))).collect()
    }
}
