//! The task that owns the stream to the scheduler.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dask_wire::session::{Notice, Session};
use dask_wire::{Message, Value};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::Instrument;

use crate::client::Shared;
use crate::error::{Error, ErrorKind};
use crate::net::comm::{Comm, CommReader, CommWriter};
use crate::session::greet::ask_dialect;
use crate::session::life::{ClientEvent, Stage};
use crate::session::trace::{rpc_span, stream_spans};
use crate::waiting::limit::from_now;
use crate::waiting::watch::Waiter;

/// Releases wait this long for more of them: each message costs the scheduler more than its content.
const GATHER_RELEASES: Duration = Duration::from_millis(10);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// The session's state, shared between handles and the task.
pub(crate) struct SessionCell {
    state: Mutex<Session<Waiter>>,
    /// Something is to be sent.
    outgoing: Notify,
    /// Fewer keys are pending, or fewer bytes wait to be sent, than before.
    room: Notify,
    heartbeat: watch::Sender<Duration>,
    /// How many batches were begun, and how many written.
    batches: watch::Sender<(u64, u64)>,
}

impl SessionCell {
    pub(crate) fn new(session: Session<Waiter>, heartbeat: Duration) -> Self {
        Self {
            state: Mutex::new(session),
            outgoing: Notify::new(),
            room: Notify::new(),
            heartbeat: watch::Sender::new(heartbeat),
            batches: watch::Sender::new((0, 0)),
        }
    }

    /// Waits until everything that is to be sent by now is written to the stream.
    ///
    /// # Errors
    /// The client ends before that.
    pub(crate) async fn written(&self, shared: &Shared) -> Result<(), Error> {
        let mut batches = self.batches.subscribe();
        let mut begun = None;
        loop {
            shared.check_open()?;
            let nothing_left = !self.look(Session::has_outgoing);
            let (last, written) = *batches.borrow_and_update();
            if begun.is_none() && nothing_left {
                begun = Some(last);
            }
            if begun.is_some_and(|begun| written >= begun) {
                return Ok(());
            }
            // A stream that breaks writes nothing any more.
            drop(timeout(Duration::from_millis(100), batches.changed()).await);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Session<Waiter>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells when fewer keys are pending or fewer bytes unsent, from the call on.
    pub(crate) fn room(&self) -> tokio::sync::futures::Notified<'_> {
        self.room.notified()
    }

    /// Looks at the session without changing it.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Session<Waiter>) -> T) -> T {
        look(&self.lock())
    }

    /// Changes the session, then wakes whom that concerns: waiters, and the task if there is something to send.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Session<Waiter>) -> T) -> T {
        let (value, wakes, send, room) = {
            let mut session = self.lock();
            let before = (session.pending(), session.unsent());
            let value = change(&mut session);
            let room = session.pending() < before.0 || session.unsent() < before.1;
            (value, session.take_wakes(), session.has_outgoing(), room)
        };
        wakes.into_iter().for_each(Waiter::wake);
        if room {
            self.room.notify_waiters();
        }
        if send {
            self.outgoing.notify_one();
        }
        value
    }
}

/// Registers a client on a fresh comm and returns what the scheduler says first.
pub(crate) async fn register(
    comm: &mut Comm,
    client: &str,
    versions: Value<'static>,
) -> Result<Message, Error> {
    // `reply: false` is part of the op: the stream starts instead of a reply.
    let message = Value::Map(vec![
        ("op".into(), "register-client".into()),
        ("client".into(), client.to_owned().into()),
        ("reply".into(), false.into()),
        ("versions".into(), versions),
    ]);
    let span = rpc_span("register-client", &comm.reader.agreed.peer, None);
    comm.call(&message).instrument(span).await
}

/// Runs until the stream ends; the error says why.
pub(crate) async fn run(shared: &Shared, comm: Comm) -> Error {
    let Comm { mut reader, mut writer } = comm;
    let moved = reader.agreed.moved.clone();
    let error = {
        let mut work = std::pin::pin!(async {
            tokio::select! {
                error = read(shared, &mut reader) => error,
                error = write(shared, &mut writer) => error,
            }
        });
        tokio::select! {
            error = work.as_mut() => error,
            // What is still to be said may take long, but not for ever at a scheduler that does not listen.
            () = shared.life.closing() => {
                let rest = moved.wait_for(work, shared.settings.rpc_timeout).await;
                rest.unwrap_or_else(Error::closed)
            }
        }
    };
    drop(timeout(GOODBYE, writer.shutdown()).await);
    error
}

