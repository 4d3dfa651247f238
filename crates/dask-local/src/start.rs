//! Starts a process and sees it become ready.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Instant;

use crate::Error;
use crate::builder::Settings;
use crate::env::Environment;
use crate::event::Event;
use crate::launch::{self, Launch};
use crate::port;
use crate::supervisor::Supervisor;
use crate::tail::{self, Deadline, POLL, Tail};

/// A process that was started for the cluster.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    /// The supervisor's number for it.
    pub(crate) id: u64,
    pub(crate) pid: u32,
    pub(crate) address: String,
    pub(crate) log: PathBuf,
}

/// What is needed to start a process and to see it become ready.
pub(crate) struct Starter<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) environment: &'a Environment,
    pub(crate) supervisor: &'a Supervisor,
}

impl Starter<'_> {
    pub(crate) async fn scheduler(
        &self,
        launch: &Launch,
        port: u16,
        deadline: Deadline,
    ) -> Result<(Process, u16), Error> {
        let deadline = deadline.within(self.settings.process_deadline);
        port::check(port)?;
        let log = launch.directory.join("scheduler.log");
        let mut tail = Tail::at_end(&log);
        self.settings.events.send(Event::StartingScheduler { release: self.settings.release.to_string() });
        let start = Instant::now();
        let (id, pid) = self.supervisor.spawn(&launch.scheduler(self.settings, port, &log)).await?;
        let mut process = Process { id, pid, address: String::new(), log };
        let mut found = None;
        let ready = |line: &str| {
            found = found.take().or_else(|| launch::scheduler_address(line));
            found.is_some()
        };
        match self.ready("the scheduler", &process, &mut tail, deadline, ready).await {
            // It was taken between the check and the start.
            Err(Error::Exited { log, .. }) if port != 0 && log.contains("ddress already in use") => {
                return Err(Error::PortTaken { port });
            }
            other => other?,
        }
        let (address, port) = found.unwrap_or_default();
        self.accepts(port, &process, deadline).await?;
        process.address.clone_from(&address);
        self.settings.events.send(Event::SchedulerReady { address, pid, elapsed: start.elapsed() });
        Ok((process, port))
    }

    /// Waits until a line of a process's log says that it is ready.
    pub(crate) async fn ready(
        &self,
        what: &str,
        process: &Process,
        tail: &mut Tail,
        deadline: Deadline,
        mut is_ready: impl FnMut(&str) -> bool,
    ) -> Result<(), Error> {
        loop {
            let exit = self.supervisor.exit(process.id, POLL.min(deadline.left())).await?;
            if tail.lines().iter().any(|line| is_ready(line)) && exit.is_none() {
                return Ok(());
            }
            let (what, release) = (what.to_owned(), self.settings.release.to_string());
            let log = || tail::end(&process.log);
            if let Some(code) = exit {
                let environment = self.environment.path.clone();
                return Err(Error::Exited { what, release, code, log: log(), environment });
            }
            if deadline.passed() {
                return Err(Error::StartTimeout { what, release, after: deadline.after, log: log() });
            }
        }
    }

    /// Proves that the scheduler accepts a connection.
    async fn accepts(&self, port: u16, process: &Process, deadline: Deadline) -> Result<(), Error> {
        let connect = async {
            while tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(deadline.left(), connect).await.map_err(|_| Error::StartTimeout {
            what: format!("port {port} of the scheduler"),
            release: self.settings.release.to_string(),
            after: deadline.after,
            log: tail::end(&process.log),
        })
    }
}
