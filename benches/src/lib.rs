//! What the benchmarks share: running things in turns, and telling how what was measured spreads.

use std::error::Error;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use wait4::Wait4;

/// Why a benchmark could not be done.
pub type Failure = Box<dyn Error>;

/// What one process took.
#[derive(Clone, Debug)]
pub struct Cost {
    /// From its start to its end.
    pub wall: Duration,
    /// Peak resident memory, in bytes.
    pub peak: u64,
    /// What it wrote to its stdout.
    pub output: String,
}

/// Runs one process to its end. What it writes must fit into a pipe.
///
/// # Errors
/// It cannot be started, or fails.
pub fn once(mut command: Command) -> Result<Cost, Failure> {
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
    let mut output = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        std::io::Read::read_to_string(&mut stdout, &mut output)?;
    }
    let used = child.wait4()?;
    let wall = start.elapsed();
    if !used.status.success() {
        return Err(format!("{command:?} failed: {}", used.status).into());
    }
    Ok(Cost { wall, peak: used.rusage.maxrss, output })
}

/// Runs both in turns, so that whatever else the machine does meets both alike; one round before that does not count.
///
/// # Errors
/// One of them fails.
pub fn in_turns<T>(
    rounds: usize,
    mut ours: impl FnMut() -> Result<T, Failure>,
    mut theirs: impl FnMut() -> Result<T, Failure>,
) -> Result<Vec<(T, T)>, Failure> {
    ours()?;
    theirs()?;
    (0..rounds)
        .map(|round| {
            // Whoever comes first may have it better or worse.
            if round % 2 == 0 {
                let first = ours()?;
                Ok((first, theirs()?))
            } else {
                let first = theirs()?;
                Ok((ours()?, first))
            }
        })
        .collect()
}

/// The quarter, the half and three quarters of some values.
pub fn quartiles(values: impl IntoIterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let at = |quarter: usize| {
        let index = (values.len().saturating_sub(1) * quarter + 2) / 4;
        values.get(index).copied().unwrap_or(f64::NAN)
    };
    [at(1), at(2), at(3)]
}

/// Quartiles as JSON.
pub fn spread(values: [f64; 3]) -> Json {
    json!({ "p25": values[0], "p50": values[1], "p75": values[2] })
}
