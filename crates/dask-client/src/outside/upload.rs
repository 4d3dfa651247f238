//! Sending files to the cluster.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use dask_pickle::Pickler;
use dask_wire::{Feature, Peer};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::look::info::WorkerHealth;
use crate::outside::plugin::{health_map, register};
use crate::state::guard::fresh_id;
use crate::waiting::limited::Limited;

impl Client {
    /// Sends a `.py`, `.zip` or `.egg` file to the workers and has them import it: Python's `Client.upload_file`. Says of
    /// each worker how that went.
    ///
    /// As Python's client of the same release does it: from 2020.12.0 on by the plugin `UploadFile`, so that workers
    /// that come later get the file, too; before by the op `upload_file`. From 2023.5.0 on the scheduler gets it first.
    ///
    /// # Errors
    /// The file cannot be read ([`crate::ErrorKind::Config`]), the scheduler cannot import it, or does not answer. What
    /// went wrong on a worker stands in the map.
    pub fn upload_file(&self, path: impl AsRef<Path>) -> Limited<'_, BTreeMap<String, WorkerHealth>> {
        let path = path.as_ref().to_owned();
        Limited::new(self, "uploading a file", move |within| async move {
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.ok_or_else(|| Error::config(format!("{} names no file", path.display())))?;
            let (name, shown) = (name.to_owned(), path.display().to_string());
            let data = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
            let data = data.map_err(|_| Error::closed())?;
            let data = data.map_err(|error| Error::config(format!("cannot read {shown}: {error}")))?;
            self.upload(&name, &data, true, within).await
        })
    }

    /// As [`Client::upload_file`], of a file that is in memory. Without `load` it is not imported, on releases that can
    /// leave that out: before 2020.12.0 and from 2023.5.0 on.
    ///
    /// # Errors
    /// As [`Client::upload_file`]; also if the release imports every file ([`crate::ErrorKind::NotAvailable`]).
    pub fn upload_bytes<'c>(
        &'c self,
        file_name: &'c str,
        data: &'c [u8],
        load: bool,
    ) -> Limited<'c, BTreeMap<String, WorkerHealth>> {
        Limited::new(self, "uploading a file", move |within| self.upload(file_name, data, load, within))
    }

    async fn upload(
        &self,
        file_name: &str,
        data: &[u8],
        load: bool,
        within: Duration,
    ) -> Result<BTreeMap<String, WorkerHealth>> {
        if file_name.is_empty() || file_name.contains(['/', '\\']) || file_name == ".." {
            return Err(Error::config(format!(
                "{file_name:?} is not the name of a file; give it without a path"
            )));
        }
        let shared = self.shared();
        let dialect = shared.dialect();
        if !dialect.has(Feature::UploadFilePlugin) {
            let upload = dialect.request(Peer::Worker, "upload_file")?;
            let upload = upload.with("filename", file_name.to_owned())?.with("data", data.to_vec())?;
            let upload = upload.with("load", load)?.into_rpc()?;
            let request = shared.request("broadcast")?.with("msg", upload)?;
            return health_map(&shared.rpc_within(request, within).await?);
        }
        if !load {
            dialect.need(Feature::SchedulerUploadFile)?;
        }
        let name = format!("{file_name}-{}", fresh_id());
        if dialect.has(Feature::SchedulerUploadFile) {
            let plugin = instance("SchedulerUploadFile", file_name, data, load);
            let request =
                register(shared.request("register_scheduler_plugin")?, plugin, name.clone(), false)?;
            shared.rpc_within(request, within).await?;
        }
        let plugin = instance("UploadFile", file_name, data, load);
        let request = register(shared.request("register_worker_plugin")?, plugin, name, false)?;
        health_map(&shared.rpc_within(request, within).await?)
    }
}

/// A plugin as Dask makes it, without its constructor, which reads the file where it runs.
fn instance(class: &str, file_name: &str, data: &[u8], load: bool) -> Vec<u8> {
    let mut out = Pickler::new();
    out.global("distributed.diagnostics.plugin", class).empty_tuple().newobj();
    out.empty_dict().mark();
    out.str("filename").str(file_name).str("data").bytes(data).str("load").bool(load);
    out.setitems_from_mark().build();
    out.finish()
}
