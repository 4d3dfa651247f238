//! Makes a virtual environment with one interpreter, by `uv` or by `venv` and `pip`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::last_lines;
use crate::event::{Event, Listener};
use crate::python::Python;
use crate::release::Release;
use crate::supervisor::{Spawn, Supervisor};
use crate::tail::{self, Deadline, POLL, Tail};
use crate::{Error, process_env};

/// What makes the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Installer {
    /// `uv` where it is on PATH, else (or where it fails) `venv` and `pip`.
    #[default]
    Auto,
    /// Only `uv`.
    Uv,
    /// Only the interpreter's own `venv` and `pip`.
    Pip,
}

/// How making an environment failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The index could not be reached.
    Network,
    /// The index has no such release.
    NoRelease,
    /// The release does not support this Python.
    WrongPython,
    /// The time is over.
    Deadline,
    /// Anything else.
    Other,
}

/// One failed way of making an environment.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) reason: String,
    pub(crate) output: String,
}

/// What to install, and where.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) release: &'a Release,
    pub(crate) python: &'a Python,
    pub(crate) requirements: &'a [String],
    pub(crate) uv: Option<&'a Path>,
    pub(crate) events: &'a Listener,
    pub(crate) deadline: Deadline,
}

/// The interpreter of an environment.
pub(crate) fn interpreter(directory: &Path) -> PathBuf {
    if cfg!(windows) { directory.join("Scripts/python.exe") } else { directory.join("bin/python") }
}

/// `uv`, if it is on PATH and runs.
pub(crate) async fn find_uv() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let name = if cfg!(windows) { "uv.exe" } else { "uv" };
    for directory in std::env::split_paths(&path).filter(|directory| directory.is_absolute()) {
        let file = directory.join(name);
        if !file.is_file() {
            continue;
        }
        let mut command = tokio::process::Command::new(&file);
        command.arg("--version").stdin(std::process::Stdio::null()).kill_on_drop(true);
        let answer = tokio::time::timeout(std::time::Duration::from_secs(10), command.output()).await;
        if matches!(answer, Ok(Ok(output)) if output.status.success()) {
            return Some(file);
        }
    }
    None
}

/// Makes the environment and proves that the scheduler and the worker can be imported in it.
/// `Ok(Err(..))`: this interpreter did not do.
pub(crate) async fn install(plan: &Plan<'_>, installer: Installer) -> Result<Result<String, Failure>, Error> {
    let supervisor =
        Supervisor::start(&plan.python.executable, tail::private_directory()?, std::time::Duration::ZERO)
            .await?;
    let result = install_with(&supervisor, plan, installer).await;
    supervisor.stop(std::time::Duration::from_secs(20)).await?;
    result
}

async fn install_with(
    supervisor: &Supervisor,
    plan: &Plan<'_>,
    installer: Installer,
) -> Result<Result<String, Failure>, Error> {
    let mut result = None;
    if installer != Installer::Pip
        && let Some(uv) = plan.uv
    {
        result = Some(run(supervisor, plan, "uv", &uv_steps(plan, uv)).await?);
    }
    let again = match &result {
        None => true,
        Some(Ok(())) => false,
        Some(Err(failure)) => {
            installer == Installer::Auto && matches!(failure.kind, Kind::Network | Kind::Other)
        }
    };
    if again && installer != Installer::Uv && plan.python.has_venv() {
        if let Some(Err(failure)) = &result {
            let reason = format!("{}: {}", failure.reason, last_lines(&failure.output, 1).trim());
            plan.events.send(Event::InstallerFailed { installer: "uv", reason });
        }
        result = Some(run(supervisor, plan, "pip", &pip_steps(plan)).await?);
    }
    match result {
        Some(Ok(())) => {}
        Some(Err(failure)) => return Ok(Err(failure)),
        None => {
            let reason = "uv is not on PATH".to_owned();
            return Ok(Err(Failure { kind: Kind::Other, reason, output: String::new() }));
        }
    }
    let check = [vec![
        text(&interpreter(plan.directory)),
        "-c".to_owned(),
        "import distributed.cli.dask_scheduler, distributed.cli.dask_worker, dask, distributed\n\
         print('versions:', 'distributed', distributed.__version__, 'dask', dask.__version__)"
            .to_owned(),
    ]];
    let log = supervisor.directory().join("import.log");
    match steps(supervisor, plan, &check, &log).await? {
        Ok(()) => Ok(Ok(tail::text(&log))),
        Err(mut failure) => {
            if failure.kind != Kind::Deadline {
                failure.kind = Kind::Other;
                "what was installed cannot be imported".clone_into(&mut failure.reason);
            }
            Ok(Err(failure))
        }
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|item| (*item).to_owned()).collect()
}

