//! What only happens on a terminal: spinners, bars, colours, questions, the live screen.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a test fails by panic"
)]
#![cfg(unix)]

mod common;
#[path = "common/pty.rs"]
mod pty;

use std::process::Command;

use common::{Peer, cluster, dead_port, program, run, run_on};
use dask_local::LocalCluster;
use pty::Terminal;

const NEWEST: &str = "2026.8.0";

fn on_terminal(args: &[&str]) -> Command {
    let mut command = program();
    command.args(args).env_remove("NO_COLOR").env_remove("CI");
    command
}

fn on_cluster(cluster: &LocalCluster, args: &[&str]) -> Command {
    let mut command = on_terminal(args);
    command.env("DASK_SCHEDULER_ADDRESS", cluster.address());
    command
}

#[test]
fn a_wait_of_more_than_a_second_is_told_on_a_terminal_only() {
    let address = format!("tcp://127.0.0.1:{}", Peer::Silent.listen());
    let args = ["versions", "-s", &address, "--timeout", "3s"];
    let (code, seen) = Terminal::run(on_terminal(&args)).end();
    assert_eq!(code, 3, "{seen:?}");
    assert!(seen.contains(&format!("connecting to {address}")), "{seen:?}");
    let (code, seen) = Terminal::run(on_terminal(&[&args[..], &["--quiet"]].concat())).end();
    assert!(code == 3 && !seen.contains("connecting to"), "{seen:?}");
    let piped = run(&args).exits(3);
    assert!(!piped.stderr.contains("connecting to"), "{piped:#?}");
}

