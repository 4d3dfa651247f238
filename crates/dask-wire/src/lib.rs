//! dask-wire
