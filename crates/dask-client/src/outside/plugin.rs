//! Plugins: objects that live in the workers, the scheduler or the nannies.

use std::collections::BTreeMap;

use dask_pickle::{CallTemplate, Callable};
use dask_wire::exception::PythonError;
use dask_wire::{Request, Value};
use serde::Serialize;

use crate::client::Client;
use crate::error::Result;
use crate::look::info::WorkerHealth;
use crate::outside::pickled::pickle_result;
use crate::session::reply::Reply;
use crate::waiting::limited::Limited;
use crate::work::arguments::{Args, Arguments, Collected};
use crate::work::python::dedent;

/// A plugin to be made where it is to live: an instance of a Python class, by the class's name or from its source.
///
/// From 2026.6.0 on the class must be one of Dask's: a `WorkerPlugin`, `SchedulerPlugin` or `NannyPlugin` of
/// `distributed.diagnostics.plugin`.
///
/// ```
/// use dask_client::Plugin;
///
/// let environment = Plugin::of("distributed.diagnostics.plugin:Environ").arg([("MODE", "test")]).name("mode");
/// let counting = Plugin::source(
///     "from distributed.diagnostics.plugin import WorkerPlugin
///
/// class Count(WorkerPlugin):
///     def __init__(self, step):
///         self.step = step
///     def setup(self, worker):
///         worker.count = 0
/// ",
///     "Count",
/// )
/// .arg(2);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a plugin does nothing until it is registered"]
pub struct Plugin {
    class: Result<Callable>,
    arguments: Arguments,
    name: String,
    idempotent: bool,
}

impl Plugin {
    /// A plugin of an importable class, `package.module:Class`. What stands before the colon is imported where the
    /// plugin is to live.
    pub fn of(class: &str) -> Self {
        let name = class.rsplit([':', '.']).next().unwrap_or(class).to_owned();
        Self::new(crate::work::call::py(class).into_template().map(|call| call.callable), name)
    }

    /// A plugin of the class `class` that this text of a Python module defines. The text may import and define whatever
    /// else it needs, is run once in each process, and may be indented as a whole. Works on every release.
    pub fn source(source: &str, class: &str) -> Self {
        let pickle = dask_wire::source::object(&dedent(source), class);
        Self::new(Ok(Callable::Pickled(pickle)), class.to_owned())
    }

    fn new(class: Result<Callable>, name: String) -> Self {
        Self { class, arguments: Arguments::new(), name, idempotent: false }
    }

    /// One more positional argument for the class.
    pub fn arg(mut self, value: impl Serialize) -> Self {
        self.arguments.push(value);
        self
    }

    /// More positional arguments for the class.
    pub fn args(mut self, values: impl Args) -> Self {
        self.arguments.extend(values);
        self
    }

    /// One more keyword argument for the class.
    pub fn kwarg(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        self.arguments.name(name, value);
        self
    }

    /// The name to register it under. Default: the name of its class.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Leaves a plugin that is already registered under this name as it is. Otherwise the new one takes its place
    /// (before 2021.9.0 workers keep the old one and answer `repeat`).
    ///
    /// For workers and nannies from 2023.9.2 on, for the scheduler from 2021.12.0 on.
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Puts it into a request.
    fn request(self, request: Request) -> Result<Request> {
        let callable = self.class?;
        let Collected { positional: args, named: kwargs } = self.arguments.collected()?;
        let pickle = pickle_result(&CallTemplate { callable, args, kwargs })?;
        register(request, pickle, self.name, self.idempotent)
    }
}

/// Fills a request that registers a pickled plugin.
pub(crate) fn register(request: Request, pickle: Vec<u8>, name: String, idempotent: bool) -> Result<Request> {
    let request = request.with("plugin", pickle)?.with_if_taken("name", name);
    Ok(match idempotent {
        true => request.with("idempotent", true)?,
        // Where it is not taken that is what happens anyway.
        false => request.with_if_taken("idempotent", false),
    })
}

