//! What can befall a task, each told apart from the others, on real clusters.

use std::time::Duration;

use dask_client::{Client, ErrorKind, Future, py, python, python_module};
use dask_live_tests::{TestCluster, releases_or};
use dask_local::{Protocol, WorkerSpec};

async fn on_each_release(
    settings: impl Fn(dask_local::ClusterBuilder) -> dask_local::ClusterBuilder,
    test: impl AsyncFn(&Client),
) {
    for release in releases_or(&["2.30.1", "2022.7.1", "2026.8.0"]) {
        println!("{release}");
        let cluster = TestCluster::start_with(&release, Protocol::Tcp, &settings).await.unwrap();
        let client = cluster.client().connect().await.unwrap();
        tokio::time::timeout(dask_live_tests::PATIENCE, test(&client)).await.expect("not done in time");
        client.close().await;
        cluster.cluster.stop().await.unwrap();
    }
}

fn since(client: &Client, release: &str) -> bool {
    client.release() >= release.parse().unwrap()
}

#[tokio::test]
async fn tasks_that_kill_their_workers() {
    let one_chance = |builder: dask_local::ClusterBuilder| {
        builder
            .config("distributed.scheduler.allowed-failures", "0")
            .worker(WorkerSpec::new().name("third").nanny(true).resource("NANNY", 1.0))
    };
    on_each_release(one_chance, async |client| {
        let call = py("os:_exit").arg(3).resource("NANNY", 1.0).key("killer");
        let error = client.call::<()>(call).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::KilledWorker, "{error:?}");
        match error.python().unwrap().kind() {
            dask_wire::exception::Kind::KilledWorker { task, last_worker, .. } => {
                assert_eq!(task, "killer");
                assert!(last_worker.is_some_and(|worker| worker.starts_with("tcp://127.0.0.1:")));
            }
            kind => panic!("{kind:?}"),
        }
        assert_eq!(error.key().map(ToString::to_string).as_deref(), Some("killer"));
    })
    .await;
}

const CHAIN: &str = "
class Refused(Exception):
    pass

def inner(x):
    return {}[x]

def outer(x):
    try:
        inner(x)
    except KeyError as error:
        refused = Refused('no', x)
        if hasattr(refused, 'add_note'):
            refused.add_note('asked for %s' % x)
        raise refused from error

def handling(x):
    try:
        outer(x)
    except Refused:
        raise ValueError('while handling')
";

const GROUP: &str = "
def fail(text):
    raise ValueError(text)

def caught(text):
    try:
        fail(text)
    except ValueError as error:
        return error

def together():
    raise ExceptionGroup('both', [caught('one'), ExceptionGroup('inner', [KeyError('two')])])
";

#[tokio::test]
async fn groups_of_exceptions_come_with_all_of_them() {
    on_each_release(
        |builder| builder,
        async |client| {
            let has: bool = client
                .call(python("import builtins\nreturn hasattr(builtins, 'ExceptionGroup')"))
                .await
                .unwrap();
            if !has {
                return;
            }
            let error = client.call::<()>(python_module(GROUP, "together")).await.unwrap_err();
            let raised = error.python().unwrap();
            assert_eq!(raised.title(), "ExceptionGroup: both (2 sub-exceptions)");
            assert_eq!(raised.traceback.last().map(|frame| frame.function.as_str()), Some("together"));
            let titles: Vec<String> = raised.exceptions.iter().map(dask_client::PythonError::title).collect();
            assert_eq!(titles, ["ValueError: one", "ExceptionGroup: inner (1 sub-exception)"]);
            assert_eq!(raised.exceptions[1].exceptions[0].title(), "KeyError: 'two'");
            let frames: Vec<&str> =
                raised.exceptions[0].traceback.iter().map(|frame| frame.function.as_str()).collect();
            assert_eq!(frames, ["caught", "fail"]);
            let text = raised.to_string();
            assert!(text.contains("\n  +-+---------------- 1 ----------------\n"), "{text}");
            assert!(text.contains("\n      | KeyError: 'two'\n"), "{text}");
        },
    )
    .await;
}

