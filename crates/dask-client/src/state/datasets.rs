//! Named data that outlives its clients.

use std::sync::Arc;

use dask_pickle::{CallTemplate, FillHoles, Pickler, Template, Value as Python};
use dask_wire::family::{Decoded, decode};
use dask_wire::{Dialect, Feature, FromPython, Key, Payload, Peer, Value};
use serde::Serialize;
use tracing::Instrument;

use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::session::trace::about_keys;
use crate::state::guard::fresh_id;
use crate::work::future::Future;

/// What was published under a name.
#[derive(Clone, Debug)]
pub struct Dataset {
    data: Arc<Decoded>,
    is_future: bool,
    futures: Vec<Future>,
}

impl Dataset {
    /// The futures in it, in the order in which they stand there. They are held by this client, too.
    pub fn futures(&self) -> &[Future] {
        &self.futures
    }

    /// The dataset as one future.
    ///
    /// # Errors
    /// It is something else.
    pub fn future<R>(&self) -> Result<Future<R>> {
        match self.futures.as_slice() {
            [future] if self.is_future => Ok(future.clone().typed()),
            _ => Err(Error::new(
                ErrorKind::Decode,
                format!("the dataset is {} and not one future", self.data.describe()),
            )),
        }
    }

    /// The dataset as a value without futures.
    ///
    /// # Errors
    /// It is not of type `R`.
    pub fn value<R: FromPython>(&self) -> Result<R> {
        R::from_python(Arc::clone(&self.data)).map_err(|error| Error::decode("the dataset", error))
    }
}

impl Client {
    /// Publishes a value under a name for every client, until it is unpublished: Python's `Client.publish_dataset`.
    /// Futures may stand anywhere in the value; their results are then kept, also after this client is gone.
    ///
    /// Op `publish_put`, every release.
    ///
    /// # Errors
    /// The name is taken ([`ErrorKind::Rpc`]), a future is not this client's, the value cannot be sent, or the scheduler
    /// does not answer.
    pub async fn publish<T: Serialize + ?Sized>(&self, name: impl Into<String>, value: &T) -> Result<()> {
        self.put_dataset(name.into(), value, false).await
    }

    /// As [`Client::publish`], replacing what the name stood for.
    ///
    /// # Errors
    /// As [`Client::publish`].
    pub async fn publish_over<T: Serialize + ?Sized>(
        &self,
        name: impl Into<String>,
        value: &T,
    ) -> Result<()> {
        self.put_dataset(name.into(), value, true).await
    }

    async fn put_dataset<T: Serialize + ?Sized>(&self, name: String, value: &T, replace: bool) -> Result<()> {
        let template = Template::of(value).map_err(Error::encode)?;
        let mut keys: Vec<Key> = Vec::new();
        for key in template.references().map(Key::from_reference) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        let span = about_keys!("dask.publish", keys, name);
        self.put_futures(name, template, keys, replace).instrument(span).await
    }

    async fn put_futures(
        &self,
        name: String,
        template: Template,
        keys: Vec<Key>,
        replace: bool,
    ) -> Result<()> {
        let shared = self.shared();
        shared.until_known(&keys).await?;
        let mut out = Pickler::new();
        let mut fill = PythonFutures { dialect: shared.dialect(), scheduler: self.address().to_string() };
        template.write_into(&mut out, &mut fill).map_err(Error::encode)?;
        let data = Value::from(Payload::pickle(out.finish(), []));
        let keys: Value<'static> = keys.iter().collect();
        let request = shared.request("publish_put")?;
        let request = match shared.dialect().has(Feature::PublishBatches) {
            true => request
                .with("names", one(name.into()))?
                .with("keys", one(keys))?
                .with("data", one(data))?
                .with("uid", self.flush().await?)?,
            false => request.with("name", name)?.with("keys", keys)?.with("data", data)?,
        };
        let request = request.with("override", replace)?.with("client", self.name().to_string())?;
        shared.rpc(request).await.map(drop)
    }