impl Client {
    /// Makes a plugin on every worker, now and on those that come later, and says of each how that went:
    /// `{'tcp://10.0.23.16:43141': {'status': 'OK'}}`. Python's `Client.register_plugin` of a `WorkerPlugin`.
    ///
    /// Op `register_worker_plugin`, every release.
    ///
    /// # Errors
    /// An argument cannot be sent, the class cannot be imported or made ([`crate::ErrorKind::Rpc`]), or the scheduler
    /// does not answer. What its `setup` raises stands in the map.
    pub fn register_worker_plugin(&self, plugin: Plugin) -> Limited<'_, BTreeMap<String, WorkerHealth>> {
        Limited::new(self, "making a worker plugin", move |within| async move {
            let request = plugin.request(self.shared().request("register_worker_plugin")?)?;
            health_map(&self.shared().rpc_within(request, within).await?)
        })
    }

    /// Removes a worker plugin by its name from every worker, now and for those that come later.
    ///
    /// Op `unregister_worker_plugin`, from 2021.5.0 on.
    ///
    /// # Errors
    /// There is no such plugin ([`crate::ErrorKind::Rpc`]), the release cannot do it, or the scheduler does not answer.
    pub fn unregister_worker_plugin(
        &self,
        name: impl Into<String>,
    ) -> Limited<'_, BTreeMap<String, WorkerHealth>> {
        let name = name.into();
        Limited::new(self, "removing a worker plugin", move |within| async move {
            let request = self.shared().request("unregister_worker_plugin")?.with("name", name)?;
            health_map(&self.shared().rpc_within(request, within).await?)
        })
    }

    /// Makes a plugin in every nanny, now and in those that come later, and says for each worker how that went. Workers
    /// without a nanny are left out. A plugin with a true attribute `restart` restarts the workers.
    ///
    /// Op `register_nanny_plugin`, from 2021.7.2 on.
    ///
    /// # Errors
    /// As [`Client::register_worker_plugin`]; also if the release cannot do it.
    pub fn register_nanny_plugin(&self, plugin: Plugin) -> Limited<'_, BTreeMap<String, WorkerHealth>> {
        Limited::new(self, "making a nanny plugin", move |within| async move {
            let request = plugin.request(self.shared().request("register_nanny_plugin")?)?;
            health_map(&self.shared().rpc_within(request, within).await?)
        })
    }

    /// Removes a nanny plugin by its name.
    ///
    /// Op `unregister_nanny_plugin`, from 2021.7.2 on.
    ///
    /// # Errors
    /// As [`Client::unregister_worker_plugin`].
    pub fn unregister_nanny_plugin(
        &self,
        name: impl Into<String>,
    ) -> Limited<'_, BTreeMap<String, WorkerHealth>> {
        let name = name.into();
        Limited::new(self, "removing a nanny plugin", move |within| async move {
            let request = self.shared().request("unregister_nanny_plugin")?.with("name", name)?;
            health_map(&self.shared().rpc_within(request, within).await?)
        })
    }

    /// Makes a plugin in the scheduler. Before 2021.9.0 it goes by a name of the scheduler's choice.
    ///
    /// Op `register_scheduler_plugin`, from 2021.7.0 on.
    ///
    /// # Errors
    /// As [`Client::register_worker_plugin`]; also if the release cannot do it, the scheduler is configured not to
    /// unpickle, or the plugin's `start` raises.
    pub fn register_scheduler_plugin(&self, plugin: Plugin) -> Limited<'_, ()> {
        Limited::new(self, "making a scheduler plugin", move |within| async move {
            let request = plugin.request(self.shared().request("register_scheduler_plugin")?)?;
            self.shared().rpc_within(request, within).await.map(drop)
        })
    }

    /// Removes a scheduler plugin by its name.
    ///
    /// Op `unregister_scheduler_plugin`, from 2023.8.0 on.
    ///
    /// # Errors
    /// As [`Client::unregister_worker_plugin`].
    pub fn unregister_scheduler_plugin(&self, name: impl Into<String>) -> Limited<'_, ()> {
        let name = name.into();
        Limited::new(self, "removing a scheduler plugin", move |within| async move {
            let request = self.shared().request("unregister_scheduler_plugin")?.with("name", name)?;
            self.shared().rpc_within(request, within).await.map(drop)
        })
    }
}

/// A reply by worker as health.
pub(crate) fn health_map(reply: &Reply) -> Result<BTreeMap<String, WorkerHealth>> {
    let value = reply.value()?;
    let Some(workers) = value.as_map() else { return Err(reply.unexpected(value.kind())) };
    let health = |answer: &Value<'_>| match answer.get("status").and_then(Value::as_str) {
        // From 2021.10.0 on Dask says "error" for exceptions, too.
        Some("error" | "uncaught-error") => WorkerHealth {
            status: "error".to_owned(),
            reason: PythonError::from_reply(answer).map(|error| error.title()),
        },
        status => WorkerHealth { status: status.unwrap_or("unknown").to_owned(), reason: None },
    };
    Ok(workers
        .iter()
        .filter_map(|(address, answer)| Some((address.as_str()?.to_owned(), health(answer))))
        .collect())
}
