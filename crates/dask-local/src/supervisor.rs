//! The process that owns the cluster's processes.
//!
//! It is a small Python program (`supervisor.py`) that holds the other end of a pipe. When the
//! pipe closes, for whatever reason, it ends every process it has started and removes the
//! private directory. So nothing stays behind even when the calling process is killed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Mutex, watch};

use crate::Error;
use crate::error::last_lines;

const SCRIPT: &str = include_str!("supervisor.py");

/// How long the supervisor may take to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// What is known of a process.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChildState {
    pub(crate) pid: Option<u32>,
    pub(crate) exit: Option<i32>,
    error: Option<String>,
}

#[derive(Debug, Clone, Default)]
struct State {
    ready: bool,
    gone: bool,
    children: BTreeMap<u64, ChildState>,
    /// The latest order to signal that was carried out.
    signalled: u64,
}

/// A command to start.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Spawn {
    pub(crate) argv: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) cwd: PathBuf,
    /// The file that gets standard output (and standard error, without `err`).
    pub(crate) out: PathBuf,
    pub(crate) err: Option<PathBuf>,
    /// Whether it is to end after all the others.
    pub(crate) last: bool,
}

#[derive(Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Order<'a> {
    Spawn {
        id: u64,
        #[serde(flatten)]
        spawn: &'a Spawn,
    },
    Signal {
        id: u64,
        order: u64,
        signal: &'static str,
        group: bool,
    },
}

#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Report {
    Ready {},
    Started { id: u64, pid: u32 },
    Failed { id: u64, message: String },
    Exited { id: u64, code: i32 },
    Signalled { order: u64 },
    Stopped {},
}

/// The supervisor of one private directory and of every process started for it.
#[derive(Debug)]
pub(crate) struct Supervisor {
    stdin: Mutex<Option<ChildStdin>>,
    signalling: Mutex<()>,
    process: Mutex<Child>,
    state: watch::Receiver<State>,
    directory: PathBuf,
    errors: PathBuf,
    pid: Option<u32>,
    next: std::sync::atomic::AtomicU64,
}

impl Supervisor {
    /// Starts a supervisor with `python`; from here on it removes `directory`. `grace` is what
    /// its processes get to end by themselves.
    pub(crate) async fn start(
        python: &Path,
        directory: tempfile::TempDir,
        grace: Duration,
    ) -> Result<Self, Error> {
        let errors = directory.path().join("supervisor.log");
        let log =
            std::fs::File::create(&errors).map_err(Error::io(format!("create {}", errors.display())))?;
        let mut command = Command::new(python);
        command
            .args(["-I", "-S", "-u", "-c", SCRIPT])
            .arg(directory.path())
            .arg(grace.as_secs_f64().to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).current_dir(std::env::temp_dir());
        // A signal for the caller's process group (Ctrl-C) must not reach it.
        #[cfg(unix)]
        command.process_group(0);
        let mut process =
            command.spawn().map_err(Error::io(format!("start the supervisor with {}", python.display())))?;
        let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
        let (sender, mut state) = watch::channel(State::default());
        if let Some(stdout) = stdout {
            tokio::spawn(listen(stdout, sender));
        }
        let ready = tokio::time::timeout(ANSWER, state.wait_for(|state| state.ready || state.gone)).await;
        if !matches!(&ready, Ok(Ok(state)) if state.ready) {
            drop(ready);
            let log = last_lines(&std::fs::read_to_string(&errors).unwrap_or_default(), 10);
            return Err(Error::Supervisor { what: format!("did not start with {}", python.display()), log });
        }
        drop(ready);
        let pid = process.id();
        let directory = directory.keep();
        let next = std::sync::atomic::AtomicU64::new(1);
        Ok(Self {
            stdin: Mutex::new(stdin),
            signalling: Mutex::new(()),
            process: Mutex::new(process),
            state,
            directory,
            errors,
            pid,
            next,
        })
    }

    /// The private directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The supervisor's own process.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Starts a process; its number here and its process id.
    pub(crate) async fn spawn(&self, spawn: &Spawn) -> Result<(u64, u32), Error> {
        let id = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.order(&Order::Spawn { id, spawn }).await?;
        let child = self.wait(id, ANSWER, |child| child.pid.is_some() || child.error.is_some()).await?;
        match child {
            Some(ChildState { pid: Some(pid), .. }) => Ok((id, pid)),
            Some(ChildState { error: Some(error), .. }) => {
                let program = spawn.argv.first().cloned().unwrap_or_default();
                Err(Error::io(format!("start {program}"))(std::io::Error::other(error)))
            }
            _ => Err(self.lost("did not answer")),
        }
    }

