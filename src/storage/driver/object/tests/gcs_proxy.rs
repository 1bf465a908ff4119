//! What fake-gcs-server wants to hear, between it and the driver.
//!
//! It takes a plain PUT of an object for a form's, unless the query has a signature's algorithm in it, and it answers
//! without the tag of what was written. Google's own store does neither; so each gets here what it lacks.

use std::sync::Arc;

use http::{
    HeaderValue, Method, Request, Uri,
    header::{ETAG, HOST},
    uri::{Authority, PathAndQuery, Scheme},
};
use hyper::{Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::TcpListener;

const ALGORITHM: &str = "X-Goog-Algorithm=GOOG4-RSA-SHA256";

type Forwarder = Client<HttpConnector, Incoming>;

/// Forwards to the server of this address until the test ends; its own address.
pub(super) async fn in_front_of(endpoint: &str) -> String {
    let server: Arc<Authority> = Arc::new(endpoint.strip_prefix("http://").unwrap().parse().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let client: Forwarder = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        while let Ok((stream, _)) = listener.accept().await {
            let (client, server) = (client.clone(), Arc::clone(&server));
            tokio::spawn(async move {
                let forward = service_fn(|request| forwarded(&client, &server, request));
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), forward).await;
            });
        }
    });
    format!("http://{address}")
}

async fn forwarded(
    client: &Forwarder,
    server: &Authority,
    mut request: Request<Incoming>,
) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
    let mut to = request.uri().clone().into_parts();
    to.scheme = Some(Scheme::HTTP);
    to.authority = Some(server.clone());
    if *request.method() == Method::PUT {
        to.path_and_query = Some(with_algorithm(request.uri()));
    }
    *request.uri_mut() = Uri::from_parts(to).unwrap();
    // It tells objects from its own pages by the name that it is called.
    request.headers_mut().insert(HOST, HeaderValue::from_str(server.as_str()).unwrap());
    let mut answer = client.request(request).await?;
    answer.headers_mut().entry(ETAG).or_insert(HeaderValue::from_static("\"a tag\""));
    Ok(answer)
}

fn with_algorithm(uri: &Uri) -> PathAndQuery {
    let query = uri.query().map_or_else(String::new, |query| format!("{query}&"));
    format!("{}?{query}{ALGORITHM}", uri.path()).parse().unwrap()
}