async fn read(shared: &Shared, reader: &mut CommReader) -> Error {
    loop {
        let message = match reader.expect().await {
            Ok(message) => message,
            Err(error) => return error,
        };
        if let Err(error) = deliver(shared, &message) {
            return Error::wire(&reader.agreed.peer, error);
        }
    }
}

/// Applies one message of the stream.
pub(crate) fn deliver(shared: &Shared, message: &Message) -> Result<(), dask_wire::WireError> {
    let value = message.value()?;
    let notices = shared.session.change(|session| {
        session.receive(value);
        session.take_notices()
    });
    for notice in notices {
        match notice {
            Notice::HeartbeatInterval(seconds) if seconds.is_finite() => {
                let interval = Duration::from_secs_f64(seconds.clamp(0.1, 3600.0));
                shared
                    .session
                    .heartbeat
                    .send_if_modified(|current| std::mem::replace(current, interval) != interval);
            }
            Notice::Warning(text) => tracing::debug!(scheduler = %shared.address, "{text}"),
            Notice::Restarted => {
                tracing::info!(scheduler = %shared.address, "the cluster was restarted");
                shared.restarts.send_modify(|count| *count += 1);
            }
            Notice::Event { topic, timestamp, message } => shared.topics.deliver(&topic, timestamp, message),
            notice => tracing::trace!(?notice, "notice"),
        }
    }
    Ok(())
}

async fn write(shared: &Shared, writer: &mut CommWriter) -> Error {
    let cell = &shared.session;
    let mut heartbeat = cell.heartbeat.subscribe();
    let mut next_beat = from_now(*heartbeat.borrow_and_update());
    loop {
        let batch = tokio::select! {
            batch = next_batch(cell) => batch,
            () = sleep_until(next_beat) => {
                next_beat = from_now(*heartbeat.borrow());
                Value::Array(vec![Value::Map(vec![("op".into(), "heartbeat-client".into())])])
            }
            Ok(()) = heartbeat.changed() => {
                next_beat = from_now(*heartbeat.borrow_and_update());
                continue;
            }
        };
        let spans = stream_spans(&batch);
        if let Err(error) = writer.send(&batch).await {
            return error;
        }
        drop(spans);
        cell.batches.send_modify(|(begun, written)| *written = *begun);
        if shared.is_closing() && !cell.look(Session::has_outgoing) {
            return Error::closed();
        }
    }
}

/// Waits for something to send. Dropping the future loses nothing.
async fn next_batch(cell: &SessionCell) -> Value<'static> {
    loop {
        let notified = cell.outgoing.notified();
        let (anything, patient) = cell.look(|session| (session.has_outgoing(), session.may_wait()));
        if !anything {
            notified.await;
            continue;
        }
        if patient {
            // Only releases: give others the chance to join, unless something urgent comes.
            let until = Instant::now() + GATHER_RELEASES;
            let urgent = async {
                while cell.look(Session::may_wait) {
                    cell.outgoing.notified().await;
                }
            };
            tokio::select! { () = sleep_until(until) => (), () = urgent => () }
        }
        let batch = cell.change(|session| {
            let batch = session.take_outgoing();
            // Under the lock: whoever sees nothing left to send must see that this is not written yet.
            if batch.is_some() {
                cell.batches.send_modify(|(begun, _)| *begun += 1);
            }
            batch
        });
        if let Some(batch) = batch {
            return batch;
        }
    }
}

/// Waits until the client is registered, and registers it if nobody does.
pub(crate) async fn connected(shared: &Arc<Shared>) -> Result<(), Error> {
    let life = &shared.life;
    loop {
        match life.stage() {
            Stage::Connected => return Ok(()),
            Stage::Ended(error) => return Err(error),
            Stage::Reconnecting => life.settled().await,
            Stage::Idle => {
                let _turn = life.registering().await;
                if matches!(life.stage(), Stage::Idle) {
                    let lost = shared.pool.home_was_lost();
                    let mut comm = shared.pool.take(&shared.address).await?;
                    if lost {
                        shared.ask_again(&mut comm).await?;
                    }
                    let name = shared.settings.new_name();
                    shared.session.change(|session| session.rename(name.as_str()));
                    introduce(shared, &mut comm, &name).await?;
                    life.enter(Stage::Connected);
                    drop(shared.runtime.spawn(live(Arc::clone(shared), comm)));
                }
            }
        }
    }
}

