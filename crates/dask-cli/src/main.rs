//! dask-rs
fn main() {}