/// Data that no task can make again, on a worker that dies.
#[tokio::test]
async fn tasks_whose_data_is_really_lost() {
    let doomed = |builder: dask_local::ClusterBuilder| {
        builder
            .config("distributed.scheduler.allowed-failures", "0")
            .worker(WorkerSpec::new().name("third").resource("DOOM", 1.0))
    };
    on_each_release(doomed, async |client| {
        let address: String = client
            .call(python("import distributed\nreturn distributed.get_worker().address").resource("DOOM", 1.0))
            .await
            .unwrap();
        let data: Future<i64> =
            client.scatter(dask_client::Data::value(&41)).workers([address]).await.unwrap();
        assert_eq!(data.result().await.unwrap(), 41);
        let killer = client.submit::<()>(py("os:_exit").arg(3).resource("DOOM", 1.0)).await.unwrap();
        assert_eq!(killer.result().await.unwrap_err().kind(), ErrorKind::KilledWorker);
        // The scheduler has seen the worker go.
        let error = data.result().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Lost | ErrorKind::Cancelled), "{error:?}");
        let error = client.call::<i64>(py("operator:add").args((&data, 1))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LostDependencies, "{error:?}");
        assert!(error.to_string().contains(&data.key().to_string()), "{error}");
    })
    .await;
}

/// Modules whose `fail` raises, and what Python prints of it.
const SAID: &[(&str, &str)] = &[
    ("def fail():\n    raise RuntimeError(ValueError('inner'))", "RuntimeError: inner"),
    (
        "def fail():\n    try:\n        {}['k']\n    except KeyError as e:\n        raise RuntimeError('failed', e)",
        "RuntimeError: ('failed', KeyError('k'))",
    ),
    (
        "class OwnError(Exception):\n    pass\ndef fail():\n    raise RuntimeError('failed', OwnError(1, 'x'))",
        "RuntimeError: ('failed', OwnError(1, 'x'))",
    ),
];

/// What the standard library raises, and what is raised with its values.
const RAISES: &[&str] = &[
    "json.loads('{')",
    "json.loads('[1,\\n 2 x]')",
    "subprocess.run(['false'], check=True)",
    "subprocess.run('kill -9 $$', shell=True, check=True)",
    "fail(subprocess.TimeoutExpired(['sleep', '5'], 0.5))",
    "fail(socket.gaierror(-2, 'Name or service not known'))",
    "fail(socket.timeout('timed out'))",
    "fail(ssl.SSLError(1, '[SSL] no'))",
    "open('/no/such/file')",
    "fail(ValueError(1j, decimal.Decimal('1.20'), range(3), datetime.date(2020, 1, 2), datetime.timedelta(1, 2)))",
    "fail(ValueError(datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)))",
    "fail(ValueError(fractions.Fraction(1, 3), uuid.UUID(int=5), datetime.time(1, 2), slice(1, None)))",
    "fail(ValueError(fractions.Fraction(2, 1)))",
    "fail(RuntimeError(KeyError('k'), OSError(2, 'no', 'file')))",
];

#[tokio::test]
async fn the_standard_library_is_quoted_as_python_prints_it() {
    on_each_release(
        |builder| builder,
        async |client| {
            for raises in RAISES {
                let module = format!(
                    "
                    import datetime, decimal, fractions, json, socket, ssl, subprocess, traceback, uuid
                    def fail(error):
                        raise error
                    def run():
                        {raises}
                    def said():
                        try:
                            run()
                        except Exception as e:
                            return traceback.format_exception_only(type(e), e)[-1].strip()
                    "
                );
                let said: String = client.call(python_module(&module, "said")).await.unwrap();
                let error = client.call::<()>(python_module(&module, "run")).await.unwrap_err();
                assert_eq!(error.python().unwrap().title(), said, "{raises}");
            }
        },
    )
    .await;
}