/// Registers on a comm and applies the scheduler's first message.
async fn introduce(shared: &Shared, comm: &mut Comm, name: &str) -> Result<(), Error> {
    let first = register(comm, name, Value::Map(Vec::new())).await?;
    deliver(shared, &first).map_err(|error| Error::wire(&shared.address, error))
}

/// The life of the stream, at the end of which nothing more comes for anybody.
async fn live(shared: Arc<Shared>, comm: Comm) {
    supervise(&shared, comm).await;
    shared.topics.end();
}

/// Runs the stream, tells everybody when it ends, connects again if it should.
async fn supervise(shared: &Shared, mut comm: Comm) {
    let life = &shared.life;
    loop {
        let error = run(shared, comm).await;
        if life.is_closing() {
            tracing::debug!(scheduler = %shared.address, "closed");
            shared.session.change(|session| session.disconnected("the client was closed".into()));
            life.enter(Stage::Ended(Error::closed()));
            return;
        }
        tracing::warn!(scheduler = %shared.address, %error, "the stream to the scheduler ended");
        // Whoever breaks the protocol would do so again.
        let again = error.kind() == ErrorKind::ConnectionLost && shared.settings.reconnect.is_some();
        // Nothing may be submitted between the loss and the new stream.
        life.enter(if again { Stage::Reconnecting } else { Stage::Ended(error.clone()) });
        let cause: Arc<str> = error.to_string().into();
        shared.session.change(|session| session.disconnected(cause));
        shared.pool.forget(&shared.address);
        shared.pool.dialer().renew_tls();
        life.tell(ClientEvent::Disconnected { cause: error.clone() });
        if !again {
            life.over(ClientEvent::GaveUp { cause: error });
            return;
        }
        let closing = life.closing();
        comm = tokio::select! {
            found = find_again(shared) => match found {
                Ok(comm) => comm,
                Err(error) => {
                    shared.session.change(|session| session.give_up(error.to_string().into()));
                    life.enter(Stage::Ended(error.clone()));
                    life.over(ClientEvent::GaveUp { cause: error });
                    return;
                }
            },
            () = closing => {
                shared.session.change(|session| session.disconnected("the client was closed".into()));
                life.enter(Stage::Ended(Error::closed()));
                return;
            }
        };
        shared.topics.renew(shared);
        life.enter(Stage::Connected);
        life.reconnected();
    }
}

/// Connects and registers again, with growing pauses, until that works, the policy's time is over, or what answers will
/// not do at any later time either.
async fn find_again(shared: &Shared) -> Result<Comm, Error> {
    let Some(policy) = shared.settings.reconnect else { return Err(Error::closed()) };
    let give_up = from_now(policy.within);
    let mut pause = policy.first_pause;
    for attempt in 1u64.. {
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(policy.longest_pause);
        let span = tracing::debug_span!("dask.reconnect", peer = %shared.address, attempt);
        match try_again(shared).instrument(span).await {
            Ok(comm) => return Ok(comm),
            Err(error) if !error.may_heal() => return Err(error),
            Err(error) if Instant::now() >= give_up => {
                return Err(Error::lost(
                    &shared.address,
                    format_args!("not reached again within {:?}; at last: {error}", policy.within),
                ));
            }
            Err(error) => tracing::debug!(scheduler = %shared.address, %error, "not reached yet"),
        }
    }
    Err(Error::closed())
}

async fn try_again(shared: &Shared) -> Result<Comm, Error> {
    let (mut comm, _) = shared.pool.dialer().open(&shared.address).await?;
    let before = Some(shared.dialect());
    let dialect = ask_dialect(&mut comm, &shared.address, shared.settings.connect_timeout, before).await?;
    // A name of its own, since the scheduler may not have noticed yet that the old stream is gone.
    let name = shared.settings.new_name();
    let first =
        timeout(shared.settings.rpc_timeout, register(&mut comm, &name, Value::Map(Vec::new()))).await;
    let first = first.map_err(|_| {
        Error::timeout(format_args!("registering at {}", shared.address), shared.settings.rpc_timeout)
    })??;
    // Before anything is submitted again: an attempt that fails later would have done it for nothing.
    first.value().map_err(|error| Error::wire(&shared.address, error))?;
    let resubmitted = shared.session.change(|session| session.reconnected(name, dialect));
    if let Err(error) = resubmitted {
        tracing::warn!(%error, "some work could not be submitted again");
    }
    deliver(shared, &first).map_err(|error| Error::wire(&shared.address, error))?;
    Ok(comm)
}
