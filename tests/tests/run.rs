//! Functions outside of tasks, plugins, uploads and actors.
//!
//! Besides the two ends of history: 2020.12.0 (first that uploads by a plugin), 2021.8.1 (first known one with scheduler
//! and nanny plugins), 2023.8.0 (first that removes scheduler plugins; uploads to the scheduler), 2024.4.2 (plugins may
//! be idempotent).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dask_client::{
    Diagnosis, Dialect, Direct, ErrorKind, Feature, Future, Plugin, WorkerHealth, py, python, python_module,
};
use dask_live_tests::rounds::{another, over, releases_and};
use dask_live_tests::scenarios::{Outcome, Stage};
use dask_live_tests::{checks, ensure, ensure_eq};
use dask_local::WorkerSpec;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_plugins_files_and_actors() {
    let releases = releases_and(&["2020.12.0", "2021.8.1", "2023.8.0", "2024.4.2"]);
    let checks = checks![
        runs_on_nannies_and_has_plugins_there,
        runs_on_workers,
        runs_on_the_scheduler,
        gives_calls_limits_of_their_own,
        starts_without_waiting,
        registers_worker_plugins,
        registers_scheduler_plugins,
        uploads_files,
        calls_actors,
        says_why_an_actor_is_not_there,
        calls_actors_out_of_reach,
        calls_actors_directly_only_where_it_may,
    ];
    over(releases, |builder| builder, checks).await;
}

fn kind<T>(outcome: Result<T, dask_client::Error>) -> Option<ErrorKind> {
    outcome.err().map(|error| error.kind())
}

fn has(dialect: Dialect, op: &str) -> bool {
    dialect.request(dask_wire::Peer::Scheduler, op).is_ok()
}

fn all_ok(health: &BTreeMap<String, WorkerHealth>, count: usize) -> Outcome {
    ensure_eq!(health.len(), count);
    ensure!(health.values().all(WorkerHealth::is_ok), "{health:?}");
    ensure!(health.keys().all(|address| address.starts_with("tcp://")), "{health:?}");
    Ok(())
}

async fn runs_on_workers(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let pids = client.run::<i64>(py("os:getpid")).await?;
    ensure_eq!(pids.len(), 2);
    let expected: Vec<i64> =
        stage.cluster.cluster.workers().iter().map(|worker| i64::from(worker.pid)).collect();
    for pid in pids.into_values() {
        ensure!(expected.contains(&pid?), "{expected:?}");
    }
    let only = client.run::<i64>(py("only_on_workers:double").arg(21)).workers(["second"]).await?;
    ensure_eq!(only.into_values().collect::<Result<Vec<_>, _>>()?, [42]);
    ensure_eq!(kind(client.run::<i64>(py("os:getpid")).workers(["third"]).await), Some(ErrorKind::Config));
    // From source, with the worker itself as an argument.
    let source = "def name(dask_worker, end):\n    return dask_worker.name + end";
    let names = client.run::<String>(python_module(source, "name").kwarg("end", "!")).await?;
    let names = names.into_values().collect::<Result<BTreeSet<_>, _>>()?;
    ensure_eq!(names, BTreeSet::from(["first!".to_owned(), "second!".to_owned()]));
    let sorted = client.run::<Vec<i64>>(py("builtins:sorted").arg([1, 3]).kwarg("reverse", true)).await?;
    for result in sorted.into_values() {
        ensure_eq!(result?, [3, 1]);
    }
    // What one function raises is told of each worker.
    let failed = client.run::<i64>(py("only_on_workers:spend").args((1, 2))).await?;
    ensure_eq!(failed.len(), 2);
    for outcome in failed.into_values() {
        let error = outcome.err().ok_or("no error")?;
        ensure_eq!(error.kind(), ErrorKind::Rpc);
        let python = error.python().ok_or("no exception")?;
        ensure_eq!((python.class.as_str(), python.message.as_str()), ("OutOfMoney", "2 is more than 1"));
    }
    // Where it fails and where it does not, worker by worker.
    let source = "def f(dask_worker):\n    if dask_worker.name == 'second':\n        raise ValueError('only here')\n    return 1";
    let mixed = client.run::<i64>(python_module(source, "f")).await?;
    let names = client.scheduler_info().await?.workers;
    ensure_eq!(mixed.len(), 2);
    for (worker, outcome) in mixed {
        match (names[&worker].name.as_str(), outcome) {
            ("first", Ok(1)) => (),
            ("second", Err(error)) if error.python().is_some_and(|it| it.message == "only here") => (),
            (name, outcome) => return Err(format!("{name}: {outcome:?}").into()),
        }
    }
    // A worker that does not answer in time spoils nothing for the other.
    stage.cluster.cluster.pause_worker(0).await?;
    let partly = client.run::<i64>(py("os:getpid")).deadline(Duration::from_secs(5)).await;
    stage.cluster.cluster.resume_worker(0).await?;
    let partly: Vec<Option<ErrorKind>> = partly?.into_values().map(kind).collect();
    ensure!(partly.contains(&None) && partly.contains(&Some(ErrorKind::Timeout)), "{partly:?}");
    // Futures stand for results only in tasks.
    let future: Future<i64> = client.submit(py("operator:add").args((1, 2))).await?;
    ensure_eq!(kind(client.run::<i64>(py("operator:neg").arg(&future)).await), Some(ErrorKind::Encode));
    Ok(())
}

