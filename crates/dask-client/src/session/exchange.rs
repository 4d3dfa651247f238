//! Requests on the wire: the one way by which each of them goes out, under a span, timed.

use std::future::Future as StdFuture;
use std::time::{Duration, Instant};

use dask_wire::{Message, Request, Value};
use tokio::time::timeout;
use tracing::Instrument;

use crate::client::Shared;
use crate::error::{Error, Result};
use crate::net::address::Address;
use crate::session::life::ClientEvent;
use crate::session::reply::Reply;
use crate::session::trace::rpc_span;

/// Reports an exchange that takes long, whatever ends it: a reply, an error, or that nobody waits any more.
struct Watched<'s> {
    shared: &'s Shared,
    op: &'static str,
    peer: &'s Address,
    start: Instant,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        let (op, peer, took) = (self.op, self.peer, self.start.elapsed());
        if took >= self.shared.settings.slow_after {
            tracing::warn!(op, %peer, ?took, "a slow exchange");
            self.shared.life.slow(ClientEvent::Slow { op, took });
        }
    }
}

impl Shared {
    /// Does one exchange of messages with a peer under its span; one that is slow is reported.
    pub(crate) async fn exchanging<T>(
        &self,
        op: &'static str,
        peer: &Address,
        request: &Value<'_>,
        work: impl StdFuture<Output = Result<T>>,
    ) -> Result<T> {
        self.check_open()?;
        let _watched = Watched { shared: self, op, peer, start: Instant::now() };
        work.instrument(rpc_span(op, peer, Some(request))).await
    }

    /// One request to the scheduler and its reply, unless that is an exception.
    pub(crate) async fn rpc(&self, request: Request) -> Result<Reply> {
        self.rpc_within(request, self.settings.rpc_timeout).await
    }

    /// As [`Shared::rpc`] with another deadline.
    pub(crate) async fn rpc_within(&self, request: Request, deadline: Duration) -> Result<Reply> {
        let op = request.op();
        // One time for both: asking who answers now is a part of the request.
        let work = async { self.rpc_at(&self.address, self.renewed(request).await?, deadline).await };
        let late = |_| Error::timeout(format_args!("op {op:?} at {}", self.address), deadline);
        timeout(deadline, work).await.map_err(late)?
    }

    /// One request to any server of the cluster.
    pub(crate) async fn rpc_at(&self, peer: &Address, request: Request, deadline: Duration) -> Result<Reply> {
        let op = request.op();
        let request = request.into_rpc()?;
        let call = self.pool.call(peer, op, &request, deadline);
        Reply::new(peer, op, self.exchanging(op, peer, &request, call).await?)
    }

    /// One request to the scheduler whose reply may take as long as it likes. It takes no room from other requests and
    /// ends with the client.
    pub(crate) async fn rpc_waiting(&self, request: Request) -> Result<Reply> {
        self.check_open()?;
        let request = self.renewed(request).await?;
        let op = request.op();
        let request = request.into_rpc()?;
        let span = rpc_span(op, &self.address, Some(&request));
        let message = self.pool.call_waiting(&self.address, &request).instrument(span).await?;
        Reply::new(&self.address, op, message)
    }

    /// One request to the scheduler whose reply may be large. It is waited for as long as bytes move or the scheduler,
    /// which first collects what was asked for, answers when asked for something else.
    pub(crate) async fn rpc_for_data(&self, request: Request) -> Result<Reply> {
        let request = self.renewed(request).await?;
        let op = request.op();
        let request = request.into_rpc()?;
        let work = self.while_alive(op, &request);
        Reply::new(&self.address, op, self.exchanging(op, &self.address, &request, work).await?)
    }

    async fn while_alive(&self, op: &'static str, request: &Value<'_>) -> Result<Message> {
        let stall = self.settings.rpc_timeout;
        let late = || Error::timeout(format_args!("op {op:?} at {} (nothing arrives)", self.address), stall);
        let mut lease = timeout(stall, self.pool.lease(&self.address)).await.map_err(|_| late())??;
        let moved = lease.comm.reader.agreed.moved.clone();
        let message = {
            let mut call = std::pin::pin!(lease.comm.call(request));
            loop {
                if let Some(outcome) = moved.wait_for(call.as_mut(), stall).await {
                    break outcome?;
                }
                // Takes no room: all of it may be taken by transfers such as this one.
                let alive = self.request("ncores")?.into_rpc()?;
                let alive = timeout(stall, self.pool.call_waiting(&self.address, &alive));
                let alive = alive.instrument(rpc_span("ncores", &self.address, None)).await;
                alive.map_err(|_| late())?.map_err(|_| late())?;
            }
        };
        lease.done();
        Ok(message)
    }
}
