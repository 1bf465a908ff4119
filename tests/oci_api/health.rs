use std::{sync::Arc, time::Duration};

use lagan::http::{Health, Metrics, Readiness, Service};
use reqwest::{Client, StatusCode};
use tokio_util::sync::CancellationToken;

use crate::registry::{Registry, header, install_crypto, serve};

async fn health(metrics: Arc<Metrics>) -> (String, Readiness, Client) {
    install_crypto();
    let readiness = Readiness::new();
    let service = Service::Health(Arc::new(Health::new(metrics.clone(), readiness.clone())));
    let (address, _) = serve(service, None, metrics, Duration::ZERO, CancellationToken::new()).await;
    (format!("http://{address}"), readiness, Client::builder().no_proxy().build().unwrap())
}

#[tokio::test]
async fn readiness_follows_the_process_and_liveness_does_not() {
    let (base, readiness, client) = health(Arc::new(Metrics::new())).await;
    let status = |path: &'static str| {
        let request = client.get(format!("{base}{path}"));
        async move { request.send().await.unwrap().status() }
    };
    assert_eq!(status("/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(status("/healthz").await, StatusCode::OK);
    readiness.ready();
    assert_eq!(status("/readyz").await, StatusCode::OK);
    readiness.draining();
    assert_eq!(status("/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(status("/healthz").await, StatusCode::OK);
    assert_eq!(status("/elsewhere").await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn requests_are_counted_with_labels_of_our_own() {
    let registry = Registry::start().await;
    let digest = registry.push_blob("secret/name", b"cargo").await;
    registry.get(&format!("/v2/secret/name/blobs/{digest}")).await.bytes().await.unwrap();
    registry.request(reqwest::Method::from_bytes(b"INVENTED").unwrap(), "/v2/").send().await.unwrap();
    let (base, _, client) = health(registry.metrics.clone()).await;
    let page = client.get(format!("{base}/metrics")).send().await.unwrap();
    assert!(header(&page, "content-type").starts_with("application/openmetrics-text"));
    let page = page.text().await.unwrap();
    let blob = r#"lagan_http_requests_total{listener="registry",route="blob",method="GET",status="200"} 1"#;
    assert!(page.contains(blob), "{page}");
    assert!(page.contains("lagan_http_sent_bytes_total"), "{page}");
    assert!(page.contains(r#"lagan_http_request_duration_seconds_count{route="blob",method="GET"} 1"#), "{page}");
    assert!(page.contains(r#"method="other""#), "{page}");
    assert!(!page.contains("secret") && !page.contains("INVENTED"), "{page}");
}