#[tokio::test]
async fn exceptions_come_whole_and_each_sort_has_its_kind() {
    on_each_release(
        |builder| builder,
        async |client| {
            // The chain, with frames of each link; releases that lose it lose it on the worker.
            let error = client.call::<()>(python_module(CHAIN, "handling").arg("k")).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Task);
            let raised = error.python().unwrap();
            assert_eq!(raised.title(), "ValueError: while handling");
            assert_eq!(raised.traceback.last().map(|frame| frame.function.as_str()), Some("handling"));
            let chain: Vec<String> = raised.chain().map(|error| error.class.clone()).collect();
            // Old workers pickle the exception alone.
            if since(client, "2022.7.1") {
                assert_eq!(chain, ["ValueError", "Refused", "KeyError"]);
                let refused = raised.context.as_ref().unwrap();
                assert_eq!(
                    (refused.class.as_str(), refused.message.as_str(), refused.args.len()),
                    ("Refused", "('no', 'k')", 2)
                );
                let functions = |error: &dask_client::PythonError| {
                    error.traceback.iter().map(|frame| frame.function.clone()).collect::<Vec<_>>()
                };
                assert_eq!(functions(refused), ["handling", "outer"]);
                let missing = refused.cause.as_ref().unwrap();
                assert_eq!(
                    (missing.title(), functions(missing)),
                    ("KeyError: 'k'".to_owned(), vec!["outer".to_owned(), "inner".to_owned()])
                );
                let text = raised.to_string();
                let at = |words: &str| text.find(words).unwrap_or_else(|| panic!("{words}: {text}"));
                assert!(
                    at("KeyError: 'k'") < at("direct cause")
                        && at("direct cause") < at("Refused: ('no', 'k')"),
                    "{text}"
                );
                assert!(at("During handling") < at("ValueError: while handling"), "{text}");
                let has_notes: bool =
                    client.call(python("return hasattr(Exception, 'add_note')")).await.unwrap();
                let notes: &[&str] = if has_notes { &["asked for k"] } else { &[] };
                assert_eq!(refused.notes, notes);
            } else {
                assert_eq!(chain, ["ValueError"]);
            }

            // An exception that is an argument of another one.
            for (module, title) in SAID {
                let call = python_module(module, "fail");
                let error = client.call::<()>(call).await.unwrap_err();
                assert_eq!(error.python().unwrap().title(), *title);
            }

            // Modules that are missing: on the worker, or where the scheduler reads the graph.
            let error = client.call::<()>(py("no_such_module:f")).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TaskImport, "{error:?}");
            assert!(error.to_string().contains("no_such_module"), "{error}");
            let error = client.call::<()>(py("dask.no_such_module:f")).await.unwrap_err();
            let expected =
                if since(client, "2023.4.0") { ErrorKind::SchedulerImport } else { ErrorKind::TaskImport };
            assert_eq!(error.kind(), expected, "{error:?}");

            // What Python's own classes say.
            let error = client.call::<()>(python("raise TimeoutError('too long')")).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TaskTimeout, "{error:?}");
            let error = client
                .call::<()>(python("import concurrent.futures\nraise concurrent.futures.CancelledError()"))
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Cancelled, "{error:?}");

            // What a task takes is gone.
            let slow: Future<()> = client.submit(py("time:sleep").arg(0.5)).await.unwrap();
            slow.cancel().await.unwrap();
            assert_eq!(slow.result().await.unwrap_err().kind(), ErrorKind::Cancelled);
            let error = client.call::<()>(py("builtins:str").arg(&slow)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::LostDependencies, "{error:?}");
            assert!(error.to_string().contains(&slow.key().to_string()), "{error}");
        },
    )
    .await;
}

#[tokio::test]
async fn tasks_that_no_worker_can_run() {
    let timeout = |builder: dask_local::ClusterBuilder| {
        builder.config("distributed.scheduler.no-workers-timeout", "300ms")
    };
    on_each_release(timeout, async |client| {
        let call = py("operator:add").args((1, 2)).resource("UNICORN", 1.0);
        let limit = Duration::from_secs(if since(client, "2024.8.0") { 30 } else { 1 });
        let error = client.call::<i64>(call).deadline(limit).await.unwrap_err();
        let expected = if since(client, "2024.8.0") { ErrorKind::NoWorker } else { ErrorKind::Timeout };
        assert_eq!(error.kind(), expected, "{error:?}");
    })
    .await;
}
