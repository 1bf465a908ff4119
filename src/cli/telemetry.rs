//! What the process tells of itself: a log on standard error, and traces to a collector.

use std::io::{self, IsTerminal};

use anyhow::Context;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::api::serve_config::TracingConfig;
use crate::api::v1alpha1::{LogFormat, LogLevel};

use super::span_export;

/// The variable that overrules the configured level, with the filter language of `tracing`.
const FILTER_VARIABLE: &str = "RUST_LOG";

/// Spans that are exported, whatever the log shows: requests, runs and calls of the storage. Those of libraries would
/// be many, and some of them tell addresses with signatures.
const EXPORTED: &str = "off,lagan=debug";

/// The log and the traces of this process. What was not sent yet is sent by [`Telemetry::finish`].
#[derive(Debug)]
#[must_use = "traces that were not sent yet are lost without `finish`"]
pub(super) struct Telemetry {
    spans: Option<SdkTracerProvider>,
}

/// Begins to write events of `level` and above, in `format`. `RUST_LOG` overrules the level. With `tracing`, spans go to
/// a collector.
///
/// # Errors
/// If `RUST_LOG` is set and is no filter, if the collector's address is none, or if the process writes a log already.
pub(super) fn start(level: LogLevel, format: LogFormat, tracing: Option<&TracingConfig>) -> anyhow::Result<Telemetry> {
    let spans = tracing.map(span_export::provider).transpose().context("could not prepare traces")?;
    let exporting = spans.as_ref().map(|spans| {
        let tracer = spans.tracer("lagan");
        tracing_opentelemetry::layer().with_tracer(tracer).with_filter(EnvFilter::new(EXPORTED))
    });
    let log = log(format).with_filter(filter(level)?);
    tracing_subscriber::registry().with(log).with(exporting).try_init().context("could not start the log")?;
    Ok(Telemetry { spans })
}

impl Telemetry {
    /// Sends what was not sent yet, for a few seconds at most.
    pub(super) async fn finish(self) {
        if let Some(spans) = self.spans {
            span_export::finish(spans).await;
        }
    }
}

fn log(format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
    match format {
        LogFormat::Text => {
            let colours = io::stderr().is_terminal();
            fmt::layer().with_writer(io::stderr).with_ansi(colours).with_target(false).boxed()
        }
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(io::stderr).boxed(),
    }
}

fn filter(level: LogLevel) -> anyhow::Result<EnvFilter> {
    match std::env::var(FILTER_VARIABLE) {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(&text).with_context(|| {
            format!("{FILTER_VARIABLE}={text} is no filter: write a level such as info, or lagan=debug")
        }),
        _ => Ok(EnvFilter::new(directive(level))),
    }
}

/// Libraries below the registry are interesting only when something is searched for.
fn directive(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "warn,lagan=info",
        LogLevel::Debug => "info,lagan=debug",
        LogLevel::Trace => "trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_a_filter() {
        for level in [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace] {
            assert!(EnvFilter::try_new(directive(level)).is_ok(), "{level:?}");
        }
    }
}
