//! Running the real binary, and peers that are no Dask.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use dask_local::{LocalCluster, Protocol};
use serde_json::Value as Json;

/// No command of these tests needs longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a run of the program left.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) command: String,
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// The one JSON value on stdout.
    pub(crate) fn json(&self) -> Json {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}): {self:#?}"))
    }

    /// Fails with everything there is to see unless the exit code is this one.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }
}

/// The program: the one that cargo built, or `DASK_RS` (to test another build, such as a static one).
pub(crate) fn program() -> Command {
    let path = std::env::var_os("DASK_RS").unwrap_or_else(|| env!("CARGO_BIN_EXE_dask-rs").into());
    let mut command = Command::new(path);
    // Only what a test says counts.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("DASK_") && name != "DASK_LOCAL_PYTHON" {
            command.env_remove(name);
        }
    }
    command
}

/// Runs the program to its end.
pub(crate) fn run(args: &[&str]) -> Run {
    let mut command = program();
    command.args(args);
    finish(command, args.join(" "))
}

/// Runs the program on a cluster.
pub(crate) fn run_on(cluster: &LocalCluster, args: &[&str]) -> Run {
    let mut command = program();
    command.args(args).env("DASK_SCHEDULER_ADDRESS", cluster.address());
    if args.first() == Some(&"probe") && !args.contains(&"--timeout") {
        // Three seconds are plenty, but not where something else starts a dozen Pythons.
        command.args(["--timeout", "60s"]);
    }
    if let Some(tls) = cluster.tls() {
        command
            .env("DASK_DISTRIBUTED__COMM__TLS__CA_FILE", &tls.ca)
            .env("DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT", &tls.cert)
            .env("DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY", &tls.key);
    }
    finish(command, args.join(" "))
}

/// Runs a prepared command to its end; one that does not end fails the test.
pub(crate) fn finish(mut command: Command, shown: String) -> Run {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let stdout = reader(child.stdout.take().expect("piped"));
    let stderr = reader(child.stderr.take().expect("piped"));
    let code = wait(&mut child, &shown);
    let text = |reader: std::thread::JoinHandle<String>| reader.join().expect("read");
    Run { command: shown, code, stdout: text(stdout), stderr: text(stderr) }
}

fn reader(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The first line that a child prints, and what the rest will come from: a child whose output nobody can read any more ends.
pub(crate) fn first_line(child: &mut Child) -> (String, BufReader<ChildStdout>) {
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let (sender, read) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        drop(output.read_line(&mut line));
        drop(sender.send((line, output)));
    });
    read.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        let _ = child.kill();
        panic!("no line within {PATIENCE:?}")
    })
}

fn wait(child: &mut Child, shown: &str) -> i32 {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return status.code().unwrap_or(-1);
        }
        if start.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("not done after {PATIENCE:?}: dask-rs {shown}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A cluster of two workers.
pub(crate) async fn cluster(release: &str) -> LocalCluster {
    LocalCluster::builder().release(release).workers(2).start().await.expect("a cluster starts")
}

/// A scheduler alone.
pub(crate) async fn lonely_scheduler(release: &str, protocol: Protocol) -> LocalCluster {
    LocalCluster::builder()
        .release(release)
        .workers(0)
        .protocol(protocol)
        .start()
        .await
        .expect("a scheduler starts")
}

/// The releases to test: `DASK_RELEASES`, else the two ends of history.
pub(crate) fn releases() -> Vec<String> {
    match std::env::var("DASK_RELEASES") {
        Ok(list) if list == "all" => dask_local::known_releases().iter().map(ToString::to_string).collect(),
        Ok(list) if !list.trim().is_empty() => {
            list.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
        }
        _ => vec!["2.30.1".to_owned(), "2026.8.0".to_owned()],
    }
}

/// Something that listens on loopback and is no Dask; its address.
pub(crate) enum Peer {
    /// Says nothing.
    Silent,
    /// Answers anything as a web server does.
    Http,
    /// Answers anything with a TLS alert, as a TLS server does when it is spoken to in the clear.
    Tls,
    /// Closes at once.
    Closes,
}

impl Peer {
    /// Starts it, for as long as the test runs; its port.
    pub(crate) fn listen(self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let port = listener.local_addr().expect("bound").port();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { break };
                let answer: &[u8] = match self {
                    Peer::Silent => {
                        held.push(stream);
                        continue;
                    }
                    Peer::Closes => continue,
                    Peer::Http => {
                        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    }
                    // Alert, TLS 1.2, two bytes: fatal, unexpected message.
                    Peer::Tls => &[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x0a],
                };
                std::thread::spawn(move || {
                    let mut buffer = [0; 1024];
                    let _ = stream.read(&mut buffer);
                    let _ = stream.write_all(answer);
                });
            }
        });
        port
    }
}

