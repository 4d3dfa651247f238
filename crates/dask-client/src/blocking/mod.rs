//! The same calls for programs without an async runtime: whatever can be awaited can be waited for.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use dask_client::blocking::{Iterate, Wait};
//! use dask_client::{Client, Future, py};
//!
//! # fn example() -> dask_client::Result<()> {
//! let client = Client::connect("tcp://127.0.0.1:8786").wait()?;
//! let three: i64 = client.call(py("operator:add").args((1, 2))).deadline(Duration::from_secs(5)).wait()?;
//!
//! let futures: Vec<Future<i64>> = client.submit_many((0..100).map(|n| py("operator:neg").arg(n))).wait()?;
//! for item in client.as_completed(futures).iterate() {
//!     let (future, result) = item?;
//!     println!("{}: {}", future.key(), result?);
//! }
//! println!("{} workers, {three}", client.scheduler_info().wait_within(Duration::from_secs(1))?.workers.len());
//! client.close().wait()
//! # }
//! ```
//!
//! There is no second client that could lag behind the first: [`Wait`] ends every call that an async program ends with
//! `.await`, and [`Iterate`] makes an iterator of every stream. Clients, futures and all the rest are the same types.
//!
//! * What clients do in the background (the stream to the scheduler, heartbeats, refreshing leases) runs on one thread
//!   that starts with the first wait and is there for all clients of the program. Clients that were connected in a
//!   runtime of the program's own can be used from outside of it, too, for as long as it runs.
//! * Inside of an async runtime a wait would hold up everything else there, so each is refused with
//!   [`ErrorKind::Config`](crate::ErrorKind::Config): `.await` there, or wait on a thread of its own
//!   (`std::thread::spawn`; the threads of `spawn_blocking` belong to the runtime).
//! * Dropping a client or a future never blocks; the goodbye is said in the background. A program that wants it said
//!   before it ends calls `client.close().wait()`.

mod runtime;

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt};

use crate::error::{Error, Result};

/// Waits for what can be awaited. See the [module](self).
pub trait Wait: IntoFuture<Output: Outcome> + Sized {
    /// Waits for the outcome, for as long as an `.await` would.
    ///
    /// # Errors
    /// As the call that is waited for; also inside of an async runtime
    /// ([`ErrorKind::Config`](crate::ErrorKind::Config)), and if no thread can be started.
    fn wait(self) -> Result<<Self::Output as Outcome>::Value> {
        runtime::block_on(|| async move { self.await.into_result() })?
    }

    /// As [`Wait::wait`], for at most this time. What is given up by then is dropped, as any future may be.
    ///
    /// Where a call has a deadline of its own, as [`Client::call`](crate::Client::call) has, that one also tells why
    /// there is no result.
    ///
    /// # Errors
    /// As [`Wait::wait`]; also [`ErrorKind::Timeout`](crate::ErrorKind::Timeout).
    fn wait_within(self, limit: Duration) -> Result<<Self::Output as Outcome>::Value> {
        runtime::block_on(|| async move {
            match tokio::time::timeout(limit, self.into_future()).await {
                Ok(outcome) => outcome.into_result(),
                Err(_) => Err(Error::timeout("what was waited for", limit)),
            }
        })?
    }
}

impl<F: IntoFuture<Output: Outcome>> Wait for F {}

/// What calls of this crate end in: a result, or something that cannot fail by itself.
pub trait Outcome {
    /// What it is if nothing fails.
    type Value;

    /// As a result.
    ///
    /// # Errors
    /// It is an error.
    fn into_result(self) -> Result<Self::Value>;
}

impl<T> Outcome for Result<T> {
    type Value = T;

    fn into_result(self) -> Result<T> {
        self
    }
}

macro_rules! cannot_fail {
    ($([$($name:ident)?] $outcome:ty),+) => {
        $(impl<$($name)?> Outcome for $outcome {
            type Value = Self;

            fn into_result(self) -> Result<Self> {
                Ok(self)
            }
        })+
    };
}

cannot_fail!([] (), [T] Option<T>, [T] Vec<T>);

/// Makes an iterator of a stream. See the [module](self).
pub trait Iterate: Stream + Sized {
    /// The stream's items, each waited for. An item is an error where the wait for it failed; what an item says by
    /// itself stands inside.
    fn iterate(self) -> Iter<Self> {
        Iter { stream: Some(Box::pin(self)), limit: None }
    }
}

impl<S: Stream> Iterate for S {}

/// The items of a stream, each waited for. Made by [`Iterate::iterate`].
#[must_use = "iterators do nothing unless asked for the next item"]
pub struct Iter<S> {
    stream: Option<Pin<Box<S>>>,
    limit: Option<Duration>,
}

impl<S> Iter<S> {
    /// Waits at most this time for each item. One that does not come in time is an error
    /// ([`ErrorKind::Timeout`](crate::ErrorKind::Timeout)), after which the next call waits again.
    pub fn each_within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }
}

impl<S> fmt::Debug for Iter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").field("each_within", &self.limit).finish_non_exhaustive()
    }
}

impl<S: Stream> Iterator for Iter<S> {
    type Item = Result<S::Item>;

    fn next(&mut self) -> Option<Self::Item> {
        let (stream, limit) = (self.stream.as_mut()?, self.limit);
        let next = runtime::block_on(|| async move {
            match limit {
                None => Ok(stream.next().await),
                Some(limit) => tokio::time::timeout(limit, stream.next())
                    .await
                    .map_err(|_| Error::timeout("the next item", limit)),
            }
        });
        match next {
            Ok(Ok(Some(item))) => Some(Ok(item)),
            Ok(Ok(None)) => {
                self.stream = None;
                None
            }
            Ok(Err(late)) => Some(Err(late)),
            // No wait here can ever succeed.
            Err(refused) => {
                self.stream = None;
                Some(Err(refused))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;
    use crate::ErrorKind;

    #[test]
    fn waits_end_in_a_result() {
        assert_eq!(async { Ok(1) }.wait().unwrap(), 1);
        assert_eq!(async { Err::<(), _>(Error::closed()) }.wait().unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(async { vec![1] }.wait().unwrap(), [1]);
        async {}.wait().unwrap();
        let forever = std::future::pending::<Result<()>>();
        assert_eq!(forever.wait_within(Duration::from_millis(1)).unwrap_err().kind(), ErrorKind::Timeout);
    }

    #[test]
    fn streams_are_iterators() {
        let all: Vec<i32> = stream::iter([1, 2, 3]).iterate().collect::<Result<_>>().unwrap();
        assert_eq!(all, [1, 2, 3]);
        let mut slow =
            stream::iter([1]).chain(stream::pending()).iterate().each_within(Duration::from_millis(1));
        assert_eq!(slow.next().unwrap().unwrap(), 1);
        for _ in 0..2 {
            assert_eq!(slow.next().unwrap().unwrap_err().kind(), ErrorKind::Timeout);
        }
    }

    #[tokio::test]
    async fn a_runtime_is_not_held_up() {
        let error = async { Ok(1) }.wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(".await"), "{error}");
        let mut items = stream::iter([1]).iterate();
        assert_eq!(items.next().unwrap().unwrap_err().kind(), ErrorKind::Config);
        assert!(items.next().is_none());
        // A thread of its own may wait.
        assert_eq!(std::thread::spawn(|| async { Ok(1) }.wait()).join().unwrap().unwrap(), 1);
    }
}