    /// Sends a signal (`KILL`, `TERM`, `STOP`, `CONT`) to a process, or to all of its group. Returns when that is done; a
    /// process that was to stop stands still then.
    pub(crate) async fn signal(&self, id: u64, signal: &'static str, group: bool) -> Result<(), Error> {
        // One at a time, so that they are carried out in the order of their numbers.
        let _turn = self.signalling.lock().await;
        let order = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.order(&Order::Signal { id, order, signal, group }).await?;
        let mut state = self.state.clone();
        let done = state.wait_for(|state| state.gone || state.signalled >= order);
        match tokio::time::timeout(ANSWER, done).await {
            Ok(Ok(state)) if state.signalled >= order => Ok(()),
            Ok(_) => Err(self.lost("is gone")),
            Err(_) => Err(self.lost("did not answer")),
        }
    }

    /// What is known of a process.
    pub(crate) fn child(&self, id: u64) -> ChildState {
        self.state.borrow().children.get(&id).cloned().unwrap_or_default()
    }

    /// Waits until a process has ended; `None` when it still runs after `limit`.
    pub(crate) async fn exit(&self, id: u64, limit: Duration) -> Result<Option<i32>, Error> {
        let child = self.wait(id, limit, |child| child.exit.is_some() || child.error.is_some()).await?;
        Ok(child.and_then(|child| child.exit))
    }

    async fn wait(
        &self,
        id: u64,
        limit: Duration,
        done: impl Fn(&ChildState) -> bool,
    ) -> Result<Option<ChildState>, Error> {
        let mut state = self.state.clone();
        let found = |state: &State| state.children.get(&id).filter(|child| done(child)).cloned();
        let waited =
            tokio::time::timeout(limit, state.wait_for(|state| state.gone || found(state).is_some())).await;
        match waited {
            Err(_) => Ok(None),
            Ok(Ok(state)) => match found(&state) {
                Some(child) => Ok(Some(child)),
                None => Err(self.lost("is gone")),
            },
            Ok(Err(_)) => Err(self.lost("is gone")),
        }
    }

    async fn order(&self, order: &Order<'_>) -> Result<(), Error> {
        let mut line = serde_json::to_vec(order).map_err(|error| self.lost(&error.to_string()))?;
        line.push(b'\n');
        let mut stdin = self.stdin.lock().await;
        let Some(stdin) = stdin.as_mut() else { return Err(self.lost("was stopped")) };
        stdin.write_all(&line).await.map_err(|_| self.lost("is gone"))?;
        stdin.flush().await.map_err(|_| self.lost("is gone"))
    }

    fn lost(&self, what: &str) -> Error {
        let log = std::fs::read_to_string(&self.errors).unwrap_or_default();
        Error::Supervisor { what: what.to_owned(), log: last_lines(&log, 10) }
    }

    /// Ends every process, removes the directory, and waits for that.
    pub(crate) async fn stop(&self, limit: Duration) -> Result<(), Error> {
        drop(self.stdin.lock().await.take());
        let mut process = self.process.lock().await;
        match tokio::time::timeout(limit, process.wait()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Error::io("wait for the supervisor")(error)),
            Err(_) => Err(self.lost(&format!("did not end within {limit:.0?}"))),
        }
    }
}

/// Keeps the state up to date until the supervisor closes its output.
async fn listen(stdout: ChildStdout, sender: watch::Sender<State>) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let report = match serde_json::from_str::<Report>(&line) {
            Ok(report) => report,
            Err(error) => {
                tracing::warn!(target: "dask_local", "the supervisor said {line:?}: {error}");
                continue;
            }
        };
        sender.send_modify(|state| match report {
            Report::Ready {} => state.ready = true,
            Report::Started { id, pid } => state.children.entry(id).or_default().pid = Some(pid),
            Report::Failed { id, message } => state.children.entry(id).or_default().error = Some(message),
            Report::Exited { id, code } => state.children.entry(id).or_default().exit = Some(code),
            Report::Signalled { order } => state.signalled = order,
            Report::Stopped {} => state.gone = true,
        });
    }
    sender.send_modify(|state| state.gone = true);
}
