//! What makes the program at home on a machine: completions, manual pages, a copy of itself.

use std::path::Path;

use clap::CommandFactory;

use super::Context;
use crate::cli::Cli;
use crate::failure::Failure;
use crate::output;

/// Completions for a shell.
pub(super) fn completions(shell: clap_complete::Shell) -> u8 {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dask-rs", &mut text);
    output::data(String::from_utf8_lossy(&text).trim_end());
    0
}

/// The manual page on stdout, or a page for each command in a directory.
pub(super) fn manual(directory: Option<&Path>) -> Result<u8, Failure> {
    let Some(directory) = directory else {
        let mut text = Vec::new();
        // Writing into memory cannot fail.
        let _ = clap_mangen::Man::new(Cli::command()).render(&mut text);
        output::data(String::from_utf8_lossy(&text).trim_end());
        return Ok(0);
    };
    let cannot = |error: std::io::Error| {
        Failure::config(format!("cannot write manual pages to {}: {error}", directory.display()))
    };
    std::fs::create_dir_all(directory).map_err(cannot)?;
    clap_mangen::generate_to(Cli::command(), directory).map_err(cannot)?;
    Ok(0)
}

/// Copies the running program into a directory, under its usual name.
pub(super) fn install(context: Context, directory: &Path) -> Result<u8, Failure> {
    let target = directory.join("dask-rs");
    let cannot =
        |error: std::io::Error| Failure::config(format!("cannot write {}: {error}", target.display()));
    let program = std::env::current_exe()
        .map_err(|error| Failure::config(format!("cannot find the running program: {error}")))?;
    // A copy beside it, then a new name: whoever runs the old one is not disturbed, and nobody sees half of the new.
    let partial = directory.join(format!(".dask-rs.{}", std::process::id()));
    let copied = std::fs::copy(&program, &partial).and_then(|_| std::fs::rename(&partial, &target));
    if let Err(error) = copied {
        drop(std::fs::remove_file(&partial));
        return Err(cannot(error));
    }
    output::say(context.quiet, &format!("{}", target.display()));
    Ok(0)
}