/// A port whose owner takes no connection: those that are asked for beyond the queue stay without an answer.
pub(crate) struct FullBacklog {
    listener: socket2::Socket,
    _waiting: Vec<socket2::Socket>,
}

impl FullBacklog {
    pub(crate) fn new() -> Self {
        use socket2::{Domain, Socket, Type};
        let loopback: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        listener.bind(&loopback.into()).expect("loopback");
        listener.listen(0).expect("it listens");
        let address = listener.local_addr().expect("bound");
        let fill = |_| {
            let waiting = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            waiting.set_nonblocking(true).expect("it does not block");
            let _ = waiting.connect(&address);
            waiting
        };
        let waiting = (0..4).map(fill).collect();
        Self { listener, _waiting: waiting }
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().ok().and_then(|address| address.as_socket()).expect("bound").port()
    }
}

/// A port on which nothing listens and which nobody else is given: it stays bound for as long as the tests run.
pub(crate) fn dead_port() -> u16 {
    use socket2::{Domain, Socket, Type};
    static DEAD: OnceLock<Socket> = OnceLock::new();
    let socket = DEAD.get_or_init(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("loopback");
        socket
    });
    socket.local_addr().ok().and_then(|address| address.as_socket()).expect("bound").port()
}

/// Compares with a text in `tests/messages/`; `UPDATE_MESSAGES=1` writes it instead.
#[track_caller]
pub(crate) fn same_as_kept(name: &str, text: &str) {
    let path = format!("{}/tests/messages/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = anonymous(text);
    if std::env::var_os("UPDATE_MESSAGES").is_some() {
        std::fs::write(&path, &text).expect("writable");
        return;
    }
    let kept = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{path}: {error}; UPDATE_MESSAGES=1 writes it\n{text}"));
    assert!(
        kept == text,
        "{name} reads otherwise; UPDATE_MESSAGES=1 accepts it\n--- kept\n{kept}\n--- now\n{text}"
    );
}

/// A text without what differs from run to run: ports, keys, paths, durations.
pub(crate) fn anonymous(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut line = line.to_owned();
        line = after(&line, "127.0.0.1:", char::is_ascii_digit, "PORT");
        for lead in ["expires in ", "p99>1ns: ", "  port ", "last heard of "] {
            line = after(&line, lead, |c| c.is_ascii_digit() || *c == '.', "N");
        }
        for unit in [" us", " ms", " s"] {
            line = line.replace(&format!("p99>1ns: N{unit}"), "p99>1ns: TIME");
        }
        // What is left of a deadline once the program has started and connected.
        for lead in ["has no result after ", "says nothing for "] {
            line = after(&line, lead, |c| c.is_ascii_digit() || matches!(c, '.' | 'm' | 's'), "TIME");
        }
        line = without_duration(&line);
        for key in ["_exit-0", "add-0", "truediv-0", "thing-0", "sleep-0", "boom-0", " a-0", " b-0"] {
            line = after(&line, key, char::is_ascii_hexdigit, "HASH");
        }
        // Where in Dask it happened is of no interest, and differs from release to release.
        if let (true, Some(at)) = (line.starts_with("{\"error\""), line.find("\"traceback\":[")) {
            line.truncate(at);
            line.push_str("\"traceback\":[…]}}");
        }
        // Python's own files lie where the environment is.
        if let (true, Some(at)) = (line.trim_start().starts_with("File \""), line.rfind('/')) {
            line = format!("  File \"…{}", &line[at..]);
            line = after(&line, "line ", char::is_ascii_digit, "N");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// A line whose last words are how long something took: without that, and without what lines it up.
fn without_duration(line: &str) -> String {
    let words: Vec<&str> = line.trim_end().rsplitn(3, ' ').collect();
    match words.as_slice() {
        [unit @ ("s" | "ms" | "us"), number, rest]
            if number.parse::<f64>().is_ok() && rest.ends_with(' ') =>
        {
            format!("{}  TIME {unit}", rest.trim_end())
                .replace(" ms", "")
                .replace(" us", "")
                .replace("TIME s", "TIME")
        }
        _ => line.to_owned(),
    }
}

/// Replaces what follows each occurrence of `lead` for as long as it is of a kind.
fn after(line: &str, lead: &str, kind: impl Fn(&char) -> bool, name: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(lead) {
        let (before, tail) = rest.split_at(at + lead.len());
        out.push_str(before);
        let stripped = tail.trim_start_matches(|c| kind(&c));
        if stripped.len() < tail.len() {
            out.push_str(name);
        }
        rest = stripped;
    }
    out + rest
}
