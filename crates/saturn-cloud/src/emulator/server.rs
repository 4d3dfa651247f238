//! The two listeners.

use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::record::{Authorization, Recorded};
use super::routes::{self, Reply};
use super::state::Shared;
use super::{STOP, dask, pki, proxy};
use crate::status::Status;

/// The largest request that is read.
const MOST_BYTES: usize = 4 << 20;

/// Serves until told to stop, then ends every cluster.
pub(super) async fn serve(
    shared: Arc<Shared>,
    http: StdListener,
    schedulers: StdListener,
    mut stopped: oneshot::Receiver<()>,
) {
    let (Ok(http), Ok(schedulers)) = (listener(http), listener(schedulers)) else { return };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            accepted = accept(&http) => if let Some(tcp) = accepted {
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&shared), request));
                    drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tcp), service).await);
                });
            },
            accepted = accept(&schedulers) => if let Some(tcp) = accepted {
                connections.spawn(proxy::serve(Arc::clone(&shared), tcp));
            },
            Some(_) = connections.join_next() => {}
        }
    }
    connections.shutdown().await;
    let clusters: Vec<_> = {
        let mut state = shared.lock();
        let running = state.clusters.values_mut().map(|cluster| {
            cluster.status = Status::Closed;
            cluster.generation += 1;
            cluster.dask.take()
        });
        running.collect()
    };
    let ends = clusters.into_iter().map(dask::end);
    drop(tokio::time::timeout(STOP, futures::future::join_all(ends)).await);
}

fn listener(listener: StdListener) -> std::io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// The next connection; `None` after one that could not be taken.
async fn accept(listener: &TcpListener) -> Option<TcpStream> {
    match listener.accept().await {
        Ok((tcp, _)) => Some(tcp),
        // Out of descriptors, for example: it passes, but not at once.
        Err(_) => {
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let path = head.uri.path().to_owned();
    let query = reqwest::Url::parse(&format!("http://emulator{}", head.uri)).ok();
    let query = query.map(|url| url.query_pairs().into_owned().collect()).unwrap_or_default();
    let authorization = authorization(&shared, header(AUTHORIZATION.as_str()).as_deref());
    let body = Limited::new(body, MOST_BYTES).collect().await;
    let body = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
    let too_large = body.is_err();
    let body = body.unwrap_or_default();
    let csr = if path.ends_with("/csr") { pki::summarize(&body).ok() } else { None };
    let mut recorded = Recorded {
        method: head.method.as_str().to_owned(),
        path,
        query,
        authorization,
        version: header("x-dask-saturn-version"),
        content_type: header(CONTENT_TYPE.as_str()),
        body,
        csr,
        status: 0,
    };
    let fault = shared.fault(&recorded.method, &recorded.path);
    let executes = !too_large && fault.as_ref().is_none_or(|fault| fault.executes);
    let executed = executes.then(|| routes::route(&shared, &recorded));
    let cut = fault.as_ref().is_some_and(|fault| fault.cuts);
    let reply = match (fault, executed) {
        _ if too_large => routes::too_large(),
        (Some(fault), executed) => {
            tokio::time::sleep(fault.delay).await;
            match executed.filter(|_| fault.passes()) {
                Some(reply) => reply,
                None => Reply { status: fault.status, content_type: fault.content_type, body: fault.body },
            }
        }
        (None, Some(reply)) => reply,
        (None, None) => routes::too_large(),
    };
    recorded.status = reply.status;
    if recorded.csr.is_some() {
        recorded.body = String::new();
    }
    tracing::debug!(method = recorded.method, path = recorded.path, status = reply.status, "emulated");
    shared.record(recorded);
    if cut {
        return Err(std::io::Error::other("this connection shall be cut"));
    }
    let mut response = Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() =
        hyper::StatusCode::from_u16(reply.status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(value) = reply.content_type.parse() {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    Ok(response)
}

fn authorization(shared: &Shared, header: Option<&str>) -> Authorization {
    let Some((scheme, token)) = header.and_then(|text| text.split_once(' ')) else {
        return Authorization::Missing;
    };
    let config = &shared.config;
    if token == config.token && shared.token_expired.load(Ordering::Acquire) {
        return Authorization::Expired;
    }
    if config.expired.iter().any(|expired| expired == token) {
        return Authorization::Expired;
    }
    match scheme {
        _ if token != config.token => Authorization::Wrong,
        "token" => Authorization::Token,
        "Bearer" => Authorization::Bearer,
        _ => Authorization::Wrong,
    }
}
