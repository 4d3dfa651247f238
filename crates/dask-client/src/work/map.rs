//! One call for each of many inputs, never more than some at a time.

use std::collections::{BTreeMap, VecDeque};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use dask_wire::FromPython;
use dask_wire::graph::Task;
use futures::Stream;
use futures::future::BoxFuture;
use serde::Serialize;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::waiting::as_completed::{Deadline, Harvest};
use crate::work::call::Call;
use crate::work::future::Future;
use crate::work::submit::Room;

/// Tasks submitted together at most, so that memory stays bounded by what is in flight.
const TOGETHER: usize = 1000;
/// Their arguments take about this many bytes at most.
const BYTES: usize = 8 << 20;

impl Client {
    /// Calls a function once for each input, which becomes the last positional argument, and gives the results as a stream.
    /// Never more than [`Map::in_flight`] inputs are pulled and not yet given out with their result, so inputs may be
    /// without end.
    ///
    /// ```no_run
    /// # async fn example(client: dask_client::Client, files: Vec<String>) -> dask_client::Result<()> {
    /// let mut results = client.map(dask_client::py("etl.clean:one"), files).in_flight(1_000).as_completed();
    /// while let Some((file, outcome)) = results.next().await {
    ///     let rows: u64 = outcome?;
    ///     println!("{file}: {rows}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The call's options hold for each task, arguments given already come first. Dropping the stream releases what is not
    /// done. Stream op `update-graph`, every release; Python's `Client.map`.
    pub fn map<R, I>(&self, call: Call, inputs: I) -> Map<R, I::IntoIter>
    where
        I: IntoIterator,
        I::Item: Serialize,
    {
        Map {
            client: self.clone(),
            call,
            inputs: inputs.into_iter(),
            in_flight: 1000,
            deadline: None,
            result: PhantomData,
        }
    }
}

/// One call for each of many inputs. Made by [`Client::map`].
#[must_use = "a map does nothing until it is made a stream"]
#[derive(Debug)]
pub struct Map<R, I> {
    client: Client,
    call: Call,
    inputs: I,
    in_flight: usize,
    deadline: Option<Duration>,
    result: PhantomData<fn() -> R>,
}

impl<R, I: Iterator> Map<R, I> {
    /// At most this many inputs are in flight: pulled, and not yet given out with their result. Default 1,000.
    pub fn in_flight(mut self, in_flight: usize) -> Self {
        self.in_flight = in_flight.max(1);
        self
    }

    /// Ends within this time: what is in flight by then comes with the reason why it is not done, and no more inputs are
    /// pulled.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Results in the order in which they come.
    pub fn as_completed(self) -> MapStream<R, I> {
        MapStream::new(self, false)
    }

    /// Results in the order of the inputs. Those that come early are held back, and count as in flight.
    pub fn ordered(self) -> MapStream<R, I> {
        MapStream::new(self, true)
    }
}

/// Inputs with results, by their number.
type Early<T, R> = BTreeMap<u64, (T, Result<R>)>;
/// Inputs with the work of submitting them.
type Submitting<T, R> = (Vec<(u64, T)>, BoxFuture<'static, Result<Vec<Future<R>>>>);

/// A stream of inputs with their results. Made by [`Map::as_completed`] and [`Map::ordered`].
#[must_use = "streams do nothing unless polled"]
pub struct MapStream<R, I: Iterator> {
    client: Client,
    call: Call,
    inputs: I,
    /// No more inputs are pulled.
    ended: bool,
    in_flight: usize,
    next_number: u64,
    /// Pulled, but too large to go with those before.
    put_back: Option<(u64, I::Item, Task)>,
    submitting: Option<Submitting<I::Item, R>>,
    harvest: Harvest<(u64, I::Item), R>,
    ready: VecDeque<(u64, I::Item, Result<R>)>,
    /// Of an ordered map: what came early, and the number that is to come next.
    order: Option<(Early<I::Item, R>, u64)>,
    deadline: Option<Deadline>,
}

impl<R, I: Iterator> std::fmt::Debug for MapStream<R, I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MapStream").field("in_flight", &self.pulled()).finish_non_exhaustive()
    }
}

impl<R, I: Iterator> Unpin for MapStream<R, I> {}

impl<R, I: Iterator> MapStream<R, I> {
    fn new(map: Map<R, I>, ordered: bool) -> Self {
        let Map { client, call, inputs, in_flight, deadline, .. } = map;
        Self {
            harvest: Harvest::new(std::sync::Arc::clone(&client.handle)),
            client,
            call,
            inputs,
            ended: false,
            in_flight,
            next_number: 0,
            put_back: None,
            submitting: None,
            ready: VecDeque::new(),
            order: ordered.then(|| (BTreeMap::new(), 0)),
            deadline: deadline.map(Deadline::new),
        }
    }

    /// Inputs pulled and not yet given out.
    fn pulled(&self) -> usize {
        self.harvest.len()
            + self.ready.len()
            + usize::from(self.put_back.is_some())
            + self.submitting.as_ref().map_or(0, |(inputs, _)| inputs.len())
            + self.order.as_ref().map_or(0, |(early, _)| early.len())
    }
}

