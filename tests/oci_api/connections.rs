//! Clients that go away, and servers that do.

use std::time::Duration;

use lagan::oci::{Algorithm, Digest};
use reqwest::StatusCode;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::registry::{Registry, Setup, header};

async fn raw(registry: &Registry, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(registry.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// The same from another address of this machine's own.
async fn raw_from(registry: &Registry, from: [u8; 4], text: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let mut stream = socket.connect(registry.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Asks for an upload's range until it is the expected one: the server notices in its own time that a client is gone.
async fn until_range(registry: &Registry, location: &str, expected: &str) {
    while header(&registry.get(location).await, "range") != expected {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_client_that_breaks_off_goes_on_where_it_was() {
    let registry = Registry::start().await;
    let location = registry.begin_upload("app").await;
    let head = format!("PATCH {location} HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\ncar");
    drop(raw(&registry, &head).await);
    until_range(&registry, &location, "0-2").await;

    let digest = Digest::of(Algorithm::Sha256, b"cargo");
    let rest = registry
        .request(reqwest::Method::PUT, &format!("{location}?digest={digest}"))
        .header("content-range", "3-4")
        .body("go")
        .send()
        .await
        .unwrap();
    assert_eq!(rest.status(), StatusCode::CREATED);
    assert_eq!(registry.get(&format!("/v2/app/blobs/{digest}")).await.text().await.unwrap(), "cargo");
}

#[tokio::test]
async fn a_body_that_is_shorter_than_announced_makes_nothing_visible() {
    let registry = Registry::start().await;
    let digest = Digest::of(Algorithm::Sha256, b"car");
    let location = registry.begin_upload("app").await;
    // The digest is that of what arrives before the client goes away, not of what it announced.
    for target in [format!("PUT {location}?digest={digest}"), format!("POST /v2/app/blobs/uploads/?digest={digest}")] {
        let head = format!("{target} HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\ncar");
        let mut stream = raw(&registry, &head).await;
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // Closed by the server, with or without an answer.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!String::from_utf8_lossy(&answer).contains(" 201 "));
        assert_eq!(registry.head(&format!("/v2/app/blobs/{digest}")).await.status(), StatusCode::NOT_FOUND);
    }
    until_range(&registry, &location, "0-2").await;
}

#[tokio::test]
async fn a_broken_chunked_encoding_keeps_what_came_before_it() {
    let registry = Registry::start().await;
    let location = registry.begin_upload("app").await;
    let head = format!("PATCH {location} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\ncar\r\nxyz\r\n");
    let mut stream = raw(&registry, &head).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains(" 202 "));
    until_range(&registry, &location, "0-2").await;
}

#[tokio::test]
async fn requests_in_flight_end_before_the_server_does() {
    let registry = Registry::start().await;
    let location = registry.begin_upload("app").await;
    let digest = Digest::of(Algorithm::Sha256, b"cargo");
    let head = format!("PUT {location}?digest={digest} HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\ncar");
    let mut stream = raw(&registry, &head).await;
    let idle = raw(&registry, "").await;
    while header(&registry.get(&location).await, "range") != "0-2" && registry.in_flight() == 0 {
        tokio::task::yield_now().await;
    }

    registry.shutdown.cancel();
    while TcpStream::connect(registry.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    stream.write_all(b"go").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    registry.server.await.unwrap();
    drop((idle, registry.app, registry.catalog));

    let registry = Registry::on(registry.folder, Setup::default()).await;
    assert_eq!(registry.get(&format!("/v2/app/blobs/{digest}")).await.text().await.unwrap(), "cargo");
}

#[tokio::test]
async fn what_does_not_drain_in_time_is_cut() {
    let registry = Registry::with(Setup { drain_timeout: Duration::from_millis(50), ..Setup::default() }).await;
    let location = registry.begin_upload("app").await;
    let head = format!("PATCH {location} HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\ncar");
    let mut stream = raw(&registry, &head).await;
    while registry.in_flight() == 0 {
        tokio::task::yield_now().await;
    }
    registry.shutdown.cancel();
    registry.server.await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
}

#[tokio::test]
async fn more_clients_than_connections_take_turns() {
    let registry = Registry::start().await;
    let from = |client: u8| (0..64).map(move |_| [127, 0, 0, client]);
    let held = from(1).chain(from(2)).map(|address| raw_from(&registry, address, "GET /v2/"));
    let held: Vec<_> = futures::future::join_all(held).await;
    // Accepted by the kernel only.
    let whole = "GET /v2/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut waiting = raw_from(&registry, [127, 0, 0, 3], whole).await;
    let mut first = [0; 1];
    let early = tokio::time::timeout(Duration::from_millis(100), waiting.read(&mut first)).await;
    assert!(early.is_err(), "answered beyond the bound");
    drop(held);
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn one_address_leaves_connections_to_others() {
    let registry = Registry::start().await;
    let _held: Vec<_> = futures::future::join_all((0..64).map(|_| raw(&registry, "GET /v2/"))).await;
    let mut answer = Vec::new();
    // Closed, or reset with what was sent unread.
    let _ = TcpStream::connect(registry.address).await.unwrap().read_to_end(&mut answer).await;
    assert!(answer.is_empty());
    let whole = "GET /v2/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut other = raw_from(&registry, [127, 0, 0, 2], whole).await;
    let mut answer = String::new();
    other.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn who_has_sent_everything_still_gets_the_answer() {
    let registry = Registry::start().await;
    let mut stream = raw(&registry, "GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n").await;
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn refused_client_that_waits_for_a_word_sends_no_body() {
    let registry = Registry::start().await;
    let digest = Digest::of(Algorithm::Sha256, b"cargo");
    let head =
        |path: &str| format!("POST {path} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    let mut stream = raw(&registry, &head("/v2/app/blobs/uploads/?digest=sha256:short")).await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");

    let mut stream = raw(&registry, &head(&format!("/v2/app/blobs/uploads/?digest={digest}"))).await;
    let mut word = [0; 12];
    stream.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"HTTP/1.1 100");
    stream.write_all(b"cargo").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("HTTP/1.1 201 "), "{answer}");
}

#[tokio::test]
async fn request_names_one_host() {
    let registry = Registry::start().await;
    for (request, status) in [
        ("GET /v2/ HTTP/1.1\r\n\r\n", 400),
        ("GET /v2/ HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        ("GET /v2/ HTTP/1.1\r\nhost: a\r\n\r\n", 200),
        ("GET /v2/ HTTP/1.0\r\n\r\n", 200),
    ] {
        let mut stream = raw(&registry, request).await;
        let mut line = [0; 12];
        stream.read_exact(&mut line).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&line).split(' ').nth(1), Some(&*status.to_string()), "{request}");
    }
}