async fn gives_calls_limits_of_their_own(stage: &Stage) -> Outcome {
    let client = stage.cluster.client().rpc_timeout(Duration::from_secs(4)).connect().await?;
    let sleep = |seconds: u64| py("asyncio:sleep").args((seconds, seconds));
    // Less than a request may take, …
    let late = client.run_on_scheduler::<u64>(sleep(600)).deadline(Duration::from_millis(300)).await;
    let error = late.err().ok_or("it did not sleep")?;
    ensure_eq!(error.kind(), ErrorKind::Timeout);
    ensure!(error.to_string().contains("300ms"), "{error}");
    // … as much, and more.
    ensure_eq!(kind(client.run_on_scheduler::<u64>(sleep(600)).await), Some(ErrorKind::Timeout));
    ensure_eq!(client.run_on_scheduler::<u64>(sleep(6)).deadline(Duration::from_secs(60)).await?, 6);
    // The wait for a task is a part of it.
    let never: Future<i64> = client.submit(py("operator:neg").arg(1).resource("NOWHERE", 1.0)).await?;
    let late = Duration::from_millis(300);
    for error in [
        client.replicate([&never], None, &[]).deadline(late).await,
        client.rebalance([&never]).deadline(late).await,
    ] {
        ensure_eq!(kind(error), Some(ErrorKind::Timeout));
    }
    client.close().await;
    Ok(())
}

async fn runs_on_the_scheduler(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let pid: i64 = client.run_on_scheduler(py("os:getpid")).await?;
    ensure_eq!(pid, i64::from(stage.cluster.cluster.scheduler_pid()));
    let failed = client.run_on_scheduler::<i64>(py("operator:truediv").args((1, 0))).await;
    let error = failed.err().ok_or("no error")?;
    ensure_eq!(error.python().map(|python| python.class.as_str()), Some("ZeroDivisionError"));
    // From text, a body as well as a module, with the scheduler itself as an argument.
    let sum =
        client.run_on_scheduler::<i64>(python("import math\nreturn int(math.fsum(n))").kwarg("n", [1, 2]));
    ensure_eq!(sum.await?, 3);
    let source = "def workers(extra, dask_scheduler=None):\n    return len(dask_scheduler.workers) + extra";
    ensure_eq!(client.run_on_scheduler::<i64>(python_module(source, "workers").arg(40)).await?, 42);
    let failed = client.run_on_scheduler::<i64>(python("raise KeyError('lost')")).await;
    let error = failed.err().ok_or("no error")?;
    ensure_eq!(error.python().map(|python| python.class.as_str()), Some("KeyError"));
    // The scheduler cannot import what only workers can.
    ensure_eq!(
        kind(client.run_on_scheduler::<i64>(py("only_on_workers:double").arg(1)).await),
        Some(ErrorKind::Rpc)
    );
    Ok(())
}

async fn starts_without_waiting(stage: &Stage) -> Outcome {
    let client = &stage.client;
    // Would take far longer than the test may.
    let started = client.run::<()>(py("asyncio:sleep").arg(3600)).start().await?;
    ensure_eq!(started.into_values().collect::<Result<Vec<_>, _>>()?.len(), 2);
    client.start_on_scheduler(py("asyncio:sleep").arg(3600)).await?;
    // Only coroutines can be left running.
    let refused = client.run::<()>(py("os:getpid")).start().await?;
    for outcome in refused.into_values() {
        ensure_eq!(kind(outcome), Some(ErrorKind::Rpc));
    }
    let slept = client.run::<()>(py("asyncio:sleep").arg(0.01)).await?;
    ensure_eq!(slept.into_values().collect::<Result<Vec<_>, _>>()?.len(), 2);
    Ok(())
}

const MARK: &str = "
from distributed.diagnostics.plugin import WorkerPlugin
import only_on_workers

