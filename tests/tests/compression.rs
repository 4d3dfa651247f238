//! Every way to compress, both ways, on releases of each message encoding.

use dask_client::pickle::PyBytes;
use dask_client::{Compression, Direct, Gathered, py};
use dask_live_tests::TestCluster;
use dask_local::Protocol;
use dask_wire::family::Decoded;

#[tokio::test]
async fn every_compression_both_ways() {
    // One of each message encoding. Servers since 2023.5.0 agree on no compression with a peer on their own machine.
    for release in ["2.30.1", "2021.3.0", "2022.7.1"] {
        let mut ways = vec![(Compression::Lz4, "lz4"), (Compression::Zlib, "zlib")];
        if release != "2021.3.0" {
            ways.extend([(Compression::Zstd, "zstd"), (Compression::Snappy, "snappy")]);
        }
        for (compression, name) in ways {
            both_ways(release, compression, name).await;
        }
    }
}

async fn both_ways(release: &str, compression: Compression, name: &str) {
    let cluster = TestCluster::start_with(release, Protocol::Tcp, |builder| {
        builder.config("distributed.comm.compression", name).extra_packages(["zstandard", "python-snappy"])
    });
    let cluster = cluster.await.unwrap();
    for direct in [Direct::Never, Direct::Always] {
        let builder = cluster.client().compression(compression).direct(direct);
        let client = builder.connect().await.unwrap();
        let what = format!("{release} {name} {direct:?}");
        // To the cluster: a nested call makes every release carry the task in a frame of its own, which is large enough.
        let text = "compressible ".repeat(20_000);
        let inner = py("builtins:str").arg(&text);
        let length: usize = client.call(py("builtins:len").arg(&inner)).await.unwrap();
        assert_eq!(length, text.len(), "{what}");
        // And back.
        let before = client.statistics();
        let call = py("operator:mul").args((PyBytes("0123456789".into()), 30_000));
        let result: Gathered = client.call(call).await.unwrap();
        let Decoded::Bytes(bytes) = &*result else { panic!("{result:?}") };
        assert_eq!(bytes, &"0123456789".repeat(30_000), "{what}");
        let traffic = client.statistics();
        assert!(traffic.bytes_out < 260_000, "{what}: nothing was compressed on its way out: {traffic:?}");
        assert!(traffic.bytes_in < 100_000, "{what}: nothing was compressed on its way in: {traffic:?}");
        let fetched = |now: u64, before: u64| now - before;
        let relayed = fetched(traffic.results_relayed, before.results_relayed);
        assert_eq!(relayed, u64::from(direct == Direct::Never), "{what}: {traffic:?}");
        client.close().await;
    }
    cluster.cluster.stop().await.unwrap();
}
