//! Values beside Python: decoding and encoding beside Python's pickle and msgpack, and an array of 256 MB from a worker,
//! to one, and beside a plain copy of as many bytes.
//!
//! ```text
//! cargo run --release -p dask-benches --bin values -- [--release V] [--rounds N] [--json FILE]
//! ```
//!
//! Every measurement is a process of its own, which tells the seconds of what counts (no start, no connecting, no
//! reading of files); its peak memory is that of the whole process. The two take turns: of each pair of neighbours one
//! ratio is taken, and the median of them and the middle half are told.

use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use bytes::Bytes;
use dask_benches::{Cost, Failure, Options, ended, in_turns, once, quartiles, show, spread, tell};
use dask_client::{Client, Data, Future, NdArray, py};
use dask_local::LocalCluster;
use dask_wire::{Encoding, Limits, Message};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

/// Entries of replies and lists.
const ENTRIES: usize = 100_000;
/// Elements of eight bytes: 256 MB.
const ELEMENTS: usize = 32_000_000;

/// What is done, as both sides know it by name, and in words.
const TASKS: [(&str, &str); 6] = [
    ("unpickle", "decode a pickled list of 100,000 records"),
    ("pickle", "encode the same as a pickle"),
    ("unpack", "decode a message of 100,000 entries (Python: msgpack)"),
    ("pack", "encode the same as a message"),
    ("gather", "256 MB array from a worker"),
    ("scatter", "256 MB array to a worker"),
];

/// The same in Python. Prints the seconds.
const PYTHON: &str = "
import pickle, sys, time
import msgpack, numpy

task, address, directory = sys.argv[1:]
file = lambda name: open(directory + '/' + name, 'rb').read()
clock = time.perf_counter

if task == 'make':
    records = [{'id': n, 'score': n / 3, 'name': 'record %d' % n, 'tags': ['a', None]} for n in range(100000)]
    reply = {'task-%d' % n: ['tcp://10.0.0.%d:40000' % (n % 250), n, None, 0.5] for n in range(100000)}
    open(directory + '/records', 'wb').write(pickle.dumps(records))
    open(directory + '/reply', 'wb').write(msgpack.packb(reply))
elif task == 'unpickle':
    data = file('records')
    start = clock()
    value = pickle.loads(data)
elif task == 'pickle':
    value = pickle.loads(file('records'))
    start = clock()
    data = pickle.dumps(value)
elif task == 'unpack':
    data = file('reply')
    start = clock()
    value = msgpack.unpackb(data, use_list=False, strict_map_key=False)
elif task == 'pack':
    value = msgpack.unpackb(file('reply'), use_list=False, strict_map_key=False)
    start = clock()
    data = msgpack.packb(value)
else:
    from distributed import Client, wait
    client = Client(address)
    if task == 'gather':
        future = client.submit(numpy.ones, 32000000, pure=False)
        wait(future)
        start = clock()
        value = client.gather(future, direct=True)
        assert value[-1] == 1
    else:
        value = numpy.ones(32000000)
        start = clock()
        future = client.scatter(value, direct=True, hash=False)
if task != 'make':
    print(clock() - start)
";

#[derive(Deserialize, Serialize)]
struct Record {
    id: u64,
    score: f64,
    name: String,
    tags: Vec<Option<String>>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--measure", task, address, directory] => measure(task, address, Path::new(directory)).await,
        _ => compare(args).await,
    };
    ended(outcome)
}

