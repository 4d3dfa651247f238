//! `dask-rs saturn` as scripts see it: lines of JSON, and exit codes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use saturn_cloud::Status;
use saturn_cloud::emulator::{Chain, Emulator, EmulatorBuilder, Fault, Outcome};
use serde_json::Value as Json;

/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(180);

fn command(emulator: &Emulator, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dask-rs"));
    command
        .arg("saturn")
        .args(args)
        .env("SATURN_BASE_URL", emulator.url())
        .env("SATURN_TOKEN", emulator.token());
    command
}

fn run(emulator: &Emulator, args: &[&str]) -> Output {
    command(emulator, args).output().unwrap()
}

fn lines(output: &Output) -> Vec<Json> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn from_nothing_to_healthy_and_down_again() {
    let emulator = Emulator::builder().warning("prices are high").start().unwrap();
    let options = ["--project-id", emulator.project_id(), "--n-workers", "2", "--worker-size", "8xlarge"];
    let more = ["--scheduler-size", "2xlarge", "--nthreads", "1", "--poll", "200ms", "--tls-verify", "name"];
    let up = run(&emulator, &[&["up"], &options[..], &more[..]].concat());
    assert_eq!(up.status.code(), Some(0), "{}", stderr(&up));
    let events = lines(&up);
    let named = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert!(
        named("status") >= 2 && named("warning") == 1 && named("cost") == 1 && named("ready") == 1,
        "{events:?}"
    );
    let last = events.last().unwrap();
    assert!(last["scheduler"].as_str().unwrap().starts_with("tls://"), "{last}");
    assert_eq!(last["cost_per_hour_usd"], 5.4);
    let health = last["health"].as_object().unwrap();
    assert!(health.len() == 2 && health.values().all(|worker| worker["status"] == "OK"), "{last}");

    let id = last["id"].as_str().unwrap();
    let list = lines(&run(&emulator, &["list", "-o", "json"]));
    assert_eq!((list.len(), &list[0]["id"], &list[0]["cost_per_hour_usd"]), (1, &last["id"], &5.4.into()));
    assert_eq!(run(&emulator, &["scale", id, "1"]).status.code(), Some(0));
    assert_eq!(run(&emulator, &["adapt", id, "1", "3"]).status.code(), Some(0));
    assert_eq!(run(&emulator, &["adapt", id, "3", "1"]).status.code(), Some(1));
    let status = lines(&run(&emulator, &["status", id, "-o", "json"]));
    assert_eq!((&status[0]["status"], &status[0]["n_workers"]), (&"running".into(), &1.into()));
    let logs = lines(&run(&emulator, &["logs", id, "--component", "scheduler", "-o", "json"]));
    assert!(logs.iter().any(|line| line["content"].as_str().unwrap().contains("Scheduler at")), "{logs:?}");
    let down = run(&emulator, &["down", "--all", "--yes"]);
    assert_eq!((down.status.code(), &lines(&down)[0]["status"]), (Some(0), &"closed".into()));
    assert!(run(&emulator, &["list"]).stdout.is_empty());
    assert_eq!(emulator.clusters()[0].1, Status::Closed);
}

