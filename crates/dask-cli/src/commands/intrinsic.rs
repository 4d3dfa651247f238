//! `dask-rs latency --intrinsic`: what this machine adds by itself.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::latency::Ticker;
use crate::cli::Latency;
use crate::failure::Failure;

/// About the size of a small request.
const MESSAGE: usize = 64;
/// How long the processor is watched in one round.
const WATCH: Duration = Duration::from_millis(2);
const NAP: Duration = Duration::from_millis(1);

/// Measures round by round until the time or the count is up, or it is told to stop.
pub(super) async fn run(ticker: &mut Ticker, options: &Latency, end: Option<Instant>) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| Failure::config(format!("loopback cannot be used: {error}"));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    // The other side has a thread of its own, as another process would.
    let listener = listener.into_std().map_err(cannot)?;
    listener.set_nonblocking(false).map_err(cannot)?;
    std::thread::spawn(move || drop(echo(&listener)));
    let mut stream = TcpStream::connect(address).await.map_err(cannot)?;
    stream.set_nodelay(true).map_err(cannot)?;

    let rounds = async {
        let mut round = 0;
        while super::latency::goes_on(options, end, round) {
            round += 1;
            let mark = Instant::now();
            let mut message = [0; MESSAGE];
            stream.write_all(&message).await.map_err(cannot)?;
            stream.read_exact(&mut message).await.map_err(cannot)?;
            ticker.record("loopback", mark.elapsed());

            // Not the runtime's timers, which know milliseconds only: theirs would be told, not the machine's.
            let mark = Instant::now();
            std::thread::sleep(NAP);
            ticker.record("timer_late", mark.elapsed().saturating_sub(NAP));

            ticker.record("processor_away", longest_gap());
            ticker.tick();
            if !options.pause.is_zero() {
                tokio::time::sleep(options.pause).await;
            }
        }
        Ok(())
    };
    tokio::select! {
        outcome = rounds => outcome,
        () = crate::signals::stopped() => Ok(()),
    }
}

/// The longest time between two looks at the clock, of a loop that does nothing else.
fn longest_gap() -> Duration {
    let start = Instant::now();
    let (mut last, mut longest) = (start, Duration::ZERO);
    while last.duration_since(start) < WATCH {
        let now = Instant::now();
        longest = longest.max(now.duration_since(last));
        last = now;
    }
    longest
}

fn echo(listener: &std::net::TcpListener) -> std::io::Result<()> {
    use std::io::{Read, Write};
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let mut message = [0; MESSAGE];
    loop {
        stream.read_exact(&mut message)?;
        stream.write_all(&message)?;
    }
}
