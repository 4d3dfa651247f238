//! dask-client
