//! Being told to stop.

/// Listens from now on for Ctrl-C, a polite kill and the end of the terminal; done when one of them has come.
pub(crate) fn stopped() -> impl Future<Output = ()> {
    let mut stops = Stops::listen();
    async move { stops.next().await }
}

/// Ctrl-C, a polite kill and the end of the terminal, one after another.
#[cfg(unix)]
pub(crate) struct Stops {
    interrupt: Option<tokio::signal::unix::Signal>,
    terminate: Option<tokio::signal::unix::Signal>,
    hangup: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Stops {
    /// Listens from now on.
    pub(crate) fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};

        Self {
            interrupt: signal(SignalKind::interrupt()).ok(),
            terminate: signal(SignalKind::terminate()).ok(),
            // Listening would undo what nohup has done.
            hangup: if hangups_are_ignored() { None } else { signal(SignalKind::hangup()).ok() },
        }
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        async fn next(signal: &mut Option<tokio::signal::unix::Signal>) {
            match signal {
                Some(signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            }
        }
        tokio::select! {
            () = next(&mut self.interrupt) => (),
            () = next(&mut self.terminate) => (),
            () = next(&mut self.hangup) => (),
        }
    }
}

/// Ctrl-C, again and again.
#[cfg(not(unix))]
pub(crate) struct Stops;

#[cfg(not(unix))]
impl Stops {
    /// Listens when it is waited for.
    pub(crate) fn listen() -> Self {
        Self
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        drop(tokio::signal::ctrl_c().await);
    }
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
