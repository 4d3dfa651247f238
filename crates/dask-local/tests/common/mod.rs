//! What the tests share.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Set in a process that a test has started from its own program.
const CHILD: &str = "DASK_LOCAL_TEST_CHILD";

/// Whether this process was started by [`again`].
pub(crate) fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// This program again, to run the one test named, which finds [`is_child`] true.
pub(crate) fn again(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command
}

/// The processes `pids` and the members of their groups, as far as they still run.
pub(crate) fn running(pids: &[u32]) -> Vec<String> {
    let output = Command::new("ps").args(["-eo", "pid=,pgid=,stat=,args="]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let concerned = |line: &&str| {
        let mut fields = line.split_whitespace();
        let mut number = || fields.next().and_then(|field| field.parse::<u32>().ok());
        let (pid, group) = (number(), number());
        let dead = fields.next().is_some_and(|state| state.starts_with('Z'));
        !dead && [pid, group].into_iter().flatten().any(|number| pids.contains(&number))
    };
    text.lines().filter(concerned).map(str::to_owned).collect()
}

/// Waits until something holds; the test fails if it never does.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "never happened: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
