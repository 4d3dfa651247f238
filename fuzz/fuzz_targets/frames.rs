#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dask_fuzz_targets::frames(data));