impl<R, I> MapStream<R, I>
where
    R: FromPython + 'static,
    I: Iterator,
    I::Item: Serialize,
{
    /// The next input with its result; `None` after the last.
    pub async fn next(&mut self) -> Option<(I::Item, Result<R>)> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Pulls inputs while there is room, and starts to submit them.
    fn pull(&mut self) {
        let room = self.in_flight.saturating_sub(self.pulled() - usize::from(self.put_back.is_some()));
        // A message for each single result would cost the scheduler more than the tasks do.
        if self.ended || self.submitting.is_some() || room < (self.in_flight / 4).max(1) {
            return;
        }
        let (mut inputs, mut tasks, mut bytes, mut refused) = (Vec::new(), Vec::new(), 0, 0);
        // Inputs that cannot be sent count as well: they wait to be given out with their error.
        while tasks.len() < TOGETHER && tasks.len() + refused < room {
            let (number, input, task) = match self.put_back.take() {
                Some(pulled) => pulled,
                None => {
                    let Some(input) = self.inputs.next() else {
                        self.ended = true;
                        break;
                    };
                    let number = self.next_number;
                    self.next_number += 1;
                    let call = self.call.clone().arg(&input);
                    match call.into_task(|name| self.client.shared().keys.key(name)) {
                        Ok(task) => (number, input, task),
                        Err(error) => {
                            self.ready.push_back((number, input, Err(error)));
                            refused += 1;
                            continue;
                        }
                    }
                }
            };
            if !tasks.is_empty() && bytes + task.size() > BYTES {
                self.put_back = Some((number, input, task));
                break;
            }
            bytes += task.size();
            inputs.push((number, input));
            tasks.push(task);
        }
        if !tasks.is_empty() {
            let client = self.client.clone();
            let work = async move { client.submit_tasks(tasks, Room::Patient).await };
            self.submitting = Some((inputs, Box::pin(work)));
        }
    }

    /// What of the work in hand goes on by itself; `true` if something did.
    fn submit(&mut self, cx: &mut Context<'_>) -> bool {
        let Some((_, submitting)) = &mut self.submitting else { return false };
        let Poll::Ready(outcome) = submitting.as_mut().poll(cx) else { return false };
        let inputs = self.submitting.take().map(|(inputs, _)| inputs).unwrap_or_default();
        match outcome {
            Ok(futures) => self.harvest.extend(inputs.into_iter().zip(futures)),
            Err(error) => {
                // What fails one batch (a closed client, a bad option) fails them all.
                self.ended = true;
                let put_back = self.put_back.take().map(|(number, input, _)| (number, input));
                let failed = inputs.into_iter().chain(put_back);
                self.ready.extend(failed.map(|(number, input)| (number, input, Err(error.clone()))));
            }
        }
        true
    }

    /// Time is up: everything in flight fails.
    fn give_up(&mut self, error: &Error, after: Duration) {
        self.ended = true;
        let waiting = self.submitting.take().map(|(inputs, _)| inputs).unwrap_or_default();
        let put_back = self.put_back.take().map(|(number, input, _)| (number, input));
        for (number, input) in waiting.into_iter().chain(put_back) {
            self.ready.push_back((number, input, Err(error.clone())));
        }
        while let Some(((number, input), _, result)) = self.harvest.give_up(error, after) {
            self.ready.push_back((number, input, result));
        }
    }

    fn take_ready(&mut self) -> Option<(I::Item, Result<R>)> {
        let Some((early, due)) = &mut self.order else {
            return self.ready.pop_front().map(|(_, input, result)| (input, result));
        };
        early.extend(self.ready.drain(..).map(|(number, input, result)| (number, (input, result))));
        let next = early.remove(due)?;
        *due += 1;
        Some(next)
    }
}

impl<R, I> Stream for MapStream<R, I>
where
    R: FromPython + 'static,
    I: Iterator,
    I::Item: Serialize,
{
    type Item = (I::Item, Result<R>);

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            // Also while there are results to give out, or a slow reader of an endless map would never come to its end.
            this.ended |= this.deadline.as_ref().is_some_and(Deadline::is_over);
            this.pull();
            while this.submit(cx) {
                this.pull();
            }
            if let Some(next) = this.take_ready() {
                return Poll::Ready(Some(next));
            }
            match this.harvest.poll_next(cx) {
                Poll::Ready(Some(((number, input), _, result))) => {
                    this.ready.push_back((number, input, result));
                    continue;
                }
                Poll::Ready(None) if this.ended && this.pulled() == 0 => return Poll::Ready(None),
                _ => (),
            }
            let Some(deadline) = &mut this.deadline else { return Poll::Pending };
            let Poll::Ready(error) = deadline.poll(cx, &this.harvest) else { return Poll::Pending };
            let after = deadline.after();
            this.give_up(&error, after);
        }
    }
}
