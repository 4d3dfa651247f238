//! dask-local
