//! What the benchmarks share: running things in turns, and telling how what was measured spreads.

use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use dask_local::LocalCluster;
use serde_json::{Value as Json, json};
use wait4::Wait4;

/// Why a benchmark could not be done.
pub type Failure = Box<dyn Error>;

/// What every benchmark is asked on its command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// The Dask release, or `newest`.
    pub release: String,
    /// Pairs of neighbours that count.
    pub rounds: usize,
    /// Where the result is written as JSON.
    pub json: Option<PathBuf>,
    /// The program that is measured instead of the one beside this one (`--program`).
    pub program: Option<PathBuf>,
}

impl Options {
    /// Reads options; `rounds` is the default of theirs.
    ///
    /// # Errors
    /// An option is unknown, lacks its value, or has one that cannot be.
    pub fn read(args: impl IntoIterator<Item = String>, rounds: usize) -> Result<Self, Failure> {
        let mut options = Self { release: "newest".to_owned(), rounds, json: None, program: None };
        let mut args = args.into_iter();
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--release" => options.release = value,
                "--rounds" => options.rounds = value.parse::<usize>()?.max(3),
                "--json" => options.json = Some(value.into()),
                "--program" => options.program = Some(value.into()),
                _ => return Err(format!("{name} is none of --release, --rounds, --json, --program").into()),
            }
        }
        Ok(options)
    }

    /// Writes what was measured on a cluster, if that was asked for; `more` is what this benchmark alone has to say.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep(
        &self,
        schema: &str,
        cluster: &LocalCluster,
        results: &[Json],
        more: Json,
    ) -> Result<(), Failure> {
        let Some(path) = &self.json else { return Ok(()) };
        let mut result = json!({
            "schema": schema,
            "release": cluster.release(),
            "python": cluster.environment().python_version.to_string(),
            "rounds": self.rounds,
            "debug_build": cfg!(debug_assertions),
            "cpus": std::thread::available_parallelism().map_or(1, usize::from),
            "results": results,
        });
        if let (Some(result), Json::Object(more)) = (result.as_object_mut(), more) {
            result.extend(more);
        }
        Ok(std::fs::write(path, format!("{result:#}\n"))?)
    }
}

/// Says something to whoever runs a benchmark.
#[expect(clippy::print_stderr, reason = "words for whoever runs it")]
pub fn tell(text: &str) {
    eprintln!("{text}");
}

/// Prints a line of the result.
#[expect(clippy::print_stdout, reason = "the result")]
pub fn show(text: &str) {
    println!("{text}");
}

/// How a benchmark ends; says why, if not well.
pub fn ended(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

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
