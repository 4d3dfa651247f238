//! The command lines and the environment of the scheduler and the workers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::builder::{Protocol, Settings, WorkerSpec};
use crate::env::Environment;
use crate::supervisor::Spawn;
use crate::tls::TlsFiles;
use crate::{Error, process_env};

/// Read by every Python of a cluster that speaks WebSocket: Dask listens for it on every
/// interface, whatever host it is told, and this keeps it to loopback.
const ONLY_LOOPBACK: &str = r#"
import tornado.tcpserver

listen_anywhere = tornado.tcpserver.TCPServer.listen


def listen(self, port, address=None, *args, **kwargs):
    return listen_anywhere(self, port, address or "127.0.0.1", *args, **kwargs)


tornado.tcpserver.TCPServer.listen = listen
"#;

/// What every command line of one cluster is made from.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) python: PathBuf,
    pub(crate) directory: PathBuf,
    pub(crate) tls: Option<TlsFiles>,
    env: BTreeMap<String, String>,
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

impl Launch {
    pub(crate) fn new(
        environment: &Environment,
        directory: &Path,
        tls: Option<TlsFiles>,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let mut env = process_env::inherited();
        let scripts = environment.python.parent().unwrap_or(&environment.path);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path =
            std::env::join_paths(std::iter::once(scripts.to_owned()).chain(std::env::split_paths(&path)));
        env.extend(path.ok().and_then(|path| path.into_string().ok()).map(|path| ("PATH".to_owned(), path)));
        let mut set = |name: &str, value: String| env.insert(name.to_owned(), value);
        set("VIRTUAL_ENV", text(&environment.path));
        set("PYTHONUNBUFFERED", "1".to_owned());
        set("PYTHONIOENCODING", "utf-8".to_owned());
        // The user's own configuration of Dask is neither read nor written.
        let home = directory.join("home");
        set("HOME", text(&home));
        set("USERPROFILE", text(&home));
        set("XDG_CONFIG_HOME", text(&home.join(".config")));
        set("DASK_CONFIG", text(&home.join(".config").join("dask")));
        set("DASK_ROOT_CONFIG", text(&home.join("etc")));
        set("DASK_TEMPORARY_DIRECTORY", text(directory));
        if let Some(tls) = &tls {
            set("DASK_DISTRIBUTED__COMM__TLS__CA_FILE", text(&tls.ca));
            for role in ["SCHEDULER", "WORKER", "CLIENT"] {
                set(&format!("DASK_DISTRIBUTED__COMM__TLS__{role}__CERT"), text(&tls.cert));
                set(&format!("DASK_DISTRIBUTED__COMM__TLS__{role}__KEY"), text(&tls.key));
            }
        }
        if matches!(settings.protocol, Protocol::Ws | Protocol::Wss) {
            let site = directory.join("site");
            let file = site.join("sitecustomize.py");
            std::fs::create_dir_all(&site)
                .and_then(|()| std::fs::write(&file, ONLY_LOOPBACK))
                .map_err(Error::io(format!("write {}", file.display())))?;
            set("PYTHONPATH", text(&site));
        }
        env.extend(settings.env.clone());
        Ok(Self { python: environment.python.clone(), directory: directory.to_owned(), tls, env })
    }

    fn spawn(&self, args: Vec<String>, log: &Path) -> Spawn {
        let mut argv = vec![text(&self.python)];
        argv.extend(args);
        Spawn {
            argv,
            env: self.env.clone(),
            cwd: self.directory.clone(),
            out: log.to_owned(),
            err: None,
            last: false,
        }
    }

    fn tls_args(&self) -> Vec<String> {
        match &self.tls {
            None => Vec::new(),
            Some(tls) => [("--tls-ca-file", &tls.ca), ("--tls-cert", &tls.cert), ("--tls-key", &tls.key)]
                .into_iter()
                .flat_map(|(option, path)| [option.to_owned(), text(path)])
                .collect(),
        }
    }

    /// Where the scheduler writes its address for others.
    pub(crate) fn scheduler_file(&self) -> PathBuf {
        self.directory.join("scheduler.json")
    }

    pub(crate) fn scheduler(&self, settings: &Settings, port: u16, log: &Path) -> Spawn {
        let mut args: Vec<String> = ["-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port"]
            .map(str::to_owned)
            .to_vec();
        args.push(port.to_string());
        args.push(if settings.dashboard { "--dashboard" } else { "--no-dashboard" }.to_owned());
        // The scheduler serves HTTP (its health, its metrics) even without a dashboard.
        args.extend(["--dashboard-address", "127.0.0.1:0"].map(str::to_owned));
        args.extend(["--protocol".to_owned(), settings.protocol.scheme().to_owned()]);
        args.extend(["--scheduler-file".to_owned(), text(&self.scheduler_file())]);
        args.extend(self.tls_args());
        args.extend(settings.scheduler_args.iter().cloned());
        Spawn { last: true, ..self.spawn(args, log) }
    }

