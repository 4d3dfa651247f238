//! `dask-rs export`: the scheduler's metrics for Prometheus, over one session.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use dask_client::{Client, SchedulerInfo};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore};

use super::Context;
use super::look::survey;
use crate::cli::{Cluster, Export};
use crate::failure::Failure;
use crate::output;

type Labels = Vec<(&'static str, String)>;
type Float = Gauge<f64, AtomicU64>;

/// Connections served at once; more wait.
const AT_ONCE: usize = 16;
/// A request head may be this long.
const HEAD: usize = 8 * 1024;
/// One connection may take this long besides the cluster's answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// A scrape takes no longer, or Prometheus would give up first and never hear that the cluster is down.
const SCRAPE: Duration = Duration::from_secs(5);
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn run(context: Context, options: &Export) -> Result<u8, Failure> {
    let cannot = |error: std::io::Error| {
        let next = match error.kind() {
            std::io::ErrorKind::AddrInUse => "; choose another port, or 0 for a free one",
            _ => "",
        };
        Failure::config(format!("cannot listen on {}: {error}{next}", options.listen))
    };
    let listener = TcpListener::bind(options.listen).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    // A wrong address or certificate is told at once, not at the first scrape.
    let client = options.cluster.connect(context).await?;
    let url = format!("http://{address}/metrics");
    let stopped = crate::signals::stopped();
    match context.json() {
        true => output::line(&json!({ "metrics": url, "scheduler": client.address().to_string() })),
        false => output::data(&url),
    }
    let source = Arc::new(Source {
        context,
        cluster: options.cluster.clone(),
        max_age: options.max_age,
        state: Mutex::new(State {
            client: Some(client),
            text: Arc::from(""),
            asked: None,
            counts: Counts::default(),
            counter: survey::Counter::default(),
        }),
    });
    tokio::select! {
        outcome = serve(&listener, &source) => outcome.map_err(cannot)?,
        () = stopped => (),
    }
    // A scrape that is under way may wait for a scheduler that hangs.
    let held = source.state.try_lock().ok().and_then(|mut state| state.client.take());
    if let Some(client) = held {
        client.close().await;
    }
    Ok(0)
}

async fn serve(listener: &TcpListener, source: &Arc<Source>) -> std::io::Result<()> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            // Out of descriptors, or the peer has gone already: both pass.
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let source = Arc::clone(source);
        tokio::spawn(async move {
            drop(answer(stream, &source).await);
            drop(place);
        });
    }
}

