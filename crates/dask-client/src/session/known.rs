//! Keys that the scheduler has heard of, and those that this client holds.
//!
//! Tasks go over the stream, which has no replies; what is asked about them goes over another connection and may overtake
//! them.

use std::collections::HashMap;

use dask_wire::session::KeyState;
use dask_wire::{Key, Value};
use tokio::time::{Duration, Instant, sleep};

use crate::client::Shared;
use crate::error::{Error, ErrorKind, Result};
use crate::waiting::limit::from_now;

impl Shared {
    /// Waits until the scheduler has heard of keys that this client holds.
    ///
    /// # Errors
    /// The client does not hold one of them, or it cannot have a result any more.
    pub(crate) async fn until_known(&self, keys: &[Key]) -> Result<()> {
        self.check_held(keys)?;
        self.until_taken_in(keys).await?;
        keys.iter().try_for_each(|key| self.outcome_if_gone(key))
    }

    /// Waits until the scheduler has heard of those of the keys that this client waits for. What it knows of the others is
    /// not this client's doing.
    pub(crate) async fn until_taken_in<'k>(&self, keys: impl IntoIterator<Item = &'k Key>) -> Result<()> {
        let mut unknown = self.session.look(|session| {
            let waits = |key: &&Key| session.state(key).is_some_and(KeyState::is_pending);
            keys.into_iter().filter(waits).cloned().collect::<Vec<_>>()
        });
        let limit = from_now(self.settings.rpc_timeout);
        let mut pause = Duration::from_millis(2);
        loop {
            let Some(first) = unknown.first() else { return Ok(()) };
            if Instant::now() > limit {
                return Err(Error::timeout(
                    format_args!("the scheduler's hearing of {first}"),
                    self.settings.rpc_timeout,
                ));
            }
            let known = self.states(&unknown, self.settings.rpc_timeout).await?;
            // One that ended meanwhile may be forgotten by now.
            self.session.look(|session| {
                unknown.retain(|key| {
                    !known.contains_key(key) && session.state(key).is_some_and(KeyState::is_pending)
                });
            });
            if !unknown.is_empty() {
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(100));
            }
        }
    }

    /// The scheduler's names for the states of keys; those it does not know are left out.
    pub(crate) async fn states(&self, keys: &[Key], within: Duration) -> Result<HashMap<Key, String>> {
        let request = self.request("get_task_status")?.with("keys", keys.iter().collect::<Value<'_>>())?;
        let reply = self.rpc_within(request, within).await?;
        let value = reply.value()?;
        let pairs = value.as_map().ok_or_else(|| reply.unexpected(value.kind()))?.iter();
        Ok(pairs
            .filter_map(|(key, state)| Some((Key::from_value(key)?, state.as_str()?.to_owned())))
            .collect())
    }

    /// An error if this client has no future of one of these keys.
    pub(crate) fn check_held<'k>(&self, keys: impl IntoIterator<Item = &'k Key>) -> Result<()> {
        if self.is_closing() {
            return Err(Error::closed());
        }
        self.session.look(|session| match keys.into_iter().find(|key| session.state(key).is_none()) {
            Some(key) => Err(Error::not_held(key)),
            None => Ok(()),
        })
    }

    /// An error for a key that cannot have a result any more; a failed task still counts as there.
    pub(crate) fn outcome_if_gone(&self, key: &Key) -> Result<()> {
        match self.outcome(key) {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Cancelled | ErrorKind::Lost | ErrorKind::Closed | ErrorKind::Config
                ) =>
            {
                Err(error)
            }
            _ => Ok(()),
        }
    }
}