    pub(crate) fn worker(
        &self,
        settings: &Settings,
        spec: &WorkerSpec,
        scheduler: &str,
        log: &Path,
    ) -> Spawn {
        let local = log.with_extension("space");
        let mut args: Vec<String> = ["-m", "distributed.cli.dask_worker"].map(str::to_owned).to_vec();
        args.push(scheduler.to_owned());
        args.extend(
            ["--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
                .map(str::to_owned),
        );
        args.extend(["--nthreads".to_owned(), spec.threads.to_string()]);
        args.push(if spec.nanny { "--nanny" } else { "--no-nanny" }.to_owned());
        args.extend(["--protocol".to_owned(), settings.protocol.scheme().to_owned()]);
        args.extend(["--local-directory".to_owned(), text(&local)]);
        if let Some(name) = &spec.name {
            args.extend(["--name".to_owned(), name.clone()]);
        }
        if let Some(limit) = &spec.memory_limit {
            args.extend(["--memory-limit".to_owned(), limit.clone()]);
        }
        if !spec.resources.is_empty() {
            let list: Vec<String> =
                spec.resources.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
            args.extend(["--resources".to_owned(), list.join(" ")]);
        }
        args.extend(self.tls_args());
        args.extend(spec.args.iter().cloned());
        let mut spawn = self.spawn(args, log);
        spawn.env.extend(spec.env.clone());
        spawn
    }

    /// A script of the caller, with the scheduler's address in `DASK_LOCAL_SCHEDULER`.
    pub(crate) fn script(&self, script: &Path, args: &[&str], scheduler: &str) -> Spawn {
        let mut list = vec![text(script)];
        list.extend(args.iter().map(|arg| (*arg).to_owned()));
        let mut spawn = self.spawn(list, &script.with_extension("out"));
        spawn.err = Some(script.with_extension("err"));
        spawn.env.insert("DASK_LOCAL_SCHEDULER".to_owned(), scheduler.to_owned());
        spawn
    }
}

/// The scheduler's address in its log, and the port of it.
pub(crate) fn scheduler_address(line: &str) -> Option<(String, u16)> {
    let address = after(line, "Scheduler at:")?;
    let port = address.rsplit(':').next()?.parse().ok()?;
    Some((address, port))
}

/// The worker's own address in its log.
pub(crate) fn worker_address(line: &str) -> Option<String> {
    after(line, "Start worker at:")
}

/// Whether the worker says here that the scheduler has registered it.
pub(crate) fn is_registered(line: &str) -> bool {
    after(line, "Registered to:").is_some()
}

/// The address of the dashboard in the scheduler's log.
pub(crate) fn dashboard_address(line: &str) -> Option<String> {
    let address = after(line, "dashboard at:")?;
    Some(if address.contains("://") { address } else { format!("http://{address}/status") })
}

fn after(line: &str, words: &str) -> Option<String> {
    let (_, rest) = line.split_once(words)?;
    let rest = rest.trim().trim_matches('\'');
    (!rest.is_empty()).then(|| rest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_logs() {
        let line = "distributed.scheduler - INFO -   Scheduler at:     tcp://127.0.0.1:41231";
        assert_eq!(scheduler_address(line), Some(("tcp://127.0.0.1:41231".to_owned(), 41231)));
        let line = "2026-01-01 00:00:00,000 - distributed.scheduler - INFO -   dashboard at:  http://127.0.0.1:8787/status";
        assert_eq!(dashboard_address(line).as_deref(), Some("http://127.0.0.1:8787/status"));
        assert_eq!(
            dashboard_address("  dashboard at:   127.0.0.1:87").as_deref(),
            Some("http://127.0.0.1:87/status")
        );
        let line = "distributed.worker - INFO -       Start worker at:      tcp://127.0.0.1:33333";
        assert_eq!(worker_address(line).as_deref(), Some("tcp://127.0.0.1:33333"));
        assert!(is_registered(
            "distributed.worker - INFO -         Registered to:      tcp://127.0.0.1:8786"
        ));
        assert!(!is_registered("Waiting to connect to: tcp://127.0.0.1:8786"));
        assert_eq!(scheduler_address("nothing"), None);
    }
}