fn uv_steps(plan: &Plan<'_>, uv: &Path) -> Vec<Vec<String>> {
    let (uv, python) = (text(uv), text(&plan.python.executable));
    let mut install = vec![uv.clone()];
    install.extend(strings(&["pip", "install", "--python"]));
    install.push(text(&interpreter(plan.directory)));
    install.extend(plan.requirements.iter().cloned());
    if plan.release.dask().is_none() {
        // uv takes a release that was withdrawn only where it is asked for by itself.
        install.push(format!("dask=={}", plan.release.month_release()));
    }
    let mut venv = vec![uv];
    // A project that happens to surround the current directory has no say.
    venv.extend(strings(&["venv", "--no-project", "--python"]));
    venv.extend([python, text(plan.directory)]);
    vec![venv, install]
}

fn pip_steps(plan: &Plan<'_>) -> Vec<Vec<String>> {
    let python = text(&interpreter(plan.directory));
    let pip = |args: &[&str]| {
        let mut step = vec![python.clone()];
        step.extend(strings(&["-m", "pip", "install", "--disable-pip-version-check", "--no-input"]));
        step.extend(strings(args));
        step
    };
    let mut venv = vec![text(&plan.python.executable)];
    venv.extend(strings(&["-m", "venv", "--clear"]));
    venv.push(text(plan.directory));
    let mut list = vec![venv];
    if plan.python.minor() <= 7 {
        // The pip that comes with these knows none of the newer kinds of wheels, nor --no-input
        // for its own upgrade.
        list.push([vec![python.clone()], strings(&["-m", "pip", "install", "--upgrade", "pip"])].concat());
    }
    let mut install = pip(&["--prefer-binary"]);
    install.extend(plan.requirements.iter().cloned());
    list.push(install);
    list
}

async fn run(
    supervisor: &Supervisor,
    plan: &Plan<'_>,
    installer: &'static str,
    list: &[Vec<String>],
) -> Result<Result<(), Failure>, Error> {
    plan.events.send(Event::CreatingEnvironment { path: plan.directory.to_owned(), installer });
    clear(plan.directory)?;
    let log = supervisor.directory().join(format!("{installer}.log"));
    steps(supervisor, plan, list, &log).await
}

/// Removes what is left of an environment.
pub(crate) fn clear(directory: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("remove {}", directory.display()))(error))
        }
        _ => Ok(()),
    }
}

/// Runs commands one after the other, as long as each succeeds.
async fn steps(
    supervisor: &Supervisor,
    plan: &Plan<'_>,
    list: &[Vec<String>],
    log: &Path,
) -> Result<Result<(), Failure>, Error> {
    for argv in list {
        let spawn = Spawn {
            argv: argv.clone(),
            env: environment(),
            cwd: supervisor.directory().to_owned(),
            out: log.to_owned(),
            err: None,
            last: false,
        };
        let mut tail = Tail::at_end(log);
        let (id, _) = supervisor.spawn(&spawn).await?;
        let code = loop {
            let code = supervisor.exit(id, POLL.min(plan.deadline.left())).await?;
            for line in tail.lines() {
                plan.events.send(Event::Installing { line });
            }
            match code {
                Some(code) => break code,
                None if plan.deadline.passed() => {
                    supervisor.signal(id, "KILL", true).await?;
                    let reason = format!("took longer than {:.0?}", plan.deadline.after);
                    return Ok(Err(Failure { kind: Kind::Deadline, reason, output: tail::end(log) }));
                }
                None => {}
            }
        };
        if code != 0 {
            let output = tail::text(log);
            let kind = classify(&output, &plan.release.to_string());
            let name: Vec<&str> = argv.iter().skip(1).take(3).map(String::as_str).collect();
            let program = Path::new(argv.first().map_or("", String::as_str));
            let program = program.file_name().unwrap_or_default().to_string_lossy();
            let reason = match kind {
                Kind::Network => "the package index cannot be reached".to_owned(),
                Kind::NoRelease => "the package index has no such release".to_owned(),
                Kind::WrongPython => "the release does not support this Python".to_owned(),
                _ => format!("`{program} {} …` ended with status {code}", name.join(" ")),
            };
            return Ok(Err(Failure { kind, reason, output: last_lines(&output, 12) }));
        }
    }
    Ok(Ok(()))
}

