//! Finds Python interpreters and asks each what it is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// How long an interpreter may take to say what it is.
const PROBE: Duration = Duration::from_secs(20);

/// Prints what must be known of an interpreter; runs on every Python since 2.7.
const SCRIPT: &str = "\
import json, platform, struct, sys
try:
    import ensurepip, venv
    seeded = True
except ImportError:
    seeded = False
try:
    import sysconfig
    threaded = bool(sysconfig.get_config_var('Py_GIL_DISABLED'))
except Exception:
    threaded = False
print(json.dumps({
    'version': list(sys.version_info[:3]), 'final': sys.version_info[3] == 'final',
    'executable': getattr(sys, '_base_executable', None) or sys.executable,
    'bits': struct.calcsize('P') * 8, 'name': platform.python_implementation(),
    'venv': seeded, 'free_threaded': threaded}))
";

/// An interpreter that answered.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub(crate) struct Python {
    pub(crate) version: (u32, u32, u32),
    #[serde(rename = "final")]
    released: bool,
    pub(crate) executable: PathBuf,
    bits: u32,
    name: String,
    venv: bool,
    free_threaded: bool,
    /// Whether the caller named it.
    #[serde(skip)]
    named: bool,
}

impl Python {
    pub(crate) fn version_text(&self) -> String {
        let (major, minor, micro) = self.version;
        format!("{major}.{minor}.{micro}")
    }

    pub(crate) fn minor(&self) -> u32 {
        self.version.1
    }

    /// Whether `python -m venv` works.
    pub(crate) fn has_venv(&self) -> bool {
        self.venv
    }

    /// Why no environment can be made with it, if so.
    pub(crate) fn defect(&self, uv: bool) -> Option<&'static str> {
        if self.version.0 != 3 {
            Some("not Python 3")
        } else if self.name != "CPython" {
            Some("not CPython")
        } else if !self.venv && !uv {
            Some("without venv and ensurepip, and uv is not on PATH")
        } else {
            None
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The interpreters that answered, in the order of the search.
    pub(crate) pythons: Vec<Python>,
    /// Those that were named by the caller but did not answer, with the reason.
    pub(crate) failed: Vec<(PathBuf, String)>,
}

impl Found {
    /// The interpreters for a list of minor versions, the best first: one for each version.
    pub(crate) fn choose(&self, minors: &[u32], uv: bool) -> Vec<Python> {
        let rank = |python: &Python| {
            let age = (python.released, python.version.2);
            (!python.named, python.free_threaded, python.bits != 64, !python.venv, std::cmp::Reverse(age))
        };
        let best = |minor: &u32| {
            self.pythons
                .iter()
                .filter(|python| python.defect(uv).is_none() && python.minor() == *minor)
                .min_by_key(|python| rank(python))
        };
        let mut chosen: Vec<Python> = minors.iter().filter_map(best).cloned().collect();
        // What the caller named goes first; the order of the table decides among the others.
        chosen.sort_by_key(|python| !python.named);
        chosen
    }

    /// One line for each interpreter, for an error.
    pub(crate) fn describe(&self, uv: bool) -> String {
        let mut lines: Vec<String> = self
            .pythons
            .iter()
            .map(|python| {
                let reason = python.defect(uv).unwrap_or("not a wanted version");
                format!("  {} {} ({reason})", python.version_text(), python.executable.display())
            })
            .collect();
        lines.extend(self.failed.iter().map(|(path, reason)| format!("  {} ({reason})", path.display())));
        if lines.is_empty() {
            lines.push("  none".to_owned());
        }
        lines.join("\n")
    }
}

/// Asks the named interpreters, and those found on this machine if `search`.
pub(crate) async fn find(named: &[PathBuf], search: bool) -> Found {
    let mut found = Found::default();
    let mut seen = BTreeSet::new();
    for (path, answer) in ask_all(named.to_vec()).await {
        match answer {
            Ok(python) => keep(&mut found, &mut seen, Python { named: true, ..python }),
            Err(reason) => found.failed.push((path, reason)),
        }
    }
    if search {
        for (path, answer) in ask_all(candidates()).await {
            match answer {
                Ok(python) => keep(&mut found, &mut seen, python),
                Err(reason) => tracing::debug!(target: "dask_local", "{}: {reason}", path.display()),
            }
        }
    }
    found
}

fn keep(found: &mut Found, seen: &mut BTreeSet<PathBuf>, python: Python) {
    let real = std::fs::canonicalize(&python.executable).unwrap_or_else(|_| python.executable.clone());
    if seen.insert(real) {
        found.pythons.push(python);
    }
}

/// Asks all at once; the answers are in the order of the paths.
async fn ask_all(paths: Vec<PathBuf>) -> Vec<(PathBuf, Result<Python, String>)> {
    let tasks: Vec<_> = paths
        .into_iter()
        .map(|path| {
            let asked = path.clone();
            (path, tokio::spawn(async move { ask(&asked).await }))
        })
        .collect();
    let mut answers = Vec::with_capacity(tasks.len());
    for (path, task) in tasks {
        let answer = task.await.unwrap_or_else(|error| Err(error.to_string()));
        answers.push((path, answer));
    }
    answers
}

async fn ask(path: &Path) -> Result<Python, String> {
    let mut command = Command::new(path);
    command.args(["-c", SCRIPT]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true).current_dir(std::env::temp_dir());
    for name in ["PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONINSPECT"] {
        command.env_remove(name);
    }
    let output = match tokio::time::timeout(PROBE, command.output()).await {
        Err(_) => return Err(format!("did not answer within {PROBE:.0?}")),
        Ok(Err(error)) => return Err(format!("cannot be run: {error}")),
        Ok(Ok(output)) => output,
    };
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("");
        return Err(format!("{}: {line}", output.status));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("gave no usable answer: {error}"))
}

