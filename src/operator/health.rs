//! Probes and metrics, on one port. Every replica answers, whether it leads or not.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;

/// So many connections at a time: a kubelet and a few scrapers need a handful.
const MAX_CONNECTIONS: usize = 64;

/// Binds the port, so that one that is taken is an error before anything else is done.
///
/// # Errors
///
/// When the port is taken.
pub(super) async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers until `stop` is cancelled.
pub(super) async fn serve(listener: TcpListener, metrics: Arc<Metrics>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => accepted,
            Some(_) = connections.join_next() => continue,
            () = stop.cancelled() => break,
        };
        // Whoever hung up while being accepted does not come again.
        let Ok((stream, _)) = accepted else { continue };
        let metrics = Arc::clone(&metrics);
        connections.spawn(async move {
            let answer = service_fn(move |request| {
                let response = answer(&request, &metrics);
                async move { Ok::<_, Infallible>(response) }
            });
            // A connection that breaks is its client's business.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
    connections.shutdown().await;
}

fn answer(request: &Request<Incoming>, metrics: &Metrics) -> Response<Full<Bytes>> {
    let text = |status: StatusCode, body: String| {
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, plain);
        response
    };
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n".to_owned());
    }
    match request.uri().path() {
        "/livez" | "/readyz" => text(StatusCode::OK, "ok\n".to_owned()),
        "/metrics" => match metrics.encode() {
            Ok(metrics) => text(StatusCode::OK, metrics),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written\n".to_owned()),
        },
        _ => text(StatusCode::NOT_FOUND, "/livez, /readyz and /metrics are here\n".to_owned()),
    }
}