#[test]
fn each_failure_has_its_exit_code_and_leaves_nothing_running() {
    let bare = || Emulator::builder().dask(false);
    let up = |builder: EmulatorBuilder, more: &[&str]| {
        let emulator = builder.start().unwrap();
        let base = ["up", "--project-id", emulator.project_id(), "--poll", "50ms"];
        let output = run(&emulator, &[&base[..], more].concat());
        let left = emulator.clusters().into_iter().filter(|(_, status)| *status != Status::Closed).count();
        assert_eq!(left, 0, "{:?}", emulator.clusters());
        (output.status.code().unwrap(), stderr(&output))
    };
    let delay = Duration::from_millis(20);
    for (builder, more, code, words) in [
        (bare(), &["--worker-size", "huge"][..], 1, "8xlarge"),
        (bare(), &["--nthreads", "0"], 1, "at least one thread"),
        (bare().delay(delay).unreachable(true), &[], 2, "cannot be reached"),
        (bare().delay(delay).chain(Chain::Page), &[], 3, "connecting to cluster "),
        (bare().delay(delay).fault(Fault::new("/csr", 502, "bad gateway")), &[], 3, "answers 502"),
        (bare().delay(delay).chain(Chain::Short), &[], 2, "1 certificate(s)"),
        (bare().delay(delay).chain(Chain::Foreign), &[], 2, "did not sign"),
        (bare().outcome(Outcome::Never), &["--deadline", "500ms"], 4, "it was closed"),
        (bare().delay(delay).tells_address("tcp://10.0.23.16:8786"), &[], 2, "not encrypted"),
        (bare().delay(delay).certificate_name("dask-internal"), &["--tls-verify", "name"], 2, "another name"),
        (
            bare().delay(delay).certificate_lifetime(Duration::ZERO),
            &[],
            2,
            "does not accept this client's certificate",
        ),
        (bare(), &["--tls-verify", "pinned"], 1, "--tls-ca-file"),
        (bare(), &["--tls-verify", "pinned", "--tls-ca-file", "/no/such.pem"], 1, "/no/such.pem"),
        (bare(), &["--connect-via", "::1:many"], 1, "[::1]:8786"),
        (
            bare().delay(delay),
            &["--connect-via", "no host:1"],
            2,
            "the name \"no host\", to be connected to instead",
        ),
        (bare().outcome(Outcome::Error(vec!["no quota".to_owned()])), &[], 4, "no quota"),
    ] {
        let (got, said) = up(builder, more);
        assert_eq!(got, code, "{said}");
        assert!(said.contains(words), "{said}");
        // What became of a cluster is told once, and as it is.
        assert!(!said.contains("lets go of it"), "{said}");
        assert_eq!(said.matches("it was closed").count(), usize::from(code > 1), "{said}");
    }
    let emulator = bare().start().unwrap();
    for option in [
        &["--n-workers", "2"][..],
        &["--worker-size", "large"],
        &["--scheduler-size", "large"],
        &["--nprocs", "2"],
        &["--nthreads", "2"],
        &["--worker-is-spot"],
        &["--reset"],
    ] {
        let refused = run(&emulator, &[&["up", "--cluster-id", "c1"], option].concat());
        assert_eq!(refused.status.code(), Some(1), "{option:?}");
        assert!(stderr(&refused).contains(option[0]), "{}", stderr(&refused));
    }
    assert!(emulator.requests().is_empty());
    let wrong = command(&emulator, &["sizes"]).env("SATURN_TOKEN", "wr0ng").output().unwrap();
    assert_eq!(wrong.status.code(), Some(3));
    assert!(!stderr(&wrong).contains("wr0ng"));
    let none = command(&emulator, &["sizes"]).env_remove("SATURN_TOKEN").output().unwrap();
    assert_eq!(none.status.code(), Some(1));
    let nowhere =
        command(&emulator, &["sizes"]).env("SATURN_BASE_URL", "http://127.0.0.1:1").output().unwrap();
    assert_eq!(nowhere.status.code(), Some(2), "{}", stderr(&nowhere));
}

#[test]
fn a_token_is_read_from_a_file() {
    let emulator = Emulator::builder().dask(false).start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token.json");
    let sizes = || {
        let mut command = command(&emulator, &["sizes", "--token-file"]);
        command.arg(&file).env_remove("SATURN_TOKEN").output().unwrap()
    };
    std::fs::write(&file, serde_json::json!({ "token": emulator.token() }).to_string()).unwrap();
    assert_eq!(sizes().status.code(), Some(0), "{}", stderr(&sizes()));
    for text in ["{}", "no JSON"] {
        std::fs::write(&file, text).unwrap();
        assert_eq!(sizes().status.code(), Some(1), "{text}");
        assert!(stderr(&sizes()).contains("token.json"), "{}", stderr(&sizes()));
    }
}

#[test]
fn a_cluster_is_made_for_a_deployment_or_a_job() {
    let emulator = Emulator::builder().dask(false).start().unwrap();
    for (option, field, id) in [
        ("--deployment-id", "deployment_id", emulator.deployment_id()),
        ("--job-id", "job_id", emulator.job_id()),
    ] {
        // There is no scheduler behind the door.
        let up = run(&emulator, &["up", option, id, "--keep", "--poll", "50ms"]);
        assert_eq!(up.status.code(), Some(2), "{}", stderr(&up));
        let (cluster, status) = emulator.clusters().pop().unwrap();
        assert_eq!(status, Status::Running);
        let made = lines(&run(&emulator, &["status", &cluster, "-o", "json"]));
        assert_eq!(made[0][field], id, "{made:?}");
        let unknown = run(&emulator, &["up", option, "nope"]);
        assert_eq!(unknown.status.code(), Some(3));
        assert!(stderr(&unknown).contains("\"nope\""), "{}", stderr(&unknown));
    }
    assert_eq!(emulator.clusters().len(), 2);
}