/// The interpreters named in `$DASK_LOCAL_PYTHON`, a list like `$PATH`.
pub(crate) fn named_in_environment() -> Vec<PathBuf> {
    match std::env::var_os("DASK_LOCAL_PYTHON") {
        Some(list) => std::env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect(),
        None => Vec::new(),
    }
}

/// Where interpreters live, each file once (by its real path).
fn candidates() -> Vec<PathBuf> {
    let mut list = Vec::new();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let fixed = ["/usr/local/bin", "/usr/bin", "/opt/homebrew/bin", "/opt/local/bin"];
    for directory in std::env::split_paths(&path).chain(fixed.iter().map(PathBuf::from)) {
        if directory.is_absolute() {
            list.extend(interpreters_in(&directory));
        }
    }
    for directory in version_directories() {
        list.extend(children(&directory).into_iter().flat_map(|child| {
            [child.join("bin/python3"), child.join("bin/python"), child.join("python.exe")]
        }));
    }
    let frameworks = Path::new("/Library/Frameworks/Python.framework/Versions");
    list.extend(children(frameworks).into_iter().map(|child| child.join("bin/python3")));
    let mut seen = BTreeSet::new();
    list.retain(|file| match std::fs::canonicalize(file) {
        // Every shim is the same file and only its name tells what it runs.
        Ok(real) if is_shim(&real) => seen.insert(file.clone()),
        Ok(real) => real.is_file() && seen.insert(real),
        Err(_) => false,
    });
    list
}

fn is_shim(path: &Path) -> bool {
    path.parent().and_then(Path::file_name).is_some_and(|name| name == "shims")
        || path.file_name().is_some_and(|name| name == "asdf" || name == "mise")
}

/// Directories with one directory for each installed Python.
fn version_directories() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").or_else(|| std::env::var_os("USERPROFILE")).map(PathBuf::from);
    let mut list = Vec::new();
    let mut add = |variable: &str, below: &str, default: &str| {
        let set = std::env::var_os(variable).filter(|value| !value.is_empty());
        let base = set.map(|value| PathBuf::from(value).join(below));
        list.extend(base.or_else(|| home.as_ref().map(|home| home.join(default))));
    };
    add("PYENV_ROOT", "versions", ".pyenv/versions");
    add("UV_PYTHON_INSTALL_DIR", "", ".local/share/uv/python");
    add("XDG_DATA_HOME", "uv/python", ".local/share/uv/python");
    add("MISE_DATA_DIR", "installs/python", ".local/share/mise/installs/python");
    add("ASDF_DATA_DIR", "installs/python", ".asdf/installs/python");
    list
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut list: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    list.sort();
    list
}

/// The files of a directory named like an interpreter: `python`, `python3`, `python3.12`.
fn interpreters_in(directory: &Path) -> Vec<PathBuf> {
    children(directory)
        .into_iter()
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_interpreter_name))
        .collect()
}

fn is_interpreter_name(name: &str) -> bool {
    let name = name.strip_suffix(".exe").unwrap_or(name);
    match name.strip_prefix("python") {
        Some("" | "3") => true,
        Some(rest) => match rest.strip_prefix("3.") {
            Some(minor) => !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit()),
            None => false,
        },
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn python(minor: u32, micro: u32) -> Python {
        Python {
            version: (3, minor, micro),
            released: true,
            executable: PathBuf::from(format!("/opt/python3.{minor}.{micro}")),
            bits: 64,
            name: "CPython".to_owned(),
            venv: true,
            free_threaded: false,
            named: false,
        }
    }

    #[test]
    fn interpreters_are_known_by_name() {
        for name in ["python", "python3", "python3.7", "python3.13", "python.exe"] {
            assert!(is_interpreter_name(name), "{name}");
        }
        for name in [
            "python2",
            "python3-config",
            "python3.12-config",
            "pythonw",
            "python3.",
            "ipython3",
            "python3.13t",
        ] {
            assert!(!is_interpreter_name(name), "{name}");
        }
    }

    #[test]
    fn the_best_of_each_version_is_chosen_in_the_order_wanted() {
        let mut named = python(12, 1);
        named.named = true;
        let mut small = python(13, 9);
        small.bits = 32;
        let mut other = python(11, 1);
        other.name = "PyPy".to_owned();
        let found = Found {
            pythons: vec![python(13, 0), python(10, 3), python(10, 13), named, small, other],
            failed: vec![],
        };
        let chosen: Vec<_> =
            found.choose(&[13, 12, 11, 10], false).iter().map(|python| python.version).collect();
        assert_eq!(chosen, [(3, 12, 1), (3, 13, 0), (3, 10, 13)]);
    }

    #[test]
    fn without_venv_uv_is_needed() {
        let mut bare = python(12, 1);
        bare.venv = false;
        let found = Found { pythons: vec![bare], failed: vec![(PathBuf::from("/no"), "gone".to_owned())] };
        assert!(found.choose(&[12], false).is_empty());
        assert_eq!(found.choose(&[12], true).len(), 1);
        let text = found.describe(false);
        assert!(text.contains("without venv") && text.contains("/no (gone)"), "{text}");
    }

    #[tokio::test]
    async fn what_cannot_run_is_told() {
        let found = find(&[PathBuf::from("/nonexistent/python3")], false).await;
        assert!(found.pythons.is_empty());
        assert!(found.failed[0].1.contains("cannot be run"), "{:?}", found.failed);
    }
}
