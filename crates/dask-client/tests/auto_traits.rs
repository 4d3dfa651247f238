//! Everything can be moved between threads and shared by them, whatever the type of the result: compiling is the test.

use std::time::Duration;

use dask_client::{
    Actor, AsCompleted, Call, Client, ClientBuilder, ClientEvent, Error, Event, Future, Gathered, Graph,
    Lease, Lock, Map, MapStream, MultiLock, NdArray, Node, Progress, Queue, Semaphore, Subscription,
    Variable, WorkerChanges,
};

/// A result type that is neither `Send` nor `Sync`: a handle on a result is both all the same.
type Local = std::rc::Rc<()>;

fn everywhere<T: Send + Sync + 'static>() {}
fn moves<T: Send + 'static>() {}
fn sent<T: Send>(_: T) {}

#[test]
fn handles_are_send_sync_and_static() {
    everywhere::<Client>();
    everywhere::<ClientBuilder>();
    everywhere::<ClientEvent>();
    everywhere::<Error>();
    everywhere::<Future<i64>>();
    everywhere::<Future<Local>>();
    everywhere::<Gathered>();
    everywhere::<NdArray>();
    everywhere::<Graph>();
    everywhere::<Node>();
    everywhere::<Call>();
    everywhere::<Variable>();
    everywhere::<Queue>();
    everywhere::<Event>();
    everywhere::<Lock>();
    everywhere::<MultiLock>();
    everywhere::<Semaphore>();
    everywhere::<Actor>();
    everywhere::<Map<i64, std::vec::IntoIter<i64>>>();
    moves::<Lease>();
    moves::<AsCompleted<i64>>();
    moves::<MapStream<i64, std::vec::IntoIter<i64>>>();
    moves::<Progress<i64>>();
    moves::<Subscription>();
    moves::<WorkerChanges>();
}

/// What calls return can be awaited in a task of any runtime. Never run: that it compiles says it.
#[expect(dead_code, reason = "compiling is the test")]
fn calls_are_send(client: &Client, futures: &[Future<i64>], graph: Graph, node: Node) {
    let call = || dask_client::py("os:getpid");
    sent(Client::connect(""));
    sent(client.submit::<i64>(call()));
    sent(client.call::<i64>(call()).into_future());
    sent(client.compute::<_, i64>(graph, node).deadline(Duration::ZERO).into_future());
    sent(client.gather(futures).into_future());
    sent(client.gather(futures).each());
    sent(client.wait(futures).into_future());
    sent(client.cancel(futures));
    sent(client.scatter::<i64>(dask_client::Data::value(&1)).into_future());
    sent(client.events());
    sent(client.attach::<i64>("name").into_future());
    sent(client.close());
    for future in futures {
        sent(future.result().into_future());
        sent(future.finished());
        sent(client.detach(future, "name"));
    }
}
