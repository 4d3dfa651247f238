//! The environment variables of the processes.

use std::collections::BTreeMap;

/// The caller's variables, without those that would change which Python code runs or how
/// Dask is configured.
pub(crate) fn inherited() -> BTreeMap<String, String> {
    let text = |value: std::ffi::OsString| value.into_string().ok();
    std::env::vars_os()
        .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
        .filter(|(name, _)| !is_stripped(name))
        .chain([("PYTHONNOUSERSITE".to_owned(), "1".to_owned())])
        .collect()
}

fn is_stripped(name: &str) -> bool {
    name.starts_with("DASK_")
        || name.starts_with("PYENV_")
        || (name.starts_with("PYTHON") && name != "PYTHONWARNINGS")
        || matches!(name, "VIRTUAL_ENV" | "CONDA_PREFIX" | "__PYVENV_LAUNCHER__" | "UV_PROJECT_ENVIRONMENT")
}

/// The variable by which Dask reads a configuration key: `distributed.scheduler.work-stealing`
/// is `DASK_DISTRIBUTED__SCHEDULER__WORK_STEALING`.
pub(crate) fn config_variable(key: &str) -> String {
    let name = key.trim().replace('.', "__").replace('-', "_").to_uppercase();
    format!("DASK_{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_variables() {
        assert_eq!(
            config_variable("distributed.scheduler.work-stealing"),
            "DASK_DISTRIBUTED__SCHEDULER__WORK_STEALING"
        );
    }

    #[test]
    fn what_changes_python_or_dask_is_left_out() {
        for name in ["DASK_CONFIG", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYENV_VERSION"] {
            assert!(is_stripped(name), "{name}");
        }
        for name in ["PATH", "HOME", "PIP_INDEX_URL", "HTTPS_PROXY"] {
            assert!(!is_stripped(name), "{name}");
        }
    }
}