/// Reads one request, answers it, closes.
async fn answer(mut stream: TcpStream, source: &Source) -> std::io::Result<()> {
    let mut head = Vec::new();
    let reading = async {
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            if head.len() > HEAD || stream.read_buf(&mut head).await? == 0 {
                return Ok(false);
            }
        }
        Ok::<_, std::io::Error>(true)
    };
    let complete = tokio::time::timeout(PATIENCE, reading).await??;
    let text = String::from_utf8_lossy(&head);
    let mut words = text.lines().next().unwrap_or_default().split(' ');
    let method = words.next().unwrap_or_default();
    let path = words.next().unwrap_or_default().split('?').next().unwrap_or_default();
    let plain = "text/plain; charset=utf-8";
    let (status, kind, body): (&str, &str, Arc<str>) = match (complete, method, path) {
        (false, ..) => ("400 Bad Request", plain, "not an HTTP request that fits\n".into()),
        (_, "GET" | "HEAD", "/metrics") => ("200 OK", OPENMETRICS, source.metrics().await),
        (_, "GET" | "HEAD", "/health") => ("200 OK", plain, "ok\n".into()),
        (_, "GET" | "HEAD", _) => ("404 Not Found", plain, "there are /metrics and /health\n".into()),
        _ => ("405 Method Not Allowed", plain, "only GET\n".into()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let writing = async {
        stream.write_all(head.as_bytes()).await?;
        if method != "HEAD" {
            stream.write_all(body.as_bytes()).await?;
        }
        stream.shutdown().await
    };
    tokio::time::timeout(PATIENCE, writing).await?
}

/// The cluster, and what it answered last.
struct Source {
    context: Context,
    cluster: Cluster,
    max_age: Duration,
    state: Mutex<State>,
}

struct State {
    /// `None` after a failure: the next scrape connects anew.
    client: Option<Client>,
    text: Arc<str>,
    asked: Option<Instant>,
    counts: Counts,
    counter: survey::Counter,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    scrapes: u64,
    failures: u64,
}

/// What one round of questions found.
struct Found {
    info: SchedulerInfo,
    states: survey::States,
    release: String,
    dialect: &'static str,
    round_trip: Duration,
}

impl Source {
    /// The metrics, of now or of a moment ago. One scrape asks the cluster, others that come meanwhile wait for it.
    async fn metrics(&self) -> Arc<str> {
        let mut state = self.state.lock().await;
        if state.asked.is_some_and(|asked| asked.elapsed() < self.max_age) {
            return Arc::clone(&state.text);
        }
        let deadline = self.cluster.timeout.unwrap_or(SCRAPE);
        let mark = Instant::now();
        let held = &mut *state;
        let found = match tokio::time::timeout(deadline, self.ask(&mut held.client, &mut held.counter)).await
        {
            Ok(found) => found,
            Err(_) => Err(Failure::new(crate::failure::UNUSABLE, format!("no answer within {deadline:?}"))),
        };
        let took = mark.elapsed();
        state.counts.scrapes += 1;
        if let Err(failure) = &found {
            state.counts.failures += 1;
            state.client = None;
            state.counter = survey::Counter::default();
            output::words(failure.message());
        }
        state.text = render(found.ok().as_ref(), state.counts, took).into();
        state.asked = Some(Instant::now());
        Arc::clone(&state.text)
    }

    async fn ask(&self, held: &mut Option<Client>, counter: &mut survey::Counter) -> Result<Found, Failure> {
        let client = match held {
            Some(client) => client.clone(),
            None => held
                .insert(self.cluster.open(self.context, self.cluster.timeout.unwrap_or(SCRAPE)).await?)
                .clone(),
        };
        let mark = Instant::now();
        super::round_trip(&client).await?;
        let round_trip = mark.elapsed();
        Ok(Found {
            info: client.scheduler_info().await?,
            states: counter.count(&client).await?,
            release: client.release().to_string(),
            dialect: client.dialect().submission().name(),
            round_trip,
        })
    }
}

fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn render(found: Option<&Found>, counts: Counts, took: Duration) -> String {
    let mut registry = Registry::with_prefix("dask");
    let up = Gauge::<i64>::default();
    up.set(i64::from(found.is_some()));
    registry.register("up", "Whether the scheduler answered", up);
    let gauge = Float::default();
    gauge.set(took.as_secs_f64());
    registry.register_with_unit("scrape_duration", "How long asking the cluster took", Unit::Seconds, gauge);
    registry.register("scrapes", "How often the cluster was asked", ConstCounter::new(counts.scrapes));
    registry.register("scrape_failures", "How often it did not answer", ConstCounter::new(counts.failures));
    if let Some(found) = found {
        cluster_metrics(&mut registry, found);
        worker_metrics(&mut registry, found);
    }
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

fn cluster_metrics(registry: &mut Registry, found: &Found) {
    let info = Family::<Labels, Gauge>::default();
    let labels = vec![
        ("release", found.release.clone()),
        ("dialect", found.dialect.to_owned()),
        ("id", found.info.id.clone()),
    ];
    info.get_or_create(&labels).set(1);
    registry.register("scheduler", "The scheduler's release and identity", info);
    let gauge = Float::default();
    gauge.set(found.round_trip.as_secs_f64());
    registry.register_with_unit(
        "round_trip",
        "A request to the scheduler and its reply",
        Unit::Seconds,
        gauge,
    );
    let workers = Family::<Labels, Gauge>::default();
    for worker in found.info.workers.values() {
        let status = worker.status.clone().unwrap_or_else(|| "unknown".to_owned());
        workers.get_or_create(&vec![("status", status)]).inc();
    }
    // A cluster that lost its last worker must not lose the metric, too.
    drop(workers.get_or_create(&vec![("status", "running".to_owned())]));
    registry.register("workers", "Workers by status", workers);
    let tasks = Family::<Labels, Gauge>::default();
    for (name, states) in &found.states {
        for (state, count) in states {
            let labels = vec![("name", name.clone()), ("state", state.clone())];
            tasks.get_or_create(&labels).set(integer(*count));
        }
    }
    registry.register("tasks", "Tasks that the scheduler knows, by name and state", tasks);
}

fn worker_metrics(registry: &mut Registry, found: &Found) {
    let threads = Family::<Labels, Gauge>::default();
    let executing = Family::<Labels, Gauge>::default();
    let memory = Family::<Labels, Gauge>::default();
    let limit = Family::<Labels, Gauge>::default();
    let seen = Family::<Labels, Float>::default();
    for worker in found.info.workers.values() {
        let labels = vec![("worker", worker.address.clone()), ("name", worker.name.clone())];
        threads.get_or_create(&labels).set(integer(worker.nthreads));
        for (family, value) in [
            (&executing, worker.executing),
            (&memory, worker.memory_bytes),
            (&limit, worker.memory_limit_bytes),
        ] {
            if let Some(value) = value {
                family.get_or_create(&labels).set(integer(value));
            }
        }
        if let Some(time) = worker.last_seen {
            seen.get_or_create(&labels).set(time);
        }
    }
    registry.register("worker_threads", "Threads that run tasks", threads);
    registry.register("worker_executing", "Tasks being executed, by the last heartbeat", executing);
    registry.register_with_unit(
        "worker_memory",
        "Memory of the process, by the last heartbeat",
        Unit::Bytes,
        memory,
    );
    registry.register_with_unit("worker_memory_limit", "Memory it may use", Unit::Bytes, limit);
    registry.register_with_unit(
        "worker_last_seen_timestamp",
        "When the scheduler last heard of it, since 1970",
        Unit::Seconds,
        seen,
    );
}