#[test]
fn a_scheduler_without_encryption_is_used_if_that_is_allowed() {
    let mut local = Command::new(env!("CARGO_BIN_EXE_dask-rs"));
    local.args(["local", "up", "--workers", "1", "--threads", "1"]);
    let mut local = Running::start(local);
    let told = local.until(|line| line["scheduler"].is_string());
    let scheduler = told["scheduler"].as_str().unwrap().strip_prefix("tcp://").unwrap().to_owned();
    let emulator = Emulator::builder().dask(false).tells_address("tcp://scheduler.example:8786");
    let emulator = emulator.delay(Duration::from_millis(20)).start().unwrap();
    let way = ["--connect-via", scheduler.as_str()];
    let mut refused = Running::up(&emulator, &way);
    assert_eq!(refused.status(), 2);
    assert!(refused.said().contains("not encrypted"));
    let mut up = Running::up(&emulator, &[&way[..], &["--allow-unencrypted"]].concat());
    let last = up.event("up");
    assert_eq!((&last["scheduler"], up.end().0), (&"tcp://scheduler.example:8786".into(), 0));
    assert_eq!(last["health"].as_object().unwrap().len(), 1, "{last}");
    local.interrupt();
    assert_eq!(local.end().0, 0);
}

/// A command that is under way.
struct Running {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
    seen: Vec<Json>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        Self { child, lines, seen: Vec::new() }
    }

    fn up(emulator: &Emulator, more: &[&str]) -> Self {
        let base = ["up", "--project-id", emulator.project_id(), "--poll", "100ms"];
        Self::start(command(emulator, &[&base[..], more].concat()))
    }

    /// Waits for a line that is wanted.
    fn until(&mut self, wanted: impl Fn(&Json) -> bool) -> Json {
        loop {
            let line = match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => serde_json::from_str(&line).unwrap(),
                Err(_) => {
                    drop(self.child.kill());
                    let said = self.said();
                    panic!("it did not come: {:?}\n{said}", self.seen);
                }
            };
            self.seen.push(line);
            let line = self.seen.last().unwrap();
            if wanted(line) {
                return line.clone();
            }
        }
    }

    fn event(&mut self, name: &str) -> Json {
        self.until(|line| line["event"] == name)
    }

    fn interrupt(&self) {
        self.signal("-INT");
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    fn said(&mut self) -> String {
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    /// The exit code and what was said.
    fn end(mut self) -> (i32, String) {
        (self.status(), self.said())
    }

    fn status(&mut self) -> i32 {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap();
            }
            if begun.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                panic!("it does not end: {:?}", self.seen);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn statuses(emulator: &Emulator) -> Vec<Status> {
    emulator.clusters().into_iter().map(|(_, status)| status).collect()
}

#[test]
fn ctrl_c_closes_what_was_started() {
    // While it starts.
    let emulator = Emulator::builder().dask(false).outcome(Outcome::Never).start().unwrap();
    let mut up = Running::up(&emulator, &[]);
    let id = up.event("status")["id"].as_str().unwrap().to_owned();
    up.interrupt();
    let (code, said) = up.end();
    assert_eq!((code, statuses(&emulator)), (3, vec![Status::Closed]), "{said}");
    assert!(said.contains(&format!("given up; cluster {id} was closed")), "{said}");
    // What is to be kept is named.
    let mut up = Running::up(&emulator, &["--keep"]);
    let id = up.event("status")["id"].as_str().unwrap().to_owned();
    up.interrupt();
    let (code, said) = up.end();
    assert_eq!((code, emulator.clusters().pop().unwrap().1.is_over()), (3, false), "{said}");
    assert!(said.contains(&format!("cluster {id} is left running")), "{said}");
    assert!(said.contains(&format!("saturn down {id}")), "{said}");
    // One that is asked to close and does not.
    let emulator = Emulator::builder().dask(false).outcome(Outcome::Never);
    let emulator = emulator.fault(Fault::new("/close", 403, "no")).start().unwrap();
    let mut up = Running::up(&emulator, &[]);
    let id = up.event("status")["id"].as_str().unwrap().to_owned();
    up.interrupt();
    let (code, said) = up.end();
    assert_eq!(code, 3, "{said}");
    assert!(
        said.contains(&id) && said.contains("may run and cost") && !said.contains("was closed"),
        "{said}"
    );
}

/// Lines from a program, as they come.
fn lines_of(out: impl Read + Send + 'static) -> std::sync::mpsc::Receiver<String> {
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        BufReader::new(out).lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
    });
    lines
}

