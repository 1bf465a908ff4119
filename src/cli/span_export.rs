//! Spans to a collector, by OTLP over HTTP.
//!
//! A thread of the library's gathers spans and sends them in batches; a request hands its span over and goes on. A queue
//! that is full, because the collector is slow or away, drops spans.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use tokio::{runtime::Handle, task::spawn_blocking, time::timeout};
use tracing::warn;

use crate::api::serve_config::TracingConfig;

/// What traces are of.
const SERVICE: &str = "lagan";

/// Where below the collector's address traces go (OTLP/HTTP).
const TRACES_PATH: &str = "/v1/traces";

/// How long a collector may take over a batch. Meanwhile spans are gathered, up to the queue's length.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the process waits at its end for what is left to be sent.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends with the process's runtime: the library's thread has none.
#[derive(Debug)]
struct OnRuntime {
    client: reqwest::Client,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sending = self.runtime.spawn(async move { timeout(SEND_TIMEOUT, client.send_bytes(request)).await });
        sending.await??
    }
}

/// A provider whose spans go to a collector. It must be made on the runtime, and ended by [`finish`].
///
/// # Errors
/// If the address is none.
pub(super) fn provider(config: &TracingConfig) -> anyhow::Result<SdkTracerProvider> {
    let client = OnRuntime { client: reqwest::Client::builder().build()?, runtime: Handle::current() };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}{TRACES_PATH}", config.otlp_endpoint.trim_end_matches('/')))
        .with_timeout(SEND_TIMEOUT)
        .build()?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.sample_ratio)));
    let resource = Resource::builder().with_service_name(SERVICE).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_sampler(sampler).with_resource(resource).build())
}

/// Sends what is left, and ends the thread.
pub(super) async fn finish(provider: SdkTracerProvider) {
    // It waits for the thread, which waits for the runtime.
    let finished = spawn_blocking(move || provider.shutdown_with_timeout(FINISH_TIMEOUT)).await;
    if let Ok(Err(error)) = finished {
        warn!(error = &error as &(dyn std::error::Error + 'static), "some traces were not sent");
    }
}
