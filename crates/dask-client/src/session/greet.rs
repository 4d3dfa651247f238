//! What a client asks first on a fresh connection: which release answers, and whether it is a scheduler at all.

use std::time::Duration;

use dask_wire::{Dialect, Value};
use tokio::time::timeout_at;
use tracing::Instrument;

use crate::error::{Error, Result};
use crate::net::address::Address;
use crate::net::comm::Comm;
use crate::session::trace::rpc_span;
use crate::waiting::limit::from_now;

/// Asks a fresh connection for the scheduler's release. If it is not among those that the tables of the dialects were
/// checked against, and was not spoken `before`, it says so.
///
/// # Errors
/// The answer does not come, or is not a scheduler's: workers and nannies speak the same protocol. Or the release is too
/// old.
pub(crate) async fn ask_dialect(
    comm: &mut Comm,
    address: &Address,
    deadline: Duration,
    before: Option<Dialect>,
) -> Result<Dialect> {
    let version = ask_version(comm, address, deadline).await?;
    let dialect = Dialect::of_version(&version)?;
    if !dialect.is_known() && before != Some(dialect) {
        let version: String = version.chars().take(80).collect();
        tracing::warn!(
            scheduler = %address, release = version, known = %dask_wire::dialect::NEWEST_KNOWN,
            "the scheduler's release is not among the known ones; speaking the newest dialect",
        );
    }
    Ok(dialect)
}

/// Asks for the version of `distributed`.
async fn ask_version(comm: &mut Comm, address: &Address, deadline: Duration) -> Result<String> {
    let until = from_now(deadline);
    let late = |op: &str| Error::timeout(format_args!("op {op:?} at {address}"), deadline);
    // The ops that are needed before the release is known; every release has them. Both go before either is answered, so
    // they take one round trip: who holds no keys at all is something that a scheduler knows, and nobody else.
    let questions = async {
        comm.writer.send(&request("versions", None)).await?;
        comm.writer.send(&request("who_has", Some(("keys", Value::Array(Vec::new()))))).await?;
        Ok::<_, Error>((comm.reader.expect().await?, comm.reader.expect().await?))
    };
    let questions = questions.instrument(rpc_span("versions", address, None));
    let (versions, who_has) = timeout_at(until, questions).await.map_err(|_| late("versions"))??;
    let wire = |error| Error::wire(address, error);
    if who_has.value().map_err(wire)?.as_map().is_none() {
        let reply = timeout_at(until, comm.call(&request("identity", None))).await;
        let reply = reply.map_err(|_| late("identity"))??;
        let identity = reply.value().map_err(wire)?;
        let text = |name: &str| identity.get(name).and_then(Value::as_str);
        return Err(Error::no_scheduler(address, text("type"), text("scheduler")));
    }
    let value = versions.value().map_err(wire)?;
    // A map, or (in the oldest releases) an array of pairs.
    let version = value.get("packages").and_then(|packages| match packages {
        Value::Array(pairs) => pairs.iter().find_map(|pair| match pair.as_array() {
            Some([name, version]) if name.as_str() == Some("distributed") => Some(version),
            _ => None,
        }),
        packages => packages.get("distributed"),
    });
    let text = version.and_then(Value::as_str).ok_or_else(|| {
        Error::unexpected(address, "versions", "no version of distributed; is this a Dask scheduler?")
    })?;
    Ok(text.to_owned())
}

fn request(op: &'static str, field: Option<(&'static str, Value<'static>)>) -> Value<'static> {
    let fixed = [("op", op.into()), ("reply", true.into())];
    fixed.into_iter().chain(field).collect()
}
