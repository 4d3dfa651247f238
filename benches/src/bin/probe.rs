//! `dask-rs probe live` and `dask-rs health` as whole processes, beside the same in Python, on one cluster, taking turns.
//!
//! ```text
//! cargo run --release -p dask-benches --bin probe -- [--release V] [--rounds N] [--program PATH] [--json FILE]
//! ```
//!
//! Ratios are what counts: both take turns, so that whatever else the machine does meets both alike. Of each pair of
//! neighbours one ratio is taken; the median of them and the middle half are told.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use dask_benches::{Cost, Failure, Options, ended, in_turns, once, quartiles, show, spread, tell};
use dask_local::LocalCluster;
use serde_json::{Value as Json, json};

/// What is done, in Python and by the program.
struct Task {
    name: &'static str,
    args: &'static [&'static str],
    python: &'static str,
}

const TASKS: [Task; 2] = [
    Task {
        name: "probe live",
        args: &["probe", "live"],
        python: "import sys\n\
            from distributed import Client\n\
            client = Client(sys.argv[1], timeout=30)\n\
            assert client.scheduler_info()['type'] == 'Scheduler'\n\
            client.close()\n",
    },
    Task {
        name: "health",
        args: &["health", "-o", "json"],
        python: "import operator, sys\n\
            from distributed import Client\n\
            client = Client(sys.argv[1], timeout=30)\n\
            print({worker: {'status': 'OK' if answer == 42 else answer}\n\
                   for worker, answer in client.run(operator.add, 20, 22).items()})\n\
            client.close()\n",
    },
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    ended(measure().await)
}

/// The program beside this one, built by the same profile.
fn beside() -> Result<PathBuf, Failure> {
    let path = std::env::current_exe()?.with_file_name("dask-rs");
    if path.is_file() {
        return Ok(path);
    }
    let path = path.display();
    Err(format!("{path} is not there; build it: cargo build --release -p dask-cli (or give --program)")
        .into())
}

async fn measure() -> Result<(), Failure> {
    let options = Options::read(std::env::args().skip(1), 15)?;
    let program = options.program.clone().map_or_else(beside, Ok)?;
    let size = std::fs::metadata(&program)?.len();
    let cluster = LocalCluster::builder().release(&options.release).workers(2).start().await?;
    let address = cluster.address();
    tell(&format!("Dask {} at {address}, {} rounds", cluster.release(), options.rounds));
    let mut results = Vec::new();
    show(&format!(
        "{:<11} {:>10} {:>10} {:>8} {:>17}   {:>9} {:>9} {:>7}",
        "", "ours", "Python", "ratio", "middle half", "ours", "Python", "ratio"
    ));
    for task in &TASKS {
        let pairs = pairs(task, &program, cluster.python(), &address, options.rounds)?;
        results.push(report(task, &pairs));
    }
    show(&format!("program: {size} bytes"));
    options.keep("dask-rs/bench-probe/1", &cluster, &results, json!({ "program_bytes": size }))?;
    cluster.stop().await?;
    Ok(())
}

fn pairs(
    task: &Task,
    program: &Path,
    python: &Path,
    address: &str,
    rounds: usize,
) -> Result<Vec<(Cost, Cost)>, Failure> {
    let ours = || {
        let mut command = Command::new(program);
        command.args(task.args).args(["--scheduler", address]);
        command
    };
    let theirs = || {
        let mut command = Command::new(python);
        command.args(["-c", task.python, address]);
        command
    };
    // The round that does not count brings files into the cache and has Python write its bytecode.
    in_turns(rounds, || once(ours()), || once(theirs()))
}

#[expect(clippy::cast_precision_loss, reason = "a ratio")]
fn report(task: &Task, pairs: &[(Cost, Cost)]) -> Json {
    let of = |pick: &dyn Fn(&(Cost, Cost)) -> f64| quartiles(pairs.iter().map(pick));
    let ours = of(&|(ours, _)| ours.wall.as_secs_f64());
    let theirs = of(&|(_, theirs)| theirs.wall.as_secs_f64());
    let wall = of(&|(ours, theirs)| ours.wall.as_secs_f64() / theirs.wall.as_secs_f64());
    let ours_peak = of(&|(ours, _)| ours.peak as f64);
    let theirs_peak = of(&|(_, theirs)| theirs.peak as f64);
    let peak = of(&|(ours, theirs)| ours.peak as f64 / theirs.peak as f64);
    let mib = 1024.0 * 1024.0;
    show(&format!(
        "{:<11} {:>7.2} ms {:>7.2} ms {:>8.4} {:>8.4}-{:.4}   {:>5.1} MiB {:>5.1} MiB {:>7.4}",
        task.name,
        ours[1] * 1e3,
        theirs[1] * 1e3,
        wall[1],
        wall[0],
        wall[2],
        ours_peak[1] / mib,
        theirs_peak[1] / mib,
        peak[1],
    ));
    json!({
        "task": task.name,
        "wall_seconds": { "ours": spread(ours), "python": spread(theirs), "ratio": spread(wall) },
        "peak_bytes": { "ours": spread(ours_peak), "python": spread(theirs_peak), "ratio": spread(peak) },
    })
}
