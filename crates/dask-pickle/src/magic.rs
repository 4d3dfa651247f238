//! Names of newtype structs by which the types of this crate recognise its serializer and deserializer.
//! Any other serde format treats them as plain newtypes.

pub(crate) const TEMPLATE: &str = "$dask_pickle::Template";
pub(crate) const REFERENCE: &str = "$dask_pickle::Ref";
pub(crate) const GLOBAL: &str = "$dask_pickle::Global";
pub(crate) const TUPLE: &str = "$dask_pickle::Tuple";
pub(crate) const LIST: &str = "$dask_pickle::List";
pub(crate) const SET: &str = "$dask_pickle::Set";
pub(crate) const FROZENSET: &str = "$dask_pickle::FrozenSet";
pub(crate) const BYTEARRAY: &str = "$dask_pickle::ByteArray";
pub(crate) const BIGINT: &str = "$dask_pickle::BigInt";
pub(crate) const SURROGATE: &str = "$dask_pickle::Surrogate";
/// A callable and its arguments: a call that unpickling executes.
pub(crate) const REDUCE: &str = "$dask_pickle::Reduce";
pub(crate) const DATE: &str = "$dask_pickle::Date";
pub(crate) const TIME: &str = "$dask_pickle::Time";
pub(crate) const DATETIME: &str = "$dask_pickle::DateTime";
pub(crate) const TIMEDELTA: &str = "$dask_pickle::TimeDelta";
pub(crate) const INSTANCE: &str = "$dask_pickle::Instance";
pub(crate) const TREE: &str = "$dask_pickle::Tree";
pub(crate) const VALUE: &str = "$dask_pickle::Value";

/// What all of these names start with.
pub(crate) const PREFIX: &str = "$dask_pickle::";
