//! Settings from where Dask looks for them, used on real clusters.

use std::path::Path;

use dask_client::{Client, ClientBuilder, ErrorKind, py};
use dask_live_tests::{TestCluster, releases};
use dask_local::Protocol;

fn variables(list: &[(&str, String)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

async fn works(builder: ClientBuilder) -> Client {
    let client = builder.connect().await.unwrap();
    let call = client.call::<i64>(py("operator:add").args((1, 2))).deadline(dask_live_tests::PATIENCE);
    assert_eq!(call.await.unwrap(), 3);
    client
}

#[tokio::test]
async fn a_tls_cluster_by_dasks_own_names() {
    for release in releases() {
        let cluster = TestCluster::start(&release, Protocol::Tls).await.unwrap();
        let tls = cluster.cluster.tls().unwrap();
        let shown = |path: &Path| path.display().to_string();
        // As Python would read it: a literal.
        let address = ("DASK_SCHEDULER_ADDRESS", format!("{:?}", cluster.cluster.address()));
        let ca = ("DASK_DISTRIBUTED__COMM__TLS__CA_FILE", shown(&tls.ca));
        let cert = ("DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT", shown(&tls.cert));
        let key = ("DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY", shown(&tls.key));
        let encrypted = ("DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION", "True".to_owned());
        let newest = ("DASK_DISTRIBUTED__COMM__TLS__MIN_VERSION", "1.3".to_owned());
        let oldest = ("DASK_DISTRIBUTED__COMM__TLS__MAX_VERSION", "1.2".to_owned());
        let all = [address.clone(), ca.clone(), cert.clone(), key.clone(), encrypted];
        let client = works(ClientBuilder::from_variables(&variables(&all)).unwrap()).await;
        client.close().await;
        for version in [&newest, &oldest] {
            let mut with = variables(&all);
            with.extend(variables(std::slice::from_ref(version)));
            works(ClientBuilder::from_variables(&with).unwrap()).await.close().await;
        }
        let mut with = variables(&all);
        with.extend(variables(&[newest, oldest]));
        let error = ClientBuilder::from_variables(&with).unwrap().connect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        // A certificate without its CA is not used, as in Python.
        let without = variables(&[address, cert, key]);
        let error = ClientBuilder::from_variables(&without).unwrap().connect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains("CA"), "{error}");
        cluster.cluster.stop().await.unwrap();
    }
}

#[tokio::test]
async fn files_variables_and_a_child_process() {
    let cluster = TestCluster::start("2026.8.0", Protocol::Tcp).await.unwrap();
    let address = cluster.cluster.address();
    let builder = ClientBuilder::from_variables(&[]).unwrap();
    works(builder.scheduler_file(cluster.cluster.scheduler_file()).unwrap()).await.close().await;

    // A file at home, another where DASK_CONFIG says, over it.
    let home = tempfile::tempdir().unwrap();
    let at_home = home.path().join(".config/dask");
    std::fs::create_dir_all(&at_home).unwrap();
    let nowhere = "scheduler-address: tcp://127.0.0.1:1\n";
    std::fs::write(at_home.join("a.yaml"), format!("scheduler_address: {address:?}\n")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("dask.YAML");
    std::fs::write(&file, "distributed:\n  comm:\n    compression: lz4\n").unwrap();
    let root = ("DASK_ROOT_CONFIG", elsewhere.path().join("none").display().to_string());
    let home_is = ("HOME", home.path().display().to_string());
    let config = ("DASK_CONFIG", elsewhere.path().display().to_string());
    let all = variables(&[root.clone(), home_is, config]);
    works(ClientBuilder::from_variables(&all).unwrap()).await.close().await;

    // The process's own environment.
    let child = |extra: &[(&str, String)]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_from_env"));
        command.envs(all.clone()).envs(variables(extra));
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("connected to") || text.contains("failed"), "{text}");
        text
    };
    assert!(child(&[]).contains(&format!("connected to {address}")));
    // Later files win, and variables over files.
    std::fs::write(&file, nowhere).unwrap();
    assert!(child(&[]).contains("failed: Connect"));
    let by_name = ("DASK_SCHEDULER_ADDRESS", address.clone());
    assert!(child(std::slice::from_ref(&by_name)).contains(&format!("connected to {address}")));
    let encrypted = ("DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION", "true".to_owned());
    assert!(child(&[by_name, encrypted]).contains("failed: Config"));
    cluster.cluster.stop().await.unwrap();
}