    /// What is published under a name; `None` if nothing is. Python's `Client.get_dataset`.
    ///
    /// Op `publish_get`, every release.
    ///
    /// # Errors
    /// The data cannot be read, or the scheduler does not answer.
    pub async fn dataset(&self, name: &str) -> Result<Option<Dataset>> {
        use tracing::field::Empty;
        let span = tracing::debug_span!("dask.dataset", name, key = Empty, keys = Empty);
        let found = self.find_dataset(name).instrument(span.clone()).await?;
        if let Some(dataset) = &found {
            span.record("keys", dataset.futures.len());
            span.record("key", dataset.futures.first().map(|future| tracing::field::display(future.key())));
        }
        Ok(found)
    }

    async fn find_dataset(&self, name: &str) -> Result<Option<Dataset>> {
        let shared = self.shared();
        shared.stream().await?;
        let request = shared.request("publish_get")?;
        let batches = shared.dialect().has(Feature::PublishBatches);
        let request = match batches {
            true => request.with("names", one(name.to_owned().into()))?,
            false => request.with("name", name.to_owned())?.with("client", self.name().to_string())?,
        };
        let reply = shared.rpc(request).await?;
        let record = match reply.value()? {
            Value::Array(mut records) if batches => records.pop().unwrap_or(Value::Nil),
            record => record,
        };
        if record.is_nil() {
            return Ok(None);
        }
        let (Some(data), Some(keys)) = (record.get("data"), record.get("keys").and_then(Value::as_array))
        else {
            return Err(reply.unexpected("a dataset without data and keys"));
        };
        let data = match data {
            Value::Payload(payload) => decode(payload, &shared.settings.pickle_limits)
                .map_err(|error| Error::decode(format_args!("the dataset {name:?}"), error))?,
            plain => Decoded::Msgpack(plain.clone().into_owned()),
        };
        let mut inside = Vec::new();
        let is_future = find_futures(&data, &mut inside);
        let published: Vec<Key> = keys.iter().filter_map(Key::from_value).collect();
        // What the scheduler keeps counts; the data only tells the order.
        inside.retain(|key| published.contains(key));
        inside.extend(published.into_iter().filter(|key| !inside.contains(key)).collect::<Vec<_>>());
        // What is published outlives its tasks, when their workers die or the cluster is restarted; of a task that it does
        // not know a scheduler tells nothing.
        let known = shared.states(&inside, shared.settings.rpc_timeout).await?;
        let futures = inside.into_iter().map(|key| {
            shared.session.change(|session| {
                session.desire(&key);
                if !known.contains_key(&key) {
                    session.unknown(&key);
                }
            });
            Future::new(key, Arc::clone(self.handle()))
        });
        Ok(Some(Dataset { futures: futures.collect(), data: Arc::new(data), is_future }))
    }