class Mark(WorkerPlugin):
    def __init__(self, value, fail=False):
        self.value, self.fail = value, fail

    def setup(self, worker):
        if self.fail:
            raise ValueError('no luck')
        only_on_workers.mark = self.value

    def teardown(self, worker):
        only_on_workers.mark = None
";

async fn registers_worker_plugins(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let mark = || py("builtins:getattr").args((py_module(), "mark", 0));
    all_ok(&client.register_worker_plugin(Plugin::source(MARK, "Mark").arg(7)).await?, 2)?;
    for value in client.run::<i64>(mark()).await?.into_values() {
        ensure_eq!(value?, 7);
    }
    // A worker that comes later has it, too.
    let path = stage.cluster.modules.path().display().to_string();
    let late =
        stage.cluster.cluster.add_worker(WorkerSpec::new().name("late").env("PYTHONPATH", path)).await?;
    let values = client.run::<i64>(mark()).workers(["late"]).await?;
    ensure_eq!(values.into_values().collect::<Result<Vec<_>, _>>()?, [7]);
    stage.cluster.cluster.stop_worker(late).await?;
    wait_for(stage, 2).await?;
    // What its setup raises stands in the map.
    let failed = Plugin::source(MARK, "Mark").arg(1).kwarg("fail", true).name("failing");
    let health = client.register_worker_plugin(failed).await?;
    ensure_eq!(health.len(), 2);
    for health in health.values() {
        ensure_eq!(health.status, "error");
        ensure!(health.reason.as_deref().unwrap_or_default().contains("no luck"), "{health:?}");
    }
    ensure_eq!(kind(client.register_worker_plugin(Plugin::of("no_such:Thing")).await), Some(ErrorKind::Rpc));
    let environment = Plugin::of("distributed.diagnostics.plugin:WorkerPlugin").name("by name");
    all_ok(&client.register_worker_plugin(environment).await?, 2)?;
    let again = Plugin::source(MARK, "Mark").arg(8).idempotent();
    let takes = client.dialect().request(dask_wire::Peer::Scheduler, "register_worker_plugin");
    if takes.is_ok_and(|request| request.accepts("idempotent")) {
        ensure_eq!(client.register_worker_plugin(again).await?.len(), 0);
        for value in client.run::<i64>(mark()).await?.into_values() {
            ensure_eq!(value?, 7);
        }
    } else {
        ensure_eq!(kind(client.register_worker_plugin(again).await), Some(ErrorKind::NotAvailable));
    }
    if has(client.dialect(), "unregister_worker_plugin") {
        all_ok(&client.unregister_worker_plugin("Mark").await?, 2)?;
        for value in client.run::<Option<i64>>(mark()).await?.into_values() {
            ensure_eq!(value?, None);
        }
        ensure_eq!(kind(client.unregister_worker_plugin("Mark").await), Some(ErrorKind::Rpc));
    } else {
        ensure_eq!(kind(client.unregister_worker_plugin("Mark").await), Some(ErrorKind::NotAvailable));
    }
    Ok(())
}

/// The module of the workers, as an argument.
fn py_module() -> dask_client::pickle::Reduce<dask_client::pickle::Global<'static>, (&'static str,)> {
    dask_client::pickle::Reduce {
        callable: dask_client::pickle::Global::new("importlib:import_module"),
        args: ("only_on_workers",),
    }
}

