//! What the process writes to standard error.

use std::io::{self, IsTerminal};

use anyhow::Context;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::api::v1alpha1::{LogFormat, LogLevel};

/// The variable that overrules the configured level, with the filter language of `tracing`.
const FILTER_VARIABLE: &str = "RUST_LOG";

/// Begins to write events of `level` and above, in `format`. `RUST_LOG` overrules the level.
///
/// # Errors
/// If `RUST_LOG` is set and is no filter, or if the process writes a log already.
pub(super) fn start(level: LogLevel, format: LogFormat) -> anyhow::Result<()> {
    let registry = tracing_subscriber::registry().with(filter(level)?);
    let started = match format {
        LogFormat::Text => {
            let colours = io::stderr().is_terminal();
            registry.with(fmt::layer().with_writer(io::stderr).with_ansi(colours).with_target(false)).try_init()
        }
        LogFormat::Json => registry.with(fmt::layer().json().flatten_event(true).with_writer(io::stderr)).try_init(),
    };
    started.context("could not start the log")
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
