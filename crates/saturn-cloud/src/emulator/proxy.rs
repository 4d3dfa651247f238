//! The one port behind which every scheduler is: TLS ends here, and the name asked for picks the cluster.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::record::Connection;
use super::state::Shared;

/// How long a client may take to say which name it wants.
const HELLO: Duration = Duration::from_secs(5);
/// How long the rest of the handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Serves one connection to its end.
pub(super) async fn serve(shared: Arc<Shared>, tcp: TcpStream) {
    drop(tcp.set_nodelay(true));
    let acceptor = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), tcp);
    // Whoever is not a TLS client, or is too slow, is dropped without a word.
    let Ok(Ok(start)) = tokio::time::timeout(HELLO, acceptor).await else { return };
    let (name, protocols) = {
        let hello = start.client_hello();
        let protocols = hello.alpn().into_iter().flatten();
        let protocols = protocols.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        (hello.server_name().map(str::to_owned), protocols)
    };
    let mut record = Connection { server_name: name.clone(), protocols, client: None, refused: None };
    let found = {
        let state = shared.lock();
        let mut clusters = state.order.iter().rev().filter_map(|id| state.clusters.get(id));
        let cluster = clusters
            .find(|cluster| name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(&cluster.host)));
        cluster.map(|cluster| (Arc::clone(&cluster.authority), cluster.dask.as_ref().map(|dask| dask.port())))
    };
    let Some((authority, port)) = found else {
        record.refused = Some("no cluster of this name".to_owned());
        return shared.connected(record);
    };
    let accepted = tokio::time::timeout(HANDSHAKE, start.into_stream(Arc::clone(&authority.server))).await;
    let mut tls = match accepted {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => {
            record.refused = Some(error.to_string());
            return shared.connected(record);
        }
        Err(_) => {
            record.refused = Some("the handshake took too long".to_owned());
            return shared.connected(record);
        }
    };
    record.client = tls.get_ref().1.peer_certificates().and_then(|chain| {
        let (_, certificate) = X509Certificate::from_der(chain.first()?).ok()?;
        Some(certificate.subject().to_string())
    });
    shared.connected(record);
    let scheduler = match port {
        Some(port) => TcpStream::connect(("127.0.0.1", port)).await.ok(),
        None => None,
    };
    match scheduler {
        Some(mut scheduler) => {
            drop(scheduler.set_nodelay(true));
            let mut dropped = shared.dropped.subscribe();
            tokio::select! {
                copied = tokio::io::copy_bidirectional(&mut tls, &mut scheduler) => drop(copied),
                _ = dropped.changed() => {}
            }
        }
        None => drop(tls.shutdown().await),
    }
}
