//! Ending and restarting workers, and the whole cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use dask_wire::{Feature, Peer, Request, Value};

use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::outside::run::Place;
use crate::state::guard::fresh_id;
use crate::state::plain::seconds;
use crate::waiting::limit::from_now;
use crate::waiting::limited::Limited;

/// A restart also waits for processes to end and to start.
const RESTART: Duration = Duration::from_secs(120);
/// What is being done, in errors.
const RETIRING: &str = "retiring workers";

impl Client {
    /// Retires workers, given by address or name: their data is moved to others first, then they are told to close.
    /// Gives the addresses of those that were retired. One whose data found no place stays and is not among them.
    /// Python's `Client.retire_workers`.
    ///
    /// Op `retire_workers`, every release.
    ///
    /// # Errors
    /// There is no such worker, or moving the data takes longer than the [`deadline`](Limited::deadline).
    pub fn retire_workers<W: Into<String>>(
        &self,
        workers: impl IntoIterator<Item = W>,
    ) -> Limited<'_, Vec<String>> {
        self.retire(workers.into_iter().map(Into::into).collect(), true)
    }

    /// As [`Client::retire_workers`], but without telling their processes to end: they give up their data and get no more
    /// tasks, and the scheduler forgets them. Dask's own worker processes end by themselves once they notice that, mostly
    /// at their next heartbeat.
    ///
    /// # Errors
    /// As [`Client::retire_workers`].
    pub fn retire_workers_without_closing<W: Into<String>>(
        &self,
        workers: impl IntoIterator<Item = W>,
    ) -> Limited<'_, Vec<String>> {
        self.retire(workers.into_iter().map(Into::into).collect(), false)
    }

    fn retire(&self, named: Vec<String>, close: bool) -> Limited<'_, Vec<String>> {
        Limited::new(self, RETIRING, move |within| async move {
            if named.is_empty() {
                // No workers at all means to Dask: whichever can best be spared.
                return Ok(Vec::new());
            }
            let workers = self.pick_workers(Place::Worker, Some(&named)).await?;
            let request = self.shared().request("retire_workers")?;
            let request = request.with("workers", workers.into_iter().collect::<Value<'_>>())?;
            self.send_retire(request, close, within).await
        })
    }

    /// Retires `count` workers that can best be spared, those without work first, but leaves at least `keep`. Gives the
    /// addresses of those that were retired. Python's `Client.retire_workers(n=count, minimum=keep)`.
    ///
    /// Op `retire_workers`, every release.
    ///
    /// # Errors
    /// Moving the data takes longer than the [`deadline`](Limited::deadline), or the scheduler does not answer.
    pub fn retire_some(&self, count: usize, keep: usize) -> Limited<'_, Vec<String>> {
        Limited::new(self, RETIRING, move |within| async move {
            if count == 0 {
                return Ok(Vec::new());
            }
            let request = self.shared().request("retire_workers")?.with("n", count)?.with("minimum", keep)?;
            self.send_retire(request, true, within).await
        })
    }

    async fn send_retire(&self, request: Request, close: bool, within: Duration) -> Result<Vec<String>> {
        let request = request.with("close_workers", close)?.with("remove", true)?;
        let reply = self.shared().rpc_within(request, within).await?;
        let value = reply.value()?;
        let addresses: Vec<&Value<'_>> = match &value {
            Value::Map(retired) => retired.iter().map(|(address, _)| address).collect(),
            Value::Array(retired) => retired.iter().collect(),
            other => return Err(reply.unexpected(other.kind())),
        };
        Ok(addresses.into_iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// Restarts all workers and forgets all tasks, of every client: their futures end as lost. Waits until the workers
    /// are back. Workers without a nanny end and come back only if something else starts them. Python's
    /// `Client.restart`.
    ///
    /// RPC `restart`, before 2022.7.1 the stream op of this name.
    ///
    /// # Errors
    /// It is not done within that time ([`ErrorKind::Timeout`]; by default two minutes), or the connection breaks.
    pub async fn restart(&self, within: impl Into<Option<Duration>>) -> Result<()> {
        self.restart_all(within.into().unwrap_or(RESTART), true).await
    }

    /// As [`Client::restart`], without waiting until as many workers are back (before 2022.7.1 the scheduler always
    /// does).
    ///
    /// # Errors
    /// As [`Client::restart`].
    pub async fn restart_without_waiting(&self, within: impl Into<Option<Duration>>) -> Result<()> {
        self.restart_all(within.into().unwrap_or(RESTART), false).await
    }

    async fn restart_all(&self, within: Duration, wait: bool) -> Result<()> {
        let shared = self.shared();
        // The scheduler tells it on the stream, and futures end by it.
        shared.stream().await?;
        let mut restarts = shared.restarts.subscribe();
        restarts.borrow_and_update();
        let mut until = from_now(within);
        if shared.dialect().has(Feature::RestartRpc) {
            let request = shared
                .request("restart")?
                .with("client", self.name().to_string())?
                .with("timeout", seconds(Some(within)))?
                .with("wait_for_workers", wait)?
                .with_if_taken("stimulus_id", stimulus("restart"));
            // The scheduler's clock decides; only one that is silent is given up, later.
            let silent = within.saturating_add(shared.settings.rpc_timeout);
            until = from_now(silent);
            shared.rpc_within(request, silent).await?;
        } else {
            let request = shared.dialect().request(Peer::Stream, "restart")?;
            let message = request.with("timeout", seconds(Some(within)))?.into_stream()?;
            shared.session.change(|session| session.send(message));
        }
        let told = async {
            loop {
                tokio::select! {
                    changed = restarts.changed() => return changed.map_err(|_| Error::closed()),
                    () = tokio::time::sleep(Duration::from_millis(200)) => shared.check_open()?,
                }
            }
        };
        let told = tokio::time::timeout_at(until, told).await;
        told.map_err(|_| Error::timeout(format_args!("restarting {}", self.address()), within))?
    }

    /// Restarts some workers, given by address or name, which need nannies. Says of each, by address: `OK`, `removed` (it
    /// left meanwhile) or `timed out`. Tasks that run there are run again elsewhere. Python's `Client.restart_workers`.
    ///
    /// Op `restart_workers`, from 2024.4.0 on.
    ///
    /// # Errors
    /// The release cannot do it, there is no such worker, or it has no nanny.
    pub async fn restart_workers<W: Into<String>>(
        &self,
        workers: impl IntoIterator<Item = W>,
        within: Duration,
    ) -> Result<BTreeMap<String, String>> {
        let shared = self.shared();
        let request = shared.request("restart_workers")?;
        let named: Vec<String> = workers.into_iter().map(Into::into).collect();
        let workers = self.pick_workers(Place::Nanny, Some(&named)).await?;
        let request = request
            .with("workers", workers.into_iter().collect::<Value<'_>>())?
            .with("timeout", seconds(Some(within)))?
            .with("wait_for_workers", true)?
            .with("on_error", "return")?
            .with("stimulus_id", stimulus("restart-workers"))?;
        let silent = within.saturating_add(shared.settings.rpc_timeout);
        let reply = shared.rpc_within(request, silent).await?;
        let value = reply.value()?;
        value.to().map_err(|error| reply.unexpected(error))
    }

    /// Ends the workers and the scheduler, for every client, and closes this one. Python's `Client.shutdown`.
    ///
    /// Op `terminate`, every release. On releases up to 2022.5.0 workers are ended by request, on later ones they end
    /// with their scheduler.
    ///
    /// # Errors
    /// The scheduler cannot be reached. Once it was, the end of the connection counts as its answer.
    pub async fn shutdown(&self) -> Result<()> {
        let shared = self.shared();
        let request = shared.request("terminate")?.with_if_taken("close_workers", true);
        // The end of an earlier connection is no answer.
        let outcome = match shared.check_open() {
            Ok(()) => shared.rpc(request).await,
            Err(error) => {
                self.close().await;
                return Err(error);
            }
        };
        self.close().await;
        match outcome {
            Err(error) if error.kind() == ErrorKind::ConnectionLost => Ok(()),
            outcome => outcome.map(drop),
        }
    }
}

/// What the scheduler's log names as the cause.
fn stimulus(what: &str) -> String {
    format!("client-{what}-{}", fresh_id())
}
