//! What monitors ask a serving node: whether it lives, and its figures (docs/decisions/0023).
//!
//! ```text
//! GET /healthz    200 "ok" while the node serves
//! GET /metrics    Prometheus text, version 0.0.4
//! ```
//!
//! It is plain HTTP on a port of loopback of its own. Runs, times and bytes are summed up by the index over the records in the
//! home, so that those of `psi run` beside the service count as well and a restart loses none; sessions are those of this process. Names of
//! jobs and partners, types, counts and error codes are in it; no identifiers, keys, or paths.

mod metrics;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore, task};

use crate::{
    fault::{Code, Fault},
    node::Node,
};

/// Connections at a time: a monitor needs one.
const MAX_CONNECTIONS: usize = 16;
/// Time for a request to arrive.
const REQUEST: Duration = Duration::from_secs(10);

/// Takes the port that the configuration names, if it names one.
///
/// # Errors
/// [`Code::Config`] if it is taken.
pub async fn bind(node: &Node) -> Result<Option<TcpListener>, Fault> {
    let Some(address) = node.config().node.metrics else { return Ok(None) };
    let taken = |error| {
        let config = node.home().config().display();
        Fault::new(Code::Config, format!("{config}: node.metrics: {address}: {error}"))
    };
    TcpListener::bind(address).await.map(Some).map_err(taken)
}

/// Answers monitors until it is dropped.
pub async fn serve(node: Arc<Node>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, from)) => {
                let node = node.clone();
                tokio::spawn(async move {
                    converse(node, stream, from).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a monitor failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(node: Arc<Node>, stream: tokio::net::TcpStream, from: SocketAddr) {
    let answer = service_fn(move |request| answer(node.clone(), request));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(REQUEST).keep_alive(false);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), answer).await {
        tracing::debug!(%from, %error, "a monitor's connection ended");
    }
}

async fn answer(
    node: Arc<Node>,
    request: Request<Incoming>,
) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
    const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/healthz") => (StatusCode::OK, "ok\n".to_owned()),
        (&Method::GET, "/metrics") => match task::spawn_blocking(move || metrics::text(&node)).await {
            Ok(text) => (StatusCode::OK, text),
            Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
        },
        (&Method::GET, _) => (StatusCode::NOT_FOUND, "/healthz and /metrics are here\n".to_owned()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, String::new()),
    };
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(TEXT));
    Ok(response)
}
