//! The cache of virtual environments.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::Attempt;
use crate::event::{Event, Listener};
use crate::install::{self, Installer, Kind, Plan};
use crate::python::{self, Python};
use crate::release::{NEWEST, Release};
use crate::tail::Deadline;
use crate::{Error, recipes};

/// The file that is written last, when an environment is whole.
const MARKER: &str = "dask-local.json";

/// A virtual environment that holds one release of Dask.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Environment {
    /// Where it is.
    pub path: PathBuf,
    /// Its interpreter.
    pub python: PathBuf,
    /// The version of that interpreter, such as `3.12.1`.
    pub python_version: String,
    /// The requirements it was made from.
    pub requirements: Vec<String>,
    /// Whether it had been made before.
    pub cached: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    recipe: u32,
    requirements: Vec<String>,
    /// The interpreter it was made with, and its version.
    base: PathBuf,
    python: String,
    imported: String,
}

/// What environment is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) release: Release,
    pub(crate) extras: Vec<String>,
    pub(crate) dashboard: bool,
    /// Interpreters the caller named.
    pub(crate) pythons: Vec<PathBuf>,
    /// Whether others are looked for.
    pub(crate) search: bool,
    pub(crate) installer: Installer,
    pub(crate) cache: Option<PathBuf>,
}

/// The directory that holds the environments: `$DASK_LOCAL_CACHE`, else
/// `$XDG_CACHE_HOME/dask-local`, else `~/.cache/dask-local` (on Windows below `%LOCALAPPDATA%`).
pub fn cache_directory() -> Result<PathBuf, Error> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let from_home = || variable("HOME").map(|home| home.join(".cache"));
    let base = || variable("XDG_CACHE_HOME").or_else(|| variable("LOCALAPPDATA")).or_else(from_home);
    let directory = variable("DASK_LOCAL_CACHE").or_else(|| base().map(|base| base.join("dask-local")));
    let Some(directory) = directory else {
        return Err(Error::BadSetting {
            setting: "DASK_LOCAL_CACHE",
            reason: "neither it nor XDG_CACHE_HOME nor HOME is set; set it to a directory".to_owned(),
        });
    };
    std::path::absolute(&directory).map_err(Error::io(format!("resolve {}", directory.display())))
}

/// Finds or makes the environment.
pub(crate) async fn prepare(
    wanted: &Wanted,
    events: &Listener,
    deadline: Deadline,
) -> Result<Environment, Error> {
    let start = Instant::now();
    let environment = find_or_make(wanted, events, deadline).await?;
    let (path, cached) = (environment.path.clone(), environment.cached);
    events.send(Event::EnvironmentReady { path, cached, elapsed: start.elapsed() });
    Ok(environment)
}

async fn find_or_make(wanted: &Wanted, events: &Listener, deadline: Deadline) -> Result<Environment, Error> {
    let cache = match &wanted.cache {
        Some(directory) => {
            std::path::absolute(directory).map_err(Error::io(format!("resolve {}", directory.display())))?
        }
        None => cache_directory()?,
    };
    std::fs::create_dir_all(&cache).map_err(Error::io(format!("create {}", cache.display())))?;
    let mut named = wanted.pythons.clone();
    named.extend(python::named_in_environment());
    if named.is_empty()
        && wanted.search
        && let Some(environment) = find_cached(&cache, wanted)
    {
        return Ok(environment);
    }
    events.send(Event::FindingPython);
    let found = python::find(&named, wanted.search).await;
    let uv = if wanted.installer == Installer::Pip { None } else { install::find_uv().await };
    let release = wanted.release.to_string();
    let pythons = found.choose(recipes::pythons(&wanted.release), uv.is_some());
    if pythons.is_empty() {
        let found = found.describe(uv.is_some());
        return Err(Error::NoPython { release, wanted: recipes::wanted(&wanted.release), found });
    }
    let mut tried = Vec::new();
    for python in &pythons {
        let (path, version) = (python.executable.clone(), python.version_text());
        let requirements =
            recipes::requirements(&wanted.release, python.minor(), &wanted.extras, wanted.dashboard);
        let directory = cache.join(key(&wanted.release, python, &requirements));
        let _lock = lock(&directory, events, deadline, &release).await?;
        if let Some(environment) = complete(&directory, &requirements) {
            return Ok(environment);
        }
        events.send(Event::UsingPython { path: path.clone(), version: version.clone() });
        let plan = Plan {
            directory: &directory,
            release: &wanted.release,
            python,
            requirements: &requirements,
            uv: uv.as_deref(),
            events,
            deadline,
        };
        match install::install(&plan, wanted.installer).await? {
            Ok(imported) => {
                let marker =
                    Marker { recipe: recipes::RECIPE, requirements, base: path, python: version, imported };
                write_marker(&directory, &marker)?;
                return Ok(describe(&directory, marker, false));
            }
            Err(failure) => {
                install::clear(&directory)?;
                let reason = failure.reason.clone();
                events.send(Event::PythonFailed { path: path.clone(), reason: reason.clone() });
                tried.push(Attempt { python: path, version, reason, output: failure.output.clone() });
                match failure.kind {
                    Kind::Network => return Err(Error::NoNetwork { release, tried }),
                    Kind::Deadline => {
                        let output = failure.output;
                        return Err(Error::InstallTimeout { release, after: deadline.after, output });
                    }
                    // Two Pythons for which the index has nothing: it has nothing.
                    Kind::NoRelease if tried.len() >= 2 || pythons.len() == 1 => {
                        return Err(Error::UnknownRelease { release, newest: NEWEST, tried });
                    }
                    Kind::NoRelease | Kind::WrongPython | Kind::Other => {}
                }
            }
        }
    }
    Err(Error::Environment { release, wanted: recipes::wanted(&wanted.release), tried })
}