/// The environment of the installers: the caller's, without what would lead them elsewhere.
fn environment() -> BTreeMap<String, String> {
    let mut env = process_env::inherited();
    env.insert("UV_PYTHON_DOWNLOADS".to_owned(), "never".to_owned());
    env.insert("PYTHONIOENCODING".to_owned(), "utf-8".to_owned());
    // pip's index counts for uv as well, unless uv has its own.
    let uv = ["UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX"].iter().any(|name| env.contains_key(*name));
    if !uv && let Some(index) = env.get("PIP_INDEX_URL").cloned() {
        env.insert("UV_DEFAULT_INDEX".to_owned(), index);
    }
    env
}

/// Tells from an installer's words how it failed.
fn classify(output: &str, release: &str) -> Kind {
    let has = |list: &[&str]| list.iter().any(|words| output.contains(words));
    let network = [
        "NewConnectionError",
        "Failed to establish a new connection",
        "Temporary failure in name resolution",
        "Name or service not known",
        "Connection refused",
        "Network is unreachable",
        "ProxyError",
        "ReadTimeoutError",
        "ConnectTimeoutError",
        "ConnectionResetError",
        "Failed to fetch",
        "error sending request",
        "dns error",
        "SSLError",
        "CERTIFICATE_VERIFY_FAILED",
        "Could not connect",
    ];
    let named = |words: &str| {
        ["distributed", "dask"].iter().any(|name| output.contains(&format!("{words} {name}==")))
    };
    // Every Python has some release of it: an index with none was not reached.
    let none = format!("distributed=={release} (from versions: none)");
    if has(&network) || output.contains(&none) {
        Kind::Network
    } else if output.contains(&format!(" {release} Requires-Python")) || has(&["does not satisfy Python"]) {
        Kind::WrongPython
    } else if named("No matching distribution found for")
        || named("satisfies the requirement")
        || named("there is no version of")
    {
        Kind::NoRelease
    } else {
        Kind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_apart() {
        let pip = "ERROR: Could not find a version that satisfies the requirement distributed==2099.1.0 (from \
                   versions: 1.0, 2.0)\nERROR: No matching distribution found for distributed==2099.1.0";
        let uv = "  × No solution found when resolving dependencies:\n  ╰─▶ Because there is no version of \
                  distributed==2099.1.0 and you require distributed==2099.1.0";
        let net = format!("WARNING: Retrying ... NewConnectionError('...')\n{pip}");
        assert_eq!(classify(pip, "2099.1.0"), Kind::NoRelease);
        let none = pip.replace("1.0, 2.0", "none");
        assert_eq!(classify(&none, "2099.1.0"), Kind::Network);
        assert_eq!(classify(uv, "2099.1.0"), Kind::NoRelease);
        assert_eq!(classify(&net, "2099.1.0"), Kind::Network);
        let old = "ERROR: Ignored the following versions that require a different python version: 2024.8.2 \
                   Requires-Python >=3.10; 2024.9.0 Requires-Python >=3.10\nERROR: No matching distribution found \
                   for distributed==2024.8.2";
        assert_eq!(classify(old, "2024.8.2"), Kind::WrongPython);
        assert_eq!(classify(&old.replace("==2024.8.2", "==2024.8.9"), "2024.8.9"), Kind::NoRelease);
        assert_eq!(classify("error: command 'gcc' failed", "2099.1.0"), Kind::Other);
    }
}