    /// The names under which something is published.
    ///
    /// Op `publish_list`, every release.
    ///
    /// # Errors
    /// The scheduler does not answer.
    pub async fn datasets(&self) -> Result<Vec<String>> {
        let shared = self.shared();
        let reply = shared.rpc(shared.request("publish_list")?).await?;
        let value = reply.value()?;
        let names = value.as_array().ok_or_else(|| reply.unexpected(value.kind()))?;
        let text = |name: &Value<'_>| match Key::from_value(name) {
            Some(key) => Ok(key.to_string()),
            None => Err(reply.unexpected(format_args!("{} for a name", name.kind()))),
        };
        names.iter().map(text).collect()
    }

    /// Forgets what is published under a name. Nothing happens if there is nothing.
    ///
    /// Op `publish_delete`, every release.
    ///
    /// # Errors
    /// The scheduler does not answer.
    pub async fn unpublish(&self, name: &str) -> Result<()> {
        let shared = self.shared();
        let request = shared.request("publish_delete")?;
        let request = match shared.dialect().has(Feature::PublishBatches) {
            true => request
                .with("names", one(name.to_owned().into()))?
                .with("client", self.name().to_string())?
                .with("uid", self.flush().await?)?,
            false => request.with("name", name.to_owned())?,
        };
        match shared.rpc(request).await {
            // Schedulers that take one name at a time look for the client under which it was kept, also if it never was.
            Err(error) if error.python().is_some_and(|python| python.class == "KeyError") => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// Marks this point of the stream: a request with the mark is carried out after everything before it.
    async fn flush(&self) -> Result<String> {
        let shared = self.shared();
        shared.stream().await?;
        let uid = fresh_id();
        let request = shared.dialect().request(Peer::Stream, "publish_flush_batched_send")?;
        let message = request.with("uid", uid.clone())?.into_stream()?;
        shared.session.change(|session| session.send(message));
        Ok(uid)
    }
}

fn one(value: Value<'static>) -> Value<'static> {
    Value::Array(vec![value])
}

/// Puts Python's own futures where ours stand.
struct PythonFutures {
    dialect: Dialect,
    scheduler: String,
}

impl FillHoles for PythonFutures {
    fn reference(&mut self, out: &mut Pickler, key: &str) -> Result<(), dask_pickle::Error> {
        let key = Key::from_reference(key);
        out.global("distributed.client", "Future");
        if self.dialect.has(Feature::FutureByCall) {
            key.pickle(out);
            out.tuple1().reduce();
        } else {
            out.empty_tuple().newobj();
            key.pickle(out);
            out.str(&self.scheduler).tuple2().build();
        }
        Ok(())
    }

    fn call(&mut self, _: &mut Pickler, call: &CallTemplate) -> Result<(), dask_pickle::Error> {
        Err(dask_pickle::Error::Call { callable: call.callable.to_string() })
    }
}

/// Collects the keys of Python's futures in data; whether the data is one itself.
fn find_futures(data: &Decoded, found: &mut Vec<Key>) -> bool {
    match data {
        Decoded::Pickle(tree) => match Python::from_view(tree.root()) {
            Ok(value) => {
                search(&value, found);
                matches!(&value, Python::Object(object) if is_future(&object.class))
            }
            Err(_) => false,
        },
        Decoded::Collection { items, .. } => {
            for (_, item) in items {
                find_futures(item, found);
            }
            false
        }
        _ => false,
    }
}

fn is_future(class: &str) -> bool {
    matches!(class, "distributed.client.Future" | "distributed.client.Future.make_future")
}

fn search(value: &Python, found: &mut Vec<Key>) {
    match value {
        Python::Object(object) if is_future(&object.class) => {
            let parts = object.state.as_ref().unwrap_or(&object.args);
            let key = parts.items().and_then(<[_]>::first).and_then(key_of);
            found.extend(key.filter(|key| !found.contains(key)));
        }
        Python::Object(object) => {
            search(&object.args, found);
            for value in [&object.kwargs, &object.state].into_iter().flatten().chain(&object.items) {
                search(value, found);
            }
            for (key, value) in &object.pairs {
                search(key, found);
                search(value, found);
            }
        }
        Python::List(items) | Python::Tuple(items) | Python::Set(items) | Python::FrozenSet(items) => {
            items.iter().for_each(|item| search(item, found));
        }
        Python::Dict(pairs) => {
            for (key, value) in pairs {
                search(key, found);
                search(value, found);
            }
        }
        _ => (),
    }
}

fn key_of(value: &Python) -> Option<Key> {
    Some(match value {
        Python::Str(text) => Key::from(text.as_str()),
        Python::Int(number) => Key::Int(*number),
        Python::Float(number) => Key::Float(number.to_bits()),
        Python::Bytes(bytes) => Key::Bytes(Arc::from(bytes.as_ref())),
        Python::None => Key::None,
        Python::Bool(value) => Key::Bool(*value),
        Python::Tuple(parts) => Key::Tuple(parts.iter().map(key_of).collect::<Option<_>>()?),
        _ => return None,
    })
}