#[test]
fn colours_are_for_terminals_and_not_for_everybody() {
    let address = format!("tcp://127.0.0.1:{}", dead_port());
    let args = ["versions", "-s", &address];
    let (_, seen) = Terminal::run(on_terminal(&args)).end();
    assert!(seen.contains("\u{1b}[") && seen.contains("nothing listens"), "{seen:?}");
    let mut without = on_terminal(&args);
    without.env("NO_COLOR", "1");
    let (_, seen) = Terminal::run(without).end();
    assert!(!seen.contains('\u{1b}') && seen.contains("error: cannot connect"), "{seen:?}");
    let doctor = ["doctor", address.as_str()];
    let (_, seen) = Terminal::run(on_terminal(&doctor)).end();
    assert!(seen.contains("\u{1b}[31m"), "{seen:?}");
    assert!(!run(&doctor).exits(2).stdout.contains('\u{1b}'));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_asks_and_does_what_is_answered() {
    let cluster = LocalCluster::builder().release(NEWEST).workers(1).nanny(true).start().await.unwrap();
    for (answer, code) in [("n\n", 1), ("\n", 1), ("y\n", 0)] {
        let mut terminal = Terminal::run(on_cluster(&cluster, &["restart", "--timeout", "60s"]));
        terminal.shows("[y/N]");
        terminal.types(answer);
        let (found, seen) = terminal.end();
        assert_eq!(found, code, "{answer:?}: {seen:?}");
        assert!(seen.contains(if code == 0 { "restarted; 1 workers" } else { "not restarted" }), "{seen:?}");
    }
    // One without a nanny does not come back, and nobody waits for it.
    cluster.add_worker(dask_local::WorkerSpec::new()).await.unwrap();
    let restarted =
        run_on(&cluster, &["restart", "--yes", "--timeout", "100s", "-o", "json"]).exits(0).json();
    assert_eq!(restarted["workers_before"], 2, "{restarted}");
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_screen_leaves_also_when_the_scheduler_hangs() {
    for release in common::releases() {
        let cluster = cluster(&release).await;
        // Longer than the terminal has patience: who waits for an answer before looking at keys fails.
        let args = ["top", "--every", "200ms", "--timeout", "300s"];
        let mut terminal = Terminal::run(on_cluster(&cluster, &args));
        terminal.shows("2 workers");
        terminal.shows("tasks done: 0/s, 0 since the start");
        for _ in 0..3 {
            run_on(&cluster, &["call", "operator:add", "1", "2"]).exits(0);
        }
        // They are gone from the scheduler by now, and count all the same.
        terminal.shows(", 3 since the start");
        cluster.pause_scheduler().await.unwrap();
        terminal.shows("no answer for");
        terminal.types("q");
        let (code, _) = terminal.end();
        assert_eq!(code, 0);
        cluster.resume_scheduler().await.unwrap();
        cluster.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_screen_that_is_killed_politely_puts_the_terminal_in_order() {
    let cluster = cluster(NEWEST).await;
    let terminal = Terminal::run(on_cluster(&cluster, &["top"]));
    terminal.shows("2 workers");
    let killed = std::process::Command::new("kill").args(["-TERM", &terminal.id().to_string()]).status();
    assert!(killed.unwrap().success());
    let (code, seen) = terminal.end();
    assert_eq!(code, 0);
    // It leaves the other screen, and the cursor is seen again.
    assert!(seen.contains("\u{1b}[?1049l"), "{seen:?}");
    assert!(seen.rfind("\u{1b}[?25h") > seen.rfind("\u{1b}[?25l"), "{seen:?}");
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn latency_is_one_live_line_within_the_width() {
    let cluster = cluster(NEWEST).await;
    let terminal = Terminal::run(on_cluster(&cluster, &["latency", "--count", "40", "--interval", "50ms"]));
    let (code, seen) = terminal.end();
    assert_eq!(code, 0, "{seen:?}");
    // One line with every step, written over itself, then the table.
    let live: Vec<&str> = seen.split('\r').filter(|line| line.contains("(max ")).collect();
    let width = |line: &&str| line.replace("\u{1b}[2K", "").trim().chars().count();
    assert!(!live.is_empty() && live.iter().all(|line| width(line) <= 100), "{live:?}");
    assert!(live.iter().any(|line| line.contains("in_memory ") && line.contains("fetch ")), "{live:?}");
    assert!(!pty::screen(&seen).contains("(max "), "{seen:?}");
    assert!(seen.contains("handshake") && seen.contains("phase"), "{seen:?}");
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn measuring_a_cluster_that_hangs_says_what_it_waits_for() {
    let cluster = cluster(NEWEST).await;
    let terminal =
        Terminal::run(on_cluster(&cluster, &["latency", "--duration", "10m", "--timeout", "300s"]));
    terminal.shows("(max ");
    cluster.pause_worker(0).await.unwrap();
    cluster.pause_worker(1).await.unwrap();
    terminal.shows("waiting for a small task");
    let killed = Command::new("kill").args(["-TERM", &terminal.id().to_string()]).status();
    assert!(killed.unwrap().success());
    let (code, seen) = terminal.end();
    assert!(code == 0 && pty::screen(&seen).contains("handshake"), "{seen:?}");

    let args = ["bench", "--warmup", "1s", "--duration", "1s", "--timeout", "3s"];
    let (code, seen) = Terminal::run(on_cluster(&cluster, &args)).end();
    assert!(code == 3 && seen.contains("no request was completed"), "{seen:?}");
    assert!(seen.contains("warming up") && seen.contains("0 requests, 0 failed"), "{seen:?}");
    let (_, seen) = Terminal::run(on_cluster(&cluster, &[&args[..], &["--quiet"]].concat())).end();
    assert!(!seen.contains("warming up"), "{seen:?}");
    cluster.stop().await.unwrap();
}

#[test]
fn demo_shows_how_many_tasks_are_done() {
    let (code, seen) = Terminal::run(on_terminal(&["demo"])).end();
    assert_eq!(code, 0, "{seen:?}");
    let head = seen.split(" tasks, results").next().unwrap();
    let digits = head.len() - head.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let tasks: u32 = head[head.len() - digits..].parse().unwrap();
    assert!(tasks > 300 && seen.contains(&format!("/{tasks}")), "{tasks} in {seen:?}");
}