#[test]
fn ctrl_c_again_does_not_wait_for_a_server_that_says_nothing() {
    let silent = Duration::from_secs(3600);
    // While the cluster starts, and while it is there.
    for (fault, outcome, event, told) in [
        (Fault::slow("/close", silent), Outcome::Never, "status", true),
        (Fault::slow("/dask_clusters", silent).method("POST"), Outcome::Never, "", false),
        (Fault::slow("/close", silent), Outcome::Ready, "ready", true),
    ] {
        let sizes = ["--worker-size", "large", "--scheduler-size", "large", "--request-timeout", "1h"];
        let emulator = Emulator::builder().dask(false).delay(Duration::from_millis(20)).outcome(outcome);
        let emulator = emulator.fault(fault).fault(Fault::slow("/csr", silent)).start().unwrap();
        let mut up = Running::up(&emulator, &sizes);
        let id = if told {
            up.until(|line| line["event"] == event && line["id"].is_string())["id"]
                .as_str()
                .unwrap()
                .to_owned()
        } else {
            let begun = Instant::now();
            while emulator.clusters().is_empty() && begun.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(20));
            }
            "what was started".to_owned()
        };
        let said = lines_of(up.child.stderr.take().unwrap());
        up.interrupt();
        let first = said.recv_timeout(PATIENCE).unwrap();
        assert!(first.contains(&id) && first.contains("Ctrl-C again leaves it running"), "{first}");
        up.interrupt();
        let last = said.recv_timeout(PATIENCE).unwrap();
        assert!(last.contains("may be running, and cost"), "{last}");
        let next = if told { format!("dask-rs saturn down {id}") } else { "dask-rs saturn list".to_owned() };
        assert!(last.contains(&next), "{last}");
        assert_eq!(up.status(), 3);
    }
}

/// The command, which starts with hangups ignored, or not, whatever these tests were started by.
fn with_hangups(command: &Command, how: &str) -> Command {
    let script = format!(
        "import os, signal, sys\nsignal.signal(signal.SIGHUP, signal.{how})\nos.execv(sys.argv[1], sys.argv[1:])"
    );
    let mut with = Command::new("python3");
    with.args(["-c", &script]).arg(command.get_program()).args(command.get_args());
    with.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    with
}

#[cfg(target_os = "linux")]
#[test]
fn the_end_of_the_terminal_closes_what_was_started_unless_nohup_says_no() {
    let emulator = Emulator::builder().dask(false).outcome(Outcome::Never).start().unwrap();
    let id = emulator.project_id();
    let up = command(&emulator, &["up", "--project-id", id, "--poll", "100ms"]);
    let mut first = Running::start(with_hangups(&up, "SIG_DFL"));
    first.event("status");
    first.signal("-HUP");
    let (code, said) = first.end();
    assert_eq!((code, statuses(&emulator)), (3, vec![Status::Closed]), "{said}");
    assert!(said.contains("was closed"), "{said}");
    let mut second = Running::start(with_hangups(&up, "SIG_IGN"));
    second.event("status");
    second.signal("-HUP");
    // What it says after it has asked the server again was not said by a program that gives up.
    (0..3).for_each(|_| drop(second.event("status")));
    assert!(!emulator.clusters().pop().unwrap().1.is_over());
    second.interrupt();
    assert_eq!(second.end().0, 3);
    assert_eq!(statuses(&emulator), vec![Status::Closed; 2]);
}