async fn wait_for(stage: &Stage, count: usize) -> Outcome {
    for _ in 0..1200 {
        if stage.client.nthreads().await?.len() == count {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(format!("there are not {count} workers").into())
}

async fn registers_scheduler_plugins(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let source = "
from distributed.diagnostics.plugin import SchedulerPlugin

class Tell(SchedulerPlugin):
    def __init__(self, name):
        self.told = name

    async def start(self, scheduler):
        import os
        os.environ['TOLD'] = self.told
";
    let plugin = Plugin::source(source, "Tell").arg("hello").name("tell");
    if !has(client.dialect(), "register_scheduler_plugin") {
        ensure_eq!(kind(client.register_scheduler_plugin(plugin).await), Some(ErrorKind::NotAvailable));
        return Ok(());
    }
    client.register_scheduler_plugin(plugin).await?;
    let told: Option<String> = client.run_on_scheduler(py("os:getenv").arg("TOLD")).await?;
    ensure_eq!(told.as_deref(), Some("hello"));
    // One of Dask's own, by name; where plugins have names it goes by the one that it is given.
    let own = Plugin::of("distributed.diagnostics.plugin:SchedulerPlugin").name("by-name");
    client.register_scheduler_plugin(own).await?;
    let source = "def named(dask_scheduler):\n    return [str(plugin) for plugin in dask_scheduler.plugins]";
    let plugins = client.run_on_scheduler::<Vec<String>>(python_module(source, "named")).await?;
    ensure!(plugins.iter().any(|it| it == "by-name" || it.contains("SchedulerPlugin object")), "{plugins:?}");
    let none = client.register_scheduler_plugin(Plugin::of("no_such:Thing")).await;
    ensure_eq!(kind(none), Some(ErrorKind::Rpc));
    if has(client.dialect(), "unregister_scheduler_plugin") {
        client.unregister_scheduler_plugin("by-name").await?;
        client.unregister_scheduler_plugin("tell").await?;
        ensure_eq!(kind(client.unregister_scheduler_plugin("tell").await), Some(ErrorKind::Rpc));
    } else {
        ensure_eq!(kind(client.unregister_scheduler_plugin("tell").await), Some(ErrorKind::NotAvailable));
    }
    Ok(())
}

async fn uploads_files(stage: &Stage) -> Outcome {
    let client = &stage.client;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("uploaded_module.py");
    std::fs::write(&file, "def answer():\n    return 42\n")?;
    all_ok(&client.upload_file(&file).await?, 2)?;
    for answer in client.run::<i64>(py("uploaded_module:answer")).await?.into_values() {
        ensure_eq!(answer?, 42);
    }
    if client.dialect().has(Feature::SchedulerUploadFile) {
        ensure_eq!(client.run_on_scheduler::<i64>(py("uploaded_module:answer")).await?, 42);
        ensure_eq!(client.call::<i64>(py("uploaded_module:answer")).await?, 42);
    }
    // A large one, without importing it, where that can be left out.
    let large = [&[b'#'; 300_000][..], b"\nraise ValueError('imported')\n"].concat();
    let unread = client.upload_bytes("large.py", &large, false).await;
    match client.dialect() {
        dialect if dialect.has(Feature::UploadFilePlugin) && !dialect.has(Feature::SchedulerUploadFile) => {
            ensure_eq!(kind(unread), Some(ErrorKind::NotAvailable));
        }
        _ => all_ok(&unread?, 2)?,
    }
    let none = client.upload_file(directory.path().join("none.py")).await;
    ensure_eq!(kind(none), Some(ErrorKind::Config));
    ensure_eq!(kind(client.upload_bytes("../x.py", b"", true).await), Some(ErrorKind::Config));
    Ok(())
}

async fn calls_actors(stage: &Stage) -> Outcome {
    // Elsewhere a worker that is slow to take a connection is asked through the scheduler, and old ones pass on less.
    let client = &stage.cluster.client().direct(Direct::Always).connect().await?;
    let future: Future<()> = client.submit(py("only_on_workers:Account").arg(10).actor()).await?;
    let account = client.actor(&future).await?;
    drop(future);
    ensure_eq!(account.call::<i64>("deposit").arg(5).await?, 15);
    ensure_eq!(account.call::<i64>("deposit").kwarg("amount", 5).await?, 20);
    ensure_eq!(account.attribute::<i64>("balance").await?, 20);
    let error = account.call::<i64>("deposit").arg("text").await.err().ok_or("no error")?;
    ensure_eq!(error.python().map(|python| python.class.as_str()), Some("TypeError"));
    let error = account.attribute::<i64>("no_such").await.err().ok_or("no error")?;
    ensure_eq!(error.python().map(|python| python.class.as_str()), Some("AttributeError"));
    let calls = (0..20).map(|_| account.call::<i64>("deposit").arg(1).into_future());
    let balances = futures::future::join_all(calls).await;
    ensure_eq!(balances.into_iter().collect::<Result<Vec<_>, _>>()?.len(), 20);
    ensure_eq!(account.attribute::<i64>("balance").await?, 40);
    client.close().await;
    Ok(())
}

async fn says_why_an_actor_is_not_there(stage: &Stage) -> Outcome {
    let call = py("only_on_workers:Account").arg(1).actor().resource("NOWHERE", 1.0);
    let future: Future<()> = stage.client.submit(call).await?;
    let late =
        stage.client.actor(&future).deadline(Duration::from_millis(200)).await.err().ok_or("an actor")?;
    ensure!(matches!(late.diagnosis(), Some(Diagnosis::NoneFits { .. })), "{late}");
    Ok(())
}

async fn calls_actors_out_of_reach(stage: &Stage) -> Outcome {
    // A client that reaches the scheduler through a forwarded port reaches no worker.
    let port = stage.cluster.cluster.port();
    let client = stage.cluster.client().connect_via("127.0.0.1", port).connect().await?;
    let future: Future<()> = client.submit(py("only_on_workers:Account").arg(1).actor()).await?;
    let account = client.actor(&future).await?;
    ensure_eq!(account.call::<i64>("deposit").arg(5).await?, 6);
    ensure_eq!(account.attribute::<i64>("balance").await?, 6);
    let error = account.call::<i64>("deposit").arg("text").await.err().ok_or("no error")?;
    // Old schedulers pass on no more than the text.
    let message = error.python().map(|python| python.message.as_str()).unwrap_or_default();
    ensure!(message.contains("unsupported operand"), "{error:?}");
    client.close().await;
    Ok(())
}

async fn calls_actors_directly_only_where_it_may(stage: &Stage) -> Outcome {
    let source = "def count(dask_worker):\n    return len(dask_worker._comms)";
    for (direct, more) in [(Direct::Never, 0), (Direct::Always, 1)] {
        let client = stage.cluster.client().direct(direct).connect().await?;
        let future: Future<()> =
            client.submit(py("only_on_workers:Account").arg(1).actor().workers(["first"])).await?;
        let account = client.actor(&future).await?;
        // Asked through the scheduler, which has its own connection from then on.
        let connections = async || {
            let counts = client.run::<i64>(python_module(source, "count")).workers(["first"]).await?;
            counts.into_values().next().unwrap_or(Ok(0))
        };
        let before = connections().await?;
        ensure_eq!(account.call::<i64>("deposit").arg(5).await?, 6);
        ensure_eq!(connections().await? - before, more);
        client.close().await;
    }
    Ok(())
}

const NANNY: &str = "
from distributed.diagnostics import plugin

class Nanny(getattr(plugin, 'NannyPlugin', object)):
    def setup(self, nanny):
        import os
        os.environ['FROM_PLUGIN'] = 'yes'
";

async fn runs_on_nannies_and_has_plugins_there(stage: &Stage) -> Outcome {
    let client = &another(stage).await?;
    ensure_eq!(client.run_on_nannies::<i64>(py("os:getpid")).await?.len(), 0);
    ensure_eq!(
        kind(client.run_on_nannies::<i64>(py("os:getpid")).workers(["first"]).await),
        Some(ErrorKind::Config)
    );
    let guarded = stage.cluster.cluster.add_worker(WorkerSpec::new().name("guarded").nanny(true)).await?;
    let nanny = client.run_on_nannies::<i64>(py("os:getpid")).await?;
    let worker = client.run::<i64>(py("os:getpid")).workers(["guarded"]).await?;
    ensure_eq!(nanny.keys().collect::<Vec<_>>(), worker.keys().collect::<Vec<_>>());
    let pid = nanny.into_values().collect::<Result<Vec<_>, _>>()?;
    ensure_eq!(pid, [i64::from(stage.cluster.cluster.workers()[guarded].pid)]);
    ensure!(Ok(pid) != worker.into_values().collect::<Result<Vec<_>, _>>().map_err(drop), "one process");
    let plugin = Plugin::source(NANNY, "Nanny");
    if has(client.dialect(), "register_nanny_plugin") {
        all_ok(&client.register_nanny_plugin(plugin).await?, 1)?;
        let value = client.run_on_nannies::<Option<String>>(py("os:getenv").arg("FROM_PLUGIN")).await?;
        ensure_eq!(value.into_values().collect::<Result<Vec<_>, _>>()?, [Some("yes".to_owned())]);
        all_ok(&client.unregister_nanny_plugin("Nanny").await?, 1)?;
        ensure_eq!(kind(client.unregister_nanny_plugin("Nanny").await), Some(ErrorKind::Rpc));
        // One of Dask's own, by name, which starts the worker again in the environment that it makes.
        let environ =
            Plugin::of("distributed.diagnostics.plugin:Environ").arg(BTreeMap::from([("BY_NAME", "7")]));
        all_ok(&client.register_nanny_plugin(environ.name("environ")).await?, 1)?;
        let mut found = Vec::new();
        for _ in 0..1200 {
            let run = client.run::<Option<String>>(py("os:getenv").arg("BY_NAME")).workers(["guarded"]);
            // It may be between its two lives.
            found =
                run.await.map(|all| all.into_values().filter_map(Result::ok).collect()).unwrap_or_default();
            if found == [Some("7".to_owned())] {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        ensure_eq!(found, [Some("7".to_owned())]);
        all_ok(&client.unregister_nanny_plugin("environ").await?, 1)?;
    } else {
        ensure_eq!(kind(client.register_nanny_plugin(plugin).await), Some(ErrorKind::NotAvailable));
    }
    stage.cluster.cluster.stop_worker(guarded).await?;
    wait_for(stage, 2).await
}
