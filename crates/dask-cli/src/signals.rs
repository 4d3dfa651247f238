//! Being told to stop.

/// Listens from now on for Ctrl-C, a polite kill and the end of the terminal; done when one of them has come.
#[cfg(unix)]
pub(crate) fn stopped() -> impl Future<Output = ()> {
    use tokio::signal::unix::{Signal, SignalKind, signal};

    async fn next(signal: Option<Signal>) {
        match signal {
            Some(mut signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
    let interrupt = signal(SignalKind::interrupt()).ok();
    let terminate = signal(SignalKind::terminate()).ok();
    // Listening would undo what nohup has done.
    let hangup = if hangups_are_ignored() { None } else { signal(SignalKind::hangup()).ok() };
    async {
        tokio::select! {
            () = next(interrupt) => (),
            () = next(terminate) => (),
            () = next(hangup) => (),
        }
    }
}

/// Waits for Ctrl-C.
#[cfg(not(unix))]
pub(crate) fn stopped() -> impl Future<Output = ()> {
    async { drop(tokio::signal::ctrl_c().await) }
}

/// Whether this was started by something like nohup: the end of the terminal is not to matter.
#[cfg(unix)]
fn hangups_are_ignored() -> bool {
    use std::io::IsTerminal;

    match std::fs::read_to_string("/proc/self/status") {
        Ok(status) => {
            let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
            let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
            mask.is_some_and(|mask| mask & 1 != 0)
        }
        // Where that is not told: nohup leaves no terminal to write to.
        Err(_) => !std::io::stderr().is_terminal(),
    }
}
