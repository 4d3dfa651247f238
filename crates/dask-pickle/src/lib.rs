//! dask-pickle
