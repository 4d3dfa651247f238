//! A running cluster.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::builder::{ClusterBuilder, Settings, WorkerSpec};
use crate::env::{self, Environment, Wanted};
use crate::event::Event;
use crate::launch::{self, Launch};
use crate::port::HeldPort;
use crate::start::{Process, Starter};
use crate::supervisor::{Spawn, Supervisor};
use crate::tail::{self, Deadline, Tail};
use crate::tls::{self, TlsFiles};
use crate::{Error, Protocol};

/// How long a signal may take to have its effect.
const SIGNAL: Duration = Duration::from_secs(10);

/// How long a script run with [`LocalCluster::run_python`] may take.
const SCRIPT: Duration = Duration::from_secs(120);

/// What is known of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerInfo {
    /// Its index, counted from 0; it stays the same when others end.
    pub index: usize,
    /// Its process; the nanny's, where there is one.
    pub pid: u32,
    /// Its name; its address, where none was given.
    pub name: String,
    /// The address it had when it became ready.
    pub address: String,
    /// Whether a nanny watches it.
    pub nanny: bool,
    /// Whether the process still runs.
    pub running: bool,
}

/// What a Python script printed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Output {
    /// Its exit status; negative: the number of the signal that ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// The standard output of a script that ended well, else an error with what it printed.
    pub fn ok(self) -> Result<String, Error> {
        if self.code == 0 {
            return Ok(self.stdout);
        }
        let output = crate::error::last_lines(&format!("{}\n{}", self.stdout, self.stderr), 30);
        Err(Error::ScriptFailed { code: self.code, output })
    }
}

#[derive(Debug, Clone)]
struct Worker {
    process: Process,
    spec: WorkerSpec,
}

/// A scheduler and its workers on loopback.
///
/// Dropping it ends every process and removes everything but the cached environment, in the
/// background; [`stop`](Self::stop) does so and waits for it. The death of the calling
/// process, however it comes, has the same effect.
#[derive(Debug)]
pub struct LocalCluster {
    settings: Settings,
    release: String,
    environment: Environment,
    launch: Launch,
    supervisor: Supervisor,
    scheduler: Mutex<Process>,
    workers: Mutex<Vec<Worker>>,
    port: u16,
    _held_port: HeldPort,
    dashboard: Option<String>,
    /// Workers that were to be started.
    count: AtomicUsize,
    spawning: tokio::sync::Mutex<()>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LocalCluster {
    /// Describes a cluster: the newest release, one worker of one thread, TCP, unless told
    /// otherwise.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    pub(crate) async fn start(
        settings: Settings,
        wanted: &Wanted,
        specs: Vec<WorkerSpec>,
        limit: Duration,
    ) -> Result<Self, Error> {
        let deadline = Deadline::new(limit);
        // Taken before the long work, which a taken port would have made in vain.
        let held_port = HeldPort::take(settings.scheduler_port)?;
        let environment = env::prepare(wanted, &settings.events, deadline).await?;
        let directory = tail::private_directory()?;
        let home = directory.path().join("home").join(".config").join("dask");
        std::fs::create_dir_all(&home).map_err(Error::io(format!("create {}", home.display())))?;
        let tls = match settings.protocol.is_encrypted() {
            true => Some(tls::make(directory.path())?),
            false => None,
        };
        let launch = Launch::new(&environment, directory.path(), tls, &settings)?;
        let supervisor = Supervisor::start(&environment.python, directory, settings.grace).await?;
        let started =
            Self::start_with(settings, environment, launch, supervisor, held_port, specs, deadline).await;
        match started {
            Ok(cluster) => Ok(cluster),
            Err((error, supervisor)) => {
                // What was started ends before the error is told, so that a second try finds
                // a clean machine.
                drop(supervisor.stop(Duration::from_secs(20)).await);
                Err(error)
            }
        }
    }

