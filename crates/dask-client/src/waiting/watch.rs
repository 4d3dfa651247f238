//! Watching many keys at once: whoever watches learns which of them changed, and pays for those alone.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use dask_wire::Key;

use crate::session::stream::SessionCell;

/// A list of keys, by numbers of the watcher's choice, and which of them changed.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    list: Arc<List>,
}

#[derive(Debug, Default)]
struct List {
    state: Mutex<Changed>,
}

#[derive(Debug, Default)]
struct Changed {
    numbers: Vec<u32>,
    waker: Option<Waker>,
}

/// What a session keeps for a watched key. Outlives its watch without effect.
#[derive(Debug)]
pub(crate) struct Waiter {
    list: Weak<List>,
    number: u32,
}

impl Waiter {
    /// Tells the watch that the key changed.
    pub(crate) fn wake(self) {
        let Some(list) = self.list.upgrade() else { return };
        let waker = {
            let mut changed = list.state.lock().unwrap_or_else(PoisonError::into_inner);
            changed.numbers.push(self.number);
            changed.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.list.strong_count() > 0
    }
}

impl Watch {
    /// Watches keys for one change each. A key whose outcome is known already counts as changed.
    pub(crate) fn add<'k>(&self, session: &SessionCell, keys: impl IntoIterator<Item = (u32, &'k Key)>) {
        // Looking and registering under one lock, so that no change falls in between.
        let known: Vec<u32> = session.change(|session| {
            keys.into_iter()
                .filter(|(number, key)| {
                    let waiter = || Waiter { list: Arc::downgrade(&self.list), number: *number };
                    !session.wait_while_pending(key, Waiter::is_alive, waiter)
                })
                .map(|(number, _)| number)
                .collect()
        });
        if !known.is_empty() {
            self.list.state.lock().unwrap_or_else(PoisonError::into_inner).numbers.extend(known);
        }
    }

    /// The numbers of the keys that changed since the last call; each must be added again to be watched on.
    pub(crate) fn poll_changed(&self, cx: &mut Context<'_>) -> Poll<Vec<u32>> {
        let mut changed = self.list.state.lock().unwrap_or_else(PoisonError::into_inner);
        if changed.numbers.is_empty() {
            changed.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(std::mem::take(&mut changed.numbers))
    }

    /// As [`Watch::poll_changed`], waiting.
    pub(crate) async fn changed(&self) -> Vec<u32> {
        std::future::poll_fn(|cx| self.poll_changed(cx)).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::time::Duration;

    use dask_wire::Dialect;
    use dask_wire::session::{OnReconnect, Session};

    use super::*;

    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_key_costs_once_and_dead_watches_nothing() {
        let session = Session::new("test", Dialect::of("2026.8.0".parse().unwrap()), OnReconnect::Fail);
        let cell = SessionCell::new(session, Duration::from_secs(5));
        let keys: Vec<Key> = (0..20_000).map(|n| Key::from(format!("k-{n}"))).collect();
        cell.change(|session| keys.iter().for_each(|key| session.desire(key)));
        let watch = Watch::default();
        watch.add(&cell, (0u32..).zip(&keys));
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let mut cx = Context::from_waker(&waker);
        assert!(watch.poll_changed(&mut cx).is_pending());
        cell.change(|session| keys.iter().take(5000).for_each(|key| session.arrived(key, None)));
        // One wake for all that changed together, and only those are told.
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        let Poll::Ready(changed) = watch.poll_changed(&mut cx) else { panic!("nothing changed") };
        assert_eq!(changed, (0..5000).collect::<Vec<u32>>());
        assert!(watch.poll_changed(&mut cx).is_pending());
        // One whose outcome is known already is told at once.
        watch.add(&cell, [(7, &keys[0])]);
        assert_eq!(watch.poll_changed(&mut cx), Poll::Ready(vec![7]));
        drop(watch);
        cell.change(|session| keys.iter().for_each(|key| session.release(key)));
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn waits_that_gave_up_leave_nothing_behind() {
        let session = Session::new("test", Dialect::of("2026.8.0".parse().unwrap()), OnReconnect::Fail);
        let cell = SessionCell::new(session, Duration::from_secs(5));
        let key = Key::from("k");
        cell.change(|session| session.desire(&key));
        for _ in 0..1000 {
            Watch::default().add(&cell, [(0, &key)]);
        }
        let left = cell.change(|session| {
            session.arrived(&key, None);
            session.take_wakes().len()
        });
        assert!(left <= 8, "{left} waiters");
    }
}