#[test]
fn quiet_or_not_what_may_cost_is_told() {
    // It is started, cannot be reached, and does not close.
    let emulator = Emulator::builder().dask(false).delay(Duration::from_millis(20));
    let emulator = emulator.fault(Fault::new("/close", 403, "no")).start().unwrap();
    let up = run(&emulator, &["-q", "up", "--project-id", emulator.project_id(), "--poll", "50ms"]);
    assert_eq!(up.status.code(), Some(2), "{}", stderr(&up));
    let (id, _) = emulator.clusters().pop().unwrap();
    assert!(
        stderr(&up).contains(&format!("cluster {id}")) && stderr(&up).contains("may run and cost"),
        "{}",
        stderr(&up)
    );
}

#[test]
fn ctrl_c_closes_while_waiting_for_workers_and_under_a_time_limit() {
    let emulator = Emulator::builder().most_workers(1).start().unwrap();
    let mut up = Running::up(&emulator, &["--n-workers", "3", "--nthreads", "1"]);
    let parts = up.event("components");
    assert_eq!(parts["workers"]["count"], 3);
    let workers = up.until(|line| line["event"] == "workers" && line["workers"] == 1);
    assert_eq!(workers["wanted"], 3);
    let warned = |line: &Json| line["text"].as_str().is_some_and(|text| text.contains("runs 1 at most"));
    assert!(up.seen.iter().any(warned), "{:?}", up.seen);
    up.interrupt();
    let (code, said) = up.end();
    assert_eq!((code, statuses(&emulator)), (3, vec![Status::Closed]), "{said}");
    assert!(said.contains("given up") && said.contains("was closed"), "{said}");
    // Under --close-after that is the proper end.
    let mut up = Running::up(&emulator, &["--n-workers", "1", "--nthreads", "1", "--close-after", "1h"]);
    up.event("up");
    up.interrupt();
    let (code, said) = up.end();
    assert_eq!((code, statuses(&emulator)), (0, vec![Status::Closed; 2]), "{said}");
    assert!(said.contains("the cluster was closed"), "{said}");
    // The time limit itself, of a cluster that runs already, so that it is not used up by the start.
    let mut up = Running::up(&emulator, &["--n-workers", "1", "--nthreads", "1"]);
    up.event("up");
    assert_eq!(up.end().0, 0);
    let mut up = Running::up(&emulator, &["--close-after", "40s"]);
    up.event("up");
    let (code, said) = up.end();
    assert_eq!((code, statuses(&emulator)), (0, vec![Status::Closed; 3]), "{said}");
}

#[test]
fn a_cluster_that_dies_before_its_time_is_a_failure() {
    let emulator = Emulator::builder().start().unwrap();
    let mut up = Running::up(&emulator, &["--n-workers", "1", "--nthreads", "1", "--close-after", "1h"]);
    up.event("up");
    emulator.kill_clusters();
    let (code, said) = up.end();
    assert_eq!((code, statuses(&emulator)), (4, vec![Status::Closed]), "{said}");
    assert!(said.contains("is error before its time was up"), "{said}");
}

#[test]
fn a_cluster_is_attached_to_reset_and_reached_by_another_way() {
    let emulator = Emulator::builder().start().unwrap();
    let one = ["--n-workers", "1", "--nthreads", "1"];
    let first = Running::up(&emulator, &one).event("up")["id"].clone();
    // More workers than it has are no reason to wait: the options are those of a new cluster.
    let mut up = Running::up(&emulator, &["--n-workers", "5", "--worker-size", "8xlarge"]);
    let last = up.event("up");
    let (code, said) = up.end();
    assert_eq!((code, &last["id"]), (0, &first), "{said}");
    // Nor does it cost what the options would.
    assert_eq!(last["cost_per_hour_usd"], 0.12);
    // By its id.
    let mut up = Running::start(command(&emulator, &["up", "--cluster-id", first.as_str().unwrap()]));
    assert_eq!(up.event("up")["id"], first);
    assert_eq!(up.end().0, 0);
    // Through another host and port; the name stays that of the address.
    let via = format!("127.0.0.1:{}", emulator.scheduler_port());
    let mut up = Running::up(&emulator, &["--connect-via", &via]);
    assert_eq!(up.event("up")["id"], first);
    assert_eq!(up.end().0, 0);
    let wrong = run(&emulator, &["up", "--connect-via", "127.0.0.1:many"]);
    assert_eq!(wrong.status.code(), Some(1));
    let dead = run(&emulator, &["up", "--project-id", emulator.project_id(), "--connect-via", "127.0.0.1:1"]);
    assert_eq!(dead.status.code(), Some(2), "{}", stderr(&dead));
    assert!(stderr(&dead).contains("is left running"), "{}", stderr(&dead));
    assert_eq!(statuses(&emulator), [Status::Running]);
    // Anew.
    let mut up = Running::up(&emulator, &[&one[..], &["--reset", "--keep"]].concat());
    let second = up.event("up")["id"].clone();
    assert_eq!(up.end().0, 0);
    assert_ne!(second, first);
    assert_eq!(statuses(&emulator), [Status::Closed, Status::Running]);
    // For a workspace.
    let workspace =
        ["up", "--workspace-id", emulator.workspace_id(), "--poll", "100ms", "--close-after", "1h"];
    let mut up = Running::start(command(&emulator, &[&workspace[..], &one[..]].concat()));
    up.event("up");
    up.interrupt();
    assert_eq!(up.end().0, 0);
    assert_eq!(statuses(&emulator), [Status::Closed, Status::Running, Status::Stopped]);
}

