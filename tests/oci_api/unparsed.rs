//! What is no HTTP request.

use lagan::api::wire::ErrorBody;
use reqwest::StatusCode;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::registry::Registry;

/// Sends text and reads until the server closes.
async fn exchange(registry: &Registry, text: &str) -> String {
    let mut stream = TcpStream::connect(registry.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is as good as an end.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

fn expect_json(answer: &str, status: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    let body: ErrorBody = serde_json::from_str(body).unwrap();
    assert_eq!(body.errors[0].code, "UNSUPPORTED");
}

#[tokio::test]
async fn what_is_no_request_is_answered_in_json() {
    let registry = Registry::start().await;
    let many: String = (0..200).fold(String::new(), |many, number| format!("{many}x-{number}: 1\r\n"));
    let long = "a".repeat(70_000);
    for (text, status) in [
        ("nonsense\r\n\r\n".to_owned(), "400"),
        ("GET /v2/ HTTP/3.7\r\n\r\n".to_owned(), "400"),
        ("GET /v2/ HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n".to_owned(), "400"),
        ("GET /v2/ HTTP/1.1\r\nhost: x\r\ncontent-length: many\r\n\r\n".to_owned(), "400"),
        (format!("GET /v2/ HTTP/1.1\r\nhost: x\r\n{many}\r\n"), "431"),
        (format!("GET /v2/{long} HTTP/1.1\r\nhost: x\r\n\r\n"), "431"),
    ] {
        expect_json(&exchange(&registry, &text).await, status);
    }
    assert_eq!(registry.get("/v2/").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn an_answer_before_it_stays_as_it_is() {
    let registry = Registry::start().await;
    // Content that looks like an answer of the library's is not taken for one.
    let content = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    let digest = registry.push_blob("app", content.as_bytes()).await;
    let get = format!("GET /v2/app/blobs/{digest} HTTP/1.1\r\nhost: x\r\n\r\n");
    let answer = exchange(&registry, &format!("{get}{get}nonsense\r\n\r\n")).await;
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 2, "{answer}");
    assert_eq!(answer.matches(content).count(), 2, "{answer}");
    assert!(!answer.contains("HTTP/1.1 500"));
    // Where the two answers are sent before the third is read, it has its JSON.
    let mut stream = TcpStream::connect(registry.address).await.unwrap();
    stream.write_all(get.as_bytes()).await.unwrap();
    let mut first = Vec::new();
    while !first.ends_with(content.as_bytes()) {
        stream.read_buf(&mut first).await.unwrap();
    }
    stream.write_all(b"nonsense\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    expect_json(std::str::from_utf8(&answer).unwrap(), "400");
}
