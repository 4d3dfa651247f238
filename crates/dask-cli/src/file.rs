//! Files that a command was told to write.

use std::fs::OpenOptions;
use std::io::{BufWriter, Error, ErrorKind, Write};
use std::path::Path;

use crate::failure::{Failure, UNUSABLE};

/// Makes sure that a file can be written, before the work whose outcome it is to hold. What it holds stays; one that is not
/// there is not there afterwards, either.
pub(crate) fn check_writable(path: &Path) -> Result<(), Failure> {
    let tried = match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(_) => std::fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            OpenOptions::new().append(true).open(path).map(drop)
        }
        Err(error) => Err(error),
    };
    tried.map_err(|error| Failure::config(cannot_write(path, &error)))
}

/// Writes a file, or what comes instead of what it held.
pub(crate) fn write(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<std::fs::File>) -> Result<(), Error>,
) -> Result<(), Failure> {
    let write = || {
        let mut file = BufWriter::new(std::fs::File::create(path)?);
        content(&mut file)?;
        file.flush()
    };
    write().map_err(|error| Failure::new(UNUSABLE, cannot_write(path, &error)))
}

fn cannot_write(path: &Path, error: &Error) -> String {
    format!("cannot write {}: {error}", path.display())
}