/// The name of an environment's directory.
fn key(release: &Release, python: &Python, requirements: &[String]) -> String {
    let base = python.executable.to_string_lossy();
    let all = requirements.iter().map(String::as_str).chain([base.as_ref()]);
    let hash = fingerprint(all);
    format!("dask-{release}-py{}-{hash:016x}", python.version_text())
}

/// FNV-1a: the same on every machine and with every compiler, which the key must be.
fn fingerprint<'a>(parts: impl Iterator<Item = &'a str>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ u64::from(recipes::RECIPE);
    for part in parts {
        for byte in part.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}

/// An environment of the cache that does, without asking any interpreter.
fn find_cached(cache: &Path, wanted: &Wanted) -> Option<Environment> {
    let mut names: Vec<String> = std::fs::read_dir(cache)
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.ends_with(".lock"))
        .collect();
    names.sort();
    recipes::pythons(&wanted.release).iter().find_map(|minor| {
        let requirements = recipes::requirements(&wanted.release, *minor, &wanted.extras, wanted.dashboard);
        let prefix = format!("dask-{}-py3.{minor}.", wanted.release);
        let fitting = names.iter().filter(|name| name.starts_with(&prefix));
        fitting.rev().find_map(|name| complete(&cache.join(name), &requirements))
    })
}

/// The environment of a directory, if it is whole and its interpreter is still there.
fn complete(directory: &Path, requirements: &[String]) -> Option<Environment> {
    let text = std::fs::read(directory.join(MARKER)).ok()?;
    let marker: Marker = serde_json::from_slice(&text).ok()?;
    let same = marker.recipe == recipes::RECIPE && marker.requirements == requirements;
    let usable = marker.base.is_file() && install::interpreter(directory).is_file();
    (same && usable).then(|| describe(directory, marker, true))
}

fn describe(directory: &Path, marker: Marker, cached: bool) -> Environment {
    Environment {
        path: directory.to_owned(),
        python: install::interpreter(directory),
        python_version: marker.python,
        requirements: marker.requirements,
        cached,
    }
}

fn write_marker(directory: &Path, marker: &Marker) -> Result<(), Error> {
    let file = directory.join(MARKER);
    let what = format!("write {}", file.display());
    let text = serde_json::to_vec_pretty(marker).map_err(|error| Error::io(&what)(error.into()))?;
    // Renamed into place: a marker that is there is whole.
    let part = directory.join("dask-local.json.part");
    std::fs::write(&part, text).map_err(Error::io(&what))?;
    std::fs::rename(&part, &file).map_err(Error::io(&what))
}

/// Waits until no other process builds this environment. The system frees the lock when the
/// file is closed, also by the death of the process.
async fn lock(
    directory: &Path,
    events: &Listener,
    deadline: Deadline,
    release: &str,
) -> Result<std::fs::File, Error> {
    let path = PathBuf::from(format!("{}.lock", directory.display()));
    let mut told = false;
    loop {
        if let Some(file) = try_lock(&path).map_err(Error::io(format!("lock {}", path.display())))? {
            return Ok(file);
        }
        if !told {
            events.send(Event::WaitingForEnvironment { lock: path.clone() });
            told = true;
        }
        if deadline.passed() {
            let output = format!("waited for another process that holds {}", path.display());
            return Err(Error::InstallTimeout { release: release.to_owned(), after: deadline.after, output });
        }
        tokio::time::sleep(Duration::from_millis(100).min(deadline.left())).await;
    }
}

#[cfg(unix)]
fn try_lock(path: &Path) -> std::io::Result<Option<std::fs::File>> {
    use rustix::fs::{FlockOperation, flock};
    let file = std::fs::File::options().create(true).truncate(false).read(true).write(true).open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(windows)]
fn try_lock(path: &Path) -> std::io::Result<Option<std::fs::File>> {
    use std::os::windows::fs::OpenOptionsExt;
    // Open for nobody else, which is a lock by itself.
    match std::fs::File::options().create(true).truncate(false).write(true).share_mode(0).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.raw_os_error() == Some(32) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_does_not_change_between_versions() {
        assert_eq!(fingerprint(std::iter::empty()), 0xcbf2_9ce4_8422_2325 ^ 1);
        assert_ne!(fingerprint(["ab", "c"].into_iter()), fingerprint(["a", "bc"].into_iter()));
    }

    #[test]
    fn an_environment_without_its_marker_is_not_whole() {
        let directory = tempfile::tempdir().unwrap();
        assert!(complete(directory.path(), &[]).is_none());
    }

    #[tokio::test]
    async fn the_second_to_lock_waits_until_the_deadline() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("env");
        let events = Listener::default();
        let first = lock(&path, &events, Deadline::new(Duration::ZERO), "x").await.unwrap();
        let second = lock(&path, &events, Deadline::new(Duration::ZERO), "x").await;
        assert!(matches!(second, Err(Error::InstallTimeout { .. })));
        drop(first);
        // A process that another test is just starting may hold it, too, until it has started.
        lock(&path, &events, Deadline::new(Duration::from_secs(20)), "x").await.unwrap();
    }
}
