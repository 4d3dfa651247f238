//! Nothing stays behind when the process that owns a cluster is killed.
#![cfg(unix)]

mod common;

use std::io::{BufRead, BufReader, Write};

use dask_local::LocalCluster;

/// The process that is killed: starts a cluster, tells what it has started, and waits.
#[tokio::test]
async fn owner() {
    if !common::is_child() {
        return;
    }
    let cluster = LocalCluster::builder().workers(1).nanny(true).start().await.unwrap();
    let mut pids: Vec<String> = cluster.workers().iter().map(|worker| worker.pid.to_string()).collect();
    pids.push(cluster.scheduler_pid().to_string());
    pids.extend(cluster.supervisor_pid().map(|pid| pid.to_string()));
    let mut stdout = std::io::stdout();
    writeln!(stdout, "\nstarted\t{}\t{}", cluster.directory().display(), pids.join(" ")).unwrap();
    stdout.flush().unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(600)).await;
}

#[test]
fn nothing_stays_behind_when_the_owner_is_killed() {
    if common::is_child() {
        return;
    }
    let mut owner = common::again("owner").spawn().unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let line = lines.map_while(Result::ok).find(|line| line.starts_with("started\t"));
    let line = line.expect("the owner did not start its cluster");
    let fields: Vec<&str> = line.split('\t').collect();
    let directory = std::path::PathBuf::from(fields[1]);
    let pids: Vec<u32> = fields[2].split(' ').map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 3);
    assert!(directory.exists());
    // The scheduler, the supervisor, and a nanny with its worker at least.
    assert!(common::running(&pids).len() >= 4);

    owner.kill().unwrap();
    owner.wait().unwrap();
    common::wait_until("the end of every process", || common::running(&pids).is_empty());
    common::wait_until("the removal of the private directory", || !directory.exists());
}