#[test]
fn the_last_lines_of_a_log_are_shown_and_how_many_are_not() {
    let emulator = Emulator::builder().dask(false);
    let emulator =
        (0..120).fold(emulator, |emulator, n| emulator.logged(format!("line {n}"))).start().unwrap();
    run(&emulator, &["up", "--project-id", emulator.project_id(), "--keep"]);
    let (id, _) = emulator.clusters().pop().unwrap();
    let two = run(&emulator, &["logs", &id, "--lines", "2", "-o", "json"]);
    let contents: Vec<Json> = lines(&two).into_iter().map(|line| line["content"].clone()).collect();
    assert_eq!(contents, ["line 118", "line 119"]);
    assert!(stderr(&two).contains("118 earlier lines are left out"), "{}", stderr(&two));
    let all = run(&emulator, &["logs", &id, "-o", "json"]);
    assert_eq!((lines(&all).len(), stderr(&all).as_str()), (120, ""));
}

#[test]
fn what_runs_is_listed_and_everything_is_closed_only_when_that_is_meant() {
    let emulator = Emulator::builder().dask(false).start().unwrap();
    let sizes = run(&emulator, &["sizes"]);
    assert_eq!(sizes.status.code(), Some(0));
    let text = String::from_utf8_lossy(&sizes.stdout).into_owned();
    assert!(text.contains("8xlarge") && text.contains("2.40") && text.contains("not available"), "{text}");
    let sizes = lines(&run(&emulator, &["sizes", "-o", "json"]));
    assert!(sizes.iter().any(|size| size["name"] == "8xlarge" && size["price_per_hour"] == 2.4));
    assert!(stderr(&run(&emulator, &["list"])).contains("nothing runs"));
    assert_eq!(run(&emulator, &["down", "--all"]).status.code(), Some(0));
    // Without a scheduler behind the door, `up` leaves what it is to keep.
    let up = run(&emulator, &["up", "--project-id", emulator.project_id(), "--keep"]);
    assert_eq!(up.status.code(), Some(2), "{}", stderr(&up));
    let (id, _) = emulator.clusters().pop().unwrap();
    let list = run(&emulator, &["list"]);
    let text = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(text.contains(&id) && text.contains("running") && text.contains("0.12"), "{text}");
    let status = run(&emulator, &["status", &id]);
    let text = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(text.contains("status     running") && text.contains("USD/h      0.12"), "{text}");
    assert_eq!(run(&emulator, &["logs", &id]).status.code(), Some(0));
    let all = run(&emulator, &["down", "--all"]);
    assert_eq!((all.status.code(), all.stdout.is_empty()), (Some(1), true));
    assert!(stderr(&all).contains(&id) && stderr(&all).contains("--yes"), "{}", stderr(&all));
    assert_eq!(statuses(&emulator), [Status::Running]);
    assert_eq!(run(&emulator, &["down", "--all", "--yes"]).status.code(), Some(0));
    assert_eq!(statuses(&emulator), [Status::Closed]);
    let unknown = run(&emulator, &["down", "c9"]);
    assert_eq!(unknown.status.code(), Some(3));
    assert!(stderr(&unknown).contains("c9") && stderr(&unknown).lines().count() == 1, "{}", stderr(&unknown));
    let both = run(&emulator, &["down", "c8", "c9"]);
    assert_eq!(both.status.code(), Some(3));
    assert!(
        stderr(&both).contains("cluster c8: ") && stderr(&both).contains("2 of 2 clusters"),
        "{}",
        stderr(&both)
    );
}