    async fn start_with(
        settings: Settings,
        environment: Environment,
        launch: Launch,
        supervisor: Supervisor,
        held_port: HeldPort,
        specs: Vec<WorkerSpec>,
        deadline: Deadline,
    ) -> Result<Self, (Error, Supervisor)> {
        let release = settings.release.to_string();
        let starter = Starter { settings: &settings, environment: &environment, supervisor: &supervisor };
        let (scheduler, port) = match starter.scheduler(&launch, held_port.number(), deadline).await {
            Ok(ready) => ready,
            Err(error) => return Err((error, supervisor)),
        };
        let dashboard = match settings.dashboard {
            true => tail::text(&scheduler.log).lines().find_map(launch::dashboard_address),
            false => None,
        };
        let cluster = Self {
            release,
            environment,
            launch,
            supervisor,
            scheduler: Mutex::new(scheduler),
            workers: Mutex::new(Vec::new()),
            port,
            _held_port: held_port,
            dashboard,
            settings,
            count: AtomicUsize::new(0),
            spawning: tokio::sync::Mutex::new(()),
        };
        match cluster.add_all(specs, deadline).await {
            Ok(()) => Ok(cluster),
            Err(error) => Err((error, cluster.supervisor)),
        }
    }

    fn starter(&self) -> Starter<'_> {
        Starter { settings: &self.settings, environment: &self.environment, supervisor: &self.supervisor }
    }

    /// Starts workers at once and waits for each.
    async fn add_all(&self, specs: Vec<WorkerSpec>, deadline: Deadline) -> Result<(), Error> {
        let deadline = deadline.within(self.settings.process_deadline);
        let mut started = Vec::new();
        for spec in specs {
            started.push(self.spawn_worker(spec).await?);
        }
        for pending in started {
            self.await_worker(pending, deadline).await?;
        }
        Ok(())
    }

    async fn spawn_worker(&self, spec: WorkerSpec) -> Result<Pending, Error> {
        // One at a time, so that the event tells the index that it gets; one that does not start takes none.
        let _turn = self.spawning.lock().await;
        let index = held(&self.workers).len();
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let log = self.launch.directory.join(format!("worker-{number}.log"));
        let tail = Tail::at_end(&log);
        self.settings.events.send(Event::StartingWorker { index });
        let start = Instant::now();
        let spawn = self.launch.worker(&self.settings, &spec, &self.address(), &log);
        let (id, pid) = self.supervisor.spawn(&spawn).await?;
        let process = Process { id, pid, address: String::new(), log };
        held(&self.workers).push(Worker { process: process.clone(), spec });
        Ok(Pending { index, process, tail, start })
    }

    async fn await_worker(&self, pending: Pending, deadline: Deadline) -> Result<usize, Error> {
        let Pending { index, process, mut tail, start } = pending;
        let mut address = None;
        let ready = |line: &str| {
            if let Some(found) = launch::worker_address(line) {
                address = Some(found);
            }
            launch::is_registered(line)
        };
        self.starter().ready(&format!("worker {index}"), &process, &mut tail, deadline, ready).await?;
        let address = address.unwrap_or_default();
        for worker in held(&self.workers).iter_mut().filter(|worker| worker.process.id == process.id) {
            worker.process.address.clone_from(&address);
        }
        self.settings.events.send(Event::WorkerReady { index, address, elapsed: start.elapsed() });
        Ok(index)
    }

    /// The scheduler's address, such as `tcp://127.0.0.1:8786`.
    pub fn address(&self) -> String {
        held(&self.scheduler).address.clone()
    }

    /// The scheduler's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How the processes speak.
    pub fn protocol(&self) -> Protocol {
        self.settings.protocol
    }

    /// The release that runs, such as `2026.8.0`.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The environment it runs in.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The interpreter of that environment, to run Python clients of the same release.
    pub fn python(&self) -> &Path {
        &self.environment.python
    }

    /// The certificates, where the protocol is encrypted.
    pub fn tls(&self) -> Option<&TlsFiles> {
        self.launch.tls.as_ref()
    }

    /// The dashboard's address, where there is one.
    pub fn dashboard(&self) -> Option<&str> {
        self.dashboard.as_deref()
    }

    /// The file in which the scheduler tells its address, as Dask's `--scheduler-file`.
    pub fn scheduler_file(&self) -> PathBuf {
        self.launch.scheduler_file()
    }

    /// The private directory, which goes with the cluster.
    pub fn directory(&self) -> &Path {
        self.supervisor.directory()
    }

    /// Whether the scheduler's process runs, by what its supervisor knows.
    pub fn scheduler_is_running(&self) -> bool {
        let id = held(&self.scheduler).id;
        self.supervisor.child(id).exit.is_none()
    }

    /// The scheduler's process.
    pub fn scheduler_pid(&self) -> u32 {
        held(&self.scheduler).pid
    }

    /// The process that ends the others when the calling process is gone.
    pub fn supervisor_pid(&self) -> Option<u32> {
        self.supervisor.pid()
    }

    /// Every worker that was started, also those that have ended.
    pub fn workers(&self) -> Vec<WorkerInfo> {
        let describe = |(index, Worker { process, spec }): (usize, &Worker)| WorkerInfo {
            index,
            pid: process.pid,
            name: spec.name.clone().unwrap_or_else(|| process.address.clone()),
            address: process.address.clone(),
            nanny: spec.nanny,
            running: self.supervisor.child(process.id).exit.is_none(),
        };
        held(&self.workers).iter().enumerate().map(describe).collect()
    }

    /// What the scheduler has logged.
    pub fn scheduler_log(&self) -> String {
        tail::text(&held(&self.scheduler).log)
    }

    /// What a worker has logged.
    pub fn worker_log(&self, index: usize) -> Result<String, Error> {
        Ok(tail::text(&self.worker(index)?.process.log))
    }

    /// Every log, the scheduler's first, each with its name.
    pub fn logs(&self) -> Vec<(String, String)> {
        let mut list = vec![("scheduler".to_owned(), self.scheduler_log())];
        for (index, worker) in held(&self.workers).iter().enumerate() {
            list.push((format!("worker {index}"), tail::text(&worker.process.log)));
        }
        list
    }

    fn worker(&self, index: usize) -> Result<Worker, Error> {
        let workers = held(&self.workers);
        let count = workers.len();
        workers.get(index).cloned().ok_or(Error::NoSuchWorker { index, count })
    }

    /// Starts one worker more and waits until it is registered; its index.
    pub async fn add_worker(&self, spec: WorkerSpec) -> Result<usize, Error> {
        let pending = self.spawn_worker(spec).await?;
        self.await_worker(pending, Deadline::new(self.settings.process_deadline)).await
    }

    /// Ends a worker at once (SIGKILL), with its nanny, where there is one.
    pub async fn kill_worker(&self, index: usize) -> Result<(), Error> {
        let process = self.worker(index)?.process;
        self.kill(&format!("worker {index}"), process.id).await
    }

    /// Asks a worker to end (SIGTERM) and waits for it; one that does not is killed after the
    /// grace of the builder and ten seconds.
    pub async fn stop_worker(&self, index: usize) -> Result<(), Error> {
        let process = self.worker(index)?.process;
        let what = format!("worker {index}");
        self.running(&what, process.id)?;
        self.supervisor.signal(process.id, "TERM", false).await?;
        match self.supervisor.exit(process.id, self.settings.grace.saturating_add(SIGNAL)).await? {
            Some(_) => Ok(()),
            None => self.kill(&what, process.id).await,
        }
    }

    /// Stops a worker's clock (SIGSTOP): it answers nothing until it is resumed.
    pub async fn pause_worker(&self, index: usize) -> Result<(), Error> {
        self.signal(&format!("worker {index}"), self.worker(index)?.process.id, "STOP").await
    }

    /// Lets a paused worker go on (SIGCONT).
    pub async fn resume_worker(&self, index: usize) -> Result<(), Error> {
        self.signal(&format!("worker {index}"), self.worker(index)?.process.id, "CONT").await
    }

    /// Stops the scheduler's clock (SIGSTOP).
    pub async fn pause_scheduler(&self) -> Result<(), Error> {
        let id = held(&self.scheduler).id;
        self.signal("the scheduler", id, "STOP").await
    }

    /// Lets the paused scheduler go on (SIGCONT).
    pub async fn resume_scheduler(&self) -> Result<(), Error> {
        let id = held(&self.scheduler).id;
        self.signal("the scheduler", id, "CONT").await
    }

    /// Ends the scheduler at once (SIGKILL).
    pub async fn kill_scheduler(&self) -> Result<(), Error> {
        let id = held(&self.scheduler).id;
        self.kill("the scheduler", id).await
    }

    /// Starts the scheduler anew on its port, after ending it if it still runs.
    ///
    /// Workers of older releases come back by themselves; those of newer ones end when they
    /// lose their scheduler, so that new ones are needed ([`add_worker`](Self::add_worker)).
    pub async fn restart_scheduler(&self) -> Result<(), Error> {
        if self.scheduler_is_running() {
            self.kill_scheduler().await?;
        }
        let deadline = Deadline::new(self.settings.process_deadline);
        let (process, _) = self.starter().scheduler(&self.launch, self.port, deadline).await?;
        *held(&self.scheduler) = process;
        Ok(())
    }

    fn running(&self, what: &str, id: u64) -> Result<(), Error> {
        match self.supervisor.child(id).exit {
            None => Ok(()),
            code => Err(Error::NotRunning { what: what.to_owned(), code }),
        }
    }

    async fn signal(&self, what: &str, id: u64, signal: &'static str) -> Result<(), Error> {
        self.running(what, id)?;
        self.supervisor.signal(id, signal, true).await
    }

    async fn kill(&self, what: &str, id: u64) -> Result<(), Error> {
        self.signal(what, id, "KILL").await?;
        match self.supervisor.exit(id, SIGNAL).await? {
            Some(_) => Ok(()),
            None => {
                let what = format!("could not kill {what} within {SIGNAL:.0?}");
                Err(Error::Supervisor { what, log: String::new() })
            }
        }
    }

    /// Runs a Python script in the cluster's environment, for at most two minutes. The
    /// scheduler's address is in its variable `DASK_LOCAL_SCHEDULER`; the certificates, where
    /// there are any, are in Dask's configuration already.
    pub async fn run_python(&self, code: &str, args: &[&str]) -> Result<Output, Error> {
        self.run_python_within(code, args, SCRIPT).await
    }

    /// As [`run_python`](Self::run_python), for at most `limit`.
    pub async fn run_python_within(
        &self,
        code: &str,
        args: &[&str],
        limit: Duration,
    ) -> Result<Output, Error> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let script = self.launch.directory.join(format!("script-{number}.py"));
        std::fs::write(&script, code).map_err(Error::io(format!("write {}", script.display())))?;
        let spawn: Spawn = self.launch.script(&script, args, &self.address());
        let (id, _) = self.supervisor.spawn(&spawn).await?;
        let (out, err) = (script.with_extension("out"), script.with_extension("err"));
        match self.supervisor.exit(id, limit).await? {
            Some(code) => Ok(Output { code, stdout: tail::text(&out), stderr: tail::text(&err) }),
            None => {
                self.kill("the script", id).await?;
                let output = format!("{}\n{}", tail::end(&out), tail::end(&err));
                Err(Error::ScriptTimeout { after: limit, output })
            }
        }
    }

    /// Ends every process, removes the private directory, and waits for both.
    pub async fn stop(self) -> Result<(), Error> {
        let start = Instant::now();
        self.settings.events.send(Event::Stopping);
        self.supervisor
            .stop(self.settings.grace.saturating_mul(2).saturating_add(Duration::from_secs(30)))
            .await?;
        self.settings.events.send(Event::Stopped { elapsed: start.elapsed() });
        Ok(())
    }
}

/// A worker that is not ready yet.
struct Pending {
    index: usize,
    process: Process,
    tail: Tail,
    start: Instant,
}
