//! Many calls at once.

use std::sync::Arc;

use dask_wire::Key;
use dask_wire::graph::{Submission, Task};

use crate::client::Client;
use crate::error::Result;
use crate::work::call::Call;
use crate::work::future::Future;
use crate::work::submit::Room;

/// A message has at most this many tasks: while the scheduler takes one in it does nothing else.
const TASKS: usize = 5000;
/// A message has about this many bytes at most, unless one task alone is larger.
const BYTES: usize = 8 << 20;

impl Client {
    /// Submits many calls in few messages and gives futures of their results, in their order. See [`Client::map`] for a way
    /// that never holds more than some of them.
    ///
    /// Stream op `update-graph`, once for 5,000 tasks or 8 MiB. Waits for room where outstanding tasks are limited
    /// ([`crate::ClientBuilder::max_outstanding`]).
    ///
    /// # Errors
    /// A call cannot be sent, refers to a key that this client does not hold, or the client is closed. What was submitted
    /// before is released again.
    pub async fn submit_many<R>(&self, calls: impl IntoIterator<Item = Call>) -> Result<Vec<Future<R>>> {
        let shared = self.shared();
        let tasks = calls.into_iter().map(|call| call.into_task(|name| shared.keys.key(name)));
        // Everything is looked at before anything is sent.
        let tasks = tasks.collect::<Result<Vec<Task>>>()?;
        self.submit_tasks(tasks, Room::AsSet).await
    }

    pub(crate) async fn submit_tasks<R>(&self, tasks: Vec<Task>, room: Room) -> Result<Vec<Future<R>>> {
        let shared = self.shared();
        let most = TASKS.min(shared.settings.max_outstanding.unwrap_or(TASKS)).max(1);
        let mut futures = Vec::with_capacity(tasks.len());
        let mut tasks = tasks.into_iter().peekable();
        while tasks.peek().is_some() {
            let mut part: Vec<Task> = Vec::new();
            let mut bytes = 0;
            while let Some(task) =
                tasks.next_if(|task| part.is_empty() || part.len() < most && bytes + task.size() <= BYTES)
            {
                bytes += task.size();
                part.push(task);
            }
            let keys: Vec<Key> = part.iter().map(|task| task.key.clone()).collect();
            shared.submit(Submission::new(part, keys.clone()), room).await?;
            futures.extend(keys.into_iter().map(|key| Future::new(key, Arc::clone(&self.handle))));
        }
        Ok(futures)
    }
}