/// Does one thing once, in this process, and tells the seconds.
async fn measure(task: &str, address: &str, directory: &Path) -> Result<(), Failure> {
    let file = |name: &str| std::fs::read(directory.join(name)).map(Bytes::from);
    let records = || Ok::<Vec<Record>, Failure>(dask_client::pickle::from_slice(&file("records")?)?);
    let encoding = Encoding::Placeholders;
    let reply = || Ok::<_, Failure>(Message::new(vec![file("reply")?], encoding, Limits::default())?);
    let seconds = match task {
        "unpickle" => {
            let pickle = file("records")?;
            let start = Instant::now();
            let tree =
                dask_client::pickle::read(pickle, Vec::new(), &dask_client::pickle::Limits::default())?;
            let records: Vec<Record> = dask_client::pickle::from_tree(&tree)?;
            let seconds = start.elapsed();
            (records.len() == ENTRIES).then_some(seconds)
        }
        "pickle" => {
            let records = records()?;
            let start = Instant::now();
            let pickle = dask_client::pickle::to_vec(&records)?;
            let seconds = start.elapsed();
            (!pickle.is_empty()).then_some(seconds)
        }
        "unpack" => {
            let message = reply()?;
            let start = Instant::now();
            let value = message.value()?;
            let seconds = start.elapsed();
            value.as_map().is_some_and(|map| map.len() == ENTRIES).then_some(seconds)
        }
        "pack" => {
            let message = reply()?;
            let value = message.value()?;
            let start = Instant::now();
            let frames = encoding.encode(&value, None);
            let seconds = start.elapsed();
            (!frames.is_empty()).then_some(seconds)
        }
        "copy" => {
            let bytes = vec![1u8; ELEMENTS * 8];
            let start = Instant::now();
            let copy = black_box(&bytes).clone();
            let seconds = start.elapsed();
            (black_box(copy).last() == Some(&1)).then_some(seconds)
        }
        "gather" => {
            let client = Client::connect(address).await?;
            let future: Future<NdArray> = client.submit(py("numpy:ones").arg(ELEMENTS)).await?;
            client.wait(std::slice::from_ref(&future)).await?;
            let start = Instant::now();
            let array = future.result().await?;
            let last = array.get(&[ELEMENTS - 1]);
            let seconds = start.elapsed();
            (last == Some(dask_wire::numpy::Element::Float(1.0))).then_some(seconds)
        }
        "scatter" => {
            let client = Client::connect(address).await?;
            let array = NdArray::from_bytes(<f64 as dask_client::Scalar>::dtype(), [ELEMENTS], ones())?;
            let start = Instant::now();
            let future: Future<NdArray> = client.scatter(Data::array(&array).key("scattered")).await?;
            let seconds = start.elapsed();
            drop(future);
            Some(seconds)
        }
        _ => return Err(format!("{task} is no task").into()),
    };
    let seconds = seconds.ok_or_else(|| format!("{task} went wrong"))?;
    show(&seconds.as_secs_f64().to_string());
    Ok(())
}

fn ones() -> Vec<u8> {
    1f64.to_le_bytes().repeat(ELEMENTS)
}

/// Seconds and peak memory of one process.
type Told = (f64, f64);

fn told(cost: &Cost) -> Result<Told, Failure> {
    #[expect(clippy::cast_precision_loss, reason = "bytes, for a ratio")]
    Ok((cost.output.trim().parse()?, cost.peak as f64))
}

async fn compare(args: Vec<String>) -> Result<(), Failure> {
    let options = Options::read(args, 9)?;
    let program = options.program.clone().map_or_else(std::env::current_exe, Ok)?;
    let cluster = LocalCluster::builder().release(&options.release).workers(1).start().await?;
    let address = cluster.address();
    let directory = tempfile::tempdir()?;
    let python = |task: &str| {
        let mut command = Command::new(cluster.python());
        command.args(["-c", PYTHON, task, &address]).arg(directory.path());
        command
    };
    let ours = |task: &str| {
        let mut command = Command::new(&program);
        command.args(["--measure", task, &address]).arg(directory.path());
        command
    };
    once(python("make"))?;
    tell(&format!("Dask {} at {address}, {} rounds", cluster.release(), options.rounds));
    show(&format!(
        "{:<54} {:>10} {:>10} {:>7} {:>13}   {:>8} {:>8}",
        "", "ours", "other", "ratio", "middle half", "ours", "other"
    ));
    let mut results = Vec::new();
    for (task, words) in TASKS {
        let pairs = in_turns(options.rounds, || told(&once(ours(task))?), || told(&once(python(task))?))?;
        results.push(report(task, words, "python", &pairs));
    }
    for task in ["gather", "scatter"] {
        let pairs = in_turns(options.rounds, || told(&once(ours(task))?), || told(&once(ours("copy"))?))?;
        results.push(report(task, &format!("256 MB array, {task} beside a plain copy"), "copy", &pairs));
    }
    options.keep("dask-rs/bench-values/1", &cluster, &results, json!({}))?;
    cluster.stop().await?;
    Ok(())
}

fn report(task: &str, words: &str, other: &str, pairs: &[(Told, Told)]) -> Json {
    let ours = quartiles(pairs.iter().map(|(ours, _)| ours.0));
    let theirs = quartiles(pairs.iter().map(|(_, theirs)| theirs.0));
    let ratio = quartiles(pairs.iter().map(|(ours, theirs)| ours.0 / theirs.0));
    let our_peak = quartiles(pairs.iter().map(|(ours, _)| ours.1));
    let their_peak = quartiles(pairs.iter().map(|(_, theirs)| theirs.1));
    let mib = 1024.0 * 1024.0;
    show(&format!(
        "{words:<54} {:>7.2} ms {:>7.2} ms {:>7.3} {:>6.3}-{:<6.3}   {:>4.0} MiB {:>4.0} MiB",
        ours[1] * 1e3,
        theirs[1] * 1e3,
        ratio[1],
        ratio[0],
        ratio[2],
        our_peak[1] / mib,
        their_peak[1] / mib,
    ));
    json!({
        "task": task,
        "what": words,
        "beside": other,
        "seconds": { "ours": spread(ours), "other": spread(theirs), "ratio": spread(ratio) },
        "peak_bytes": { "ours": spread(our_peak), "other": spread(their_peak) },
    })
}