/// Runs a command on a terminal of its own; the exit code, and everything it wrote.
fn on_a_terminal(mut command: Command, typed: &str) -> (i32, String) {
    let script = "import os,pty,sys\n\
        status = pty.spawn(sys.argv[1:])\n\
        sys.exit(os.waitstatus_to_exitcode(status))";
    let mut on = Command::new("timeout");
    on.args(["150", "python3", "-c", script]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            on.env(name, value);
        }
    }
    command = on;
    let child =
        command.env("TERM", "xterm").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), typed.as_bytes()).unwrap();
    // The input stays open: its end would end the terminal.
    let stdin = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_terminal_shows_a_bar_with_counts_and_is_asked() {
    let emulator =
        Emulator::builder().delay(Duration::from_secs(2)).warning("prices are high").start().unwrap();
    let options = ["up", "--project-id", emulator.project_id(), "--n-workers", "2", "--nthreads", "1"];
    let more = ["--worker-size", "8xlarge", "--scheduler-size", "2xlarge", "--poll", "100ms"];
    let (code, shown) = on_a_terminal(command(&emulator, &[&options[..], &more[..]].concat()), "");
    assert_eq!(code, 0, "{shown}");
    for words in [
        "starting",
        "scheduler pending, workers 0/2",
        "scheduler running, workers 2/2",
        "(about 5.40 USD/h when up)",
        "warning   prices are high",
        "ready     tls://",
        r#""status":"OK""#,
    ] {
        assert!(shown.contains(words), "{words:?} is missing: {shown}");
    }
    // Closing everything is asked for.
    let (code, shown) = on_a_terminal(command(&emulator, &["down", "--all"]), "no\n");
    assert_eq!((code, statuses(&emulator)), (1, vec![Status::Running]), "{shown}");
    let (code, shown) = on_a_terminal(command(&emulator, &["down", "--all"]), "yes\n");
    assert_eq!((code, statuses(&emulator)), (0, vec![Status::Closed]), "{shown}");
}

#[test]
fn the_emulator_runs_as_a_program_of_its_own() {
    let mut emulate = Command::new(env!("CARGO_BIN_EXE_dask-rs"));
    emulate.args([
        "saturn",
        "emulate",
        "--token",
        "t0ken",
        "--warning",
        "it is emulated",
        "--fail",
        "/logs=500",
        "--most-workers",
        "2",
    ]);
    let mut emulator = Running::start(emulate);
    let told = emulator.until(|line| line["url"].is_string());
    let with = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dask-rs"));
        let token = told["token"].as_str().unwrap();
        command.arg("saturn").args(args).env("SATURN_BASE_URL", told["url"].as_str().unwrap());
        command.env("SATURN_TOKEN", token);
        command
    };
    let project = told["project_id"].as_str().unwrap();
    let options = ["up", "--project-id", project, "--n-workers", "1", "--nthreads", "1", "--poll", "100ms"];
    let mut up = Running::start(with(&[&options[..], &["--nprocs", "2"]].concat()));
    let last = up.event("up");
    assert!(up.seen.iter().any(|line| line["text"] == "it is emulated"));
    assert_eq!(up.end().0, 0);
    let id = last["id"].as_str().unwrap();
    // One machine with two processes, which is as much as it has.
    assert_eq!(last["health"].as_object().unwrap().len(), 2);
    let status = || String::from_utf8_lossy(&with(&["status", id]).output().unwrap().stdout).into_owned();
    assert!(status().contains("workers    1 of 1 run") && !status().contains("at most"), "{}", status());
    assert_eq!(with(&["scale", id, "2"]).output().unwrap().status.code(), Some(0));
    assert!(status().contains("workers    1 of 2 run"), "{}", status());
    assert!(
        status().contains("4 worker processes are asked for, and this emulator runs 2 at most"),
        "{}",
        status()
    );
    assert_eq!(with(&["logs", id]).output().unwrap().status.code(), Some(3));
    assert_eq!(with(&["down", id]).output().unwrap().status.code(), Some(0));
    emulator.interrupt();
    assert_eq!(emulator.end().0, 0);
}
