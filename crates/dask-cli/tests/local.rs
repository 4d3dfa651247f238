//! `dask-rs local up` and `demo`: clusters of this machine, and that nothing of them is left.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a test fails by panic"
)]

mod common;

use std::io::BufReader;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use common::{first_line, program, releases, run};
use serde_json::Value as Json;

struct Up {
    child: Child,
    ready: Json,
    /// Kept, for it ends when nobody can read it.
    _output: BufReader<ChildStdout>,
}

fn up(args: &[&str]) -> Up {
    let mut child = program()
        .args(["local", "up"])
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (line, output) = first_line(&mut child);
    let ready = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
    Up { child, ready, _output: output }
}

/// Waits until nobody listens there any more.
#[track_caller]
fn until_gone(address: &str) {
    let place: std::net::SocketAddr = address.split("://").nth(1).unwrap().parse().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while std::net::TcpStream::connect(place).is_ok() {
        assert!(Instant::now() < deadline, "{address} is still there");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(unix)]
#[test]
fn a_cluster_stays_until_it_is_told_to_go() {
    for release in releases() {
        for (signal, tls) in [("-INT", true), ("-TERM", false)] {
            let mut args = vec!["--release", &release, "--workers", "2", "--threads", "3"];
            if tls {
                args.push("--tls");
            }
            let mut up = up(&args);
            let address = up.ready["scheduler"].as_str().unwrap().to_owned();
            assert!(
                address.starts_with(if tls { "tls://127.0.0.1:" } else { "tcp://127.0.0.1:" }),
                "{address}"
            );
            let workers = up.ready["workers"].as_array().unwrap().clone();
            assert_eq!(workers.len(), 2, "{}", up.ready);
            let mut args = vec!["workers", "-o", "json", "-s", &address];
            for (option, file) in
                [("--tls-ca-file", "tls_ca_file"), ("--tls-cert", "tls_cert"), ("--tls-key", "tls_key")]
            {
                if tls {
                    args.extend([option, up.ready[file].as_str().unwrap()]);
                }
            }
            let found = run(&args).exits(0).json();
            let found = found.as_array().unwrap();
            assert!(found.iter().all(|worker| workers.contains(&worker["address"])), "{found:?}");
            assert!(found.iter().all(|worker| worker["nthreads"] == 3), "{found:?}");
            assert!(up.child.try_wait().unwrap().is_none(), "it did not stay");

            let kill = Command::new("kill").args([signal, &up.child.id().to_string()]).status().unwrap();
            assert!(kill.success());
            assert_eq!(up.child.wait().unwrap().code(), Some(0));
            until_gone(&address);
            for worker in &workers {
                until_gone(worker.as_str().unwrap());
            }
        }
    }
}

#[test]
fn a_port_that_is_taken_is_code_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let run = run(&["local", "up", "--port", &port]).exits(1);
    assert!(run.stdout.is_empty() && run.stderr.contains("is taken by another process"), "{run:#?}");
}

#[test]
fn a_release_that_is_none_is_code_1() {
    let run = run(&["local", "up", "--release", "soon"]).exits(1);
    assert!(run.stdout.is_empty() && run.stderr.contains("soon"), "{run:#?}");
}

#[test]
fn a_demo_that_is_late_ends_and_leaves_nothing() {
    let late = run(&["demo", "--timeout", "1ms"]).exits(3);
    assert!(late.stdout.is_empty() && late.stderr.contains("--timeout"), "{late:#?}");
    let address = late.stderr.split_whitespace().find(|word| word.starts_with("tcp://")).unwrap();
    until_gone(address);
}
