//! Why something could not be copied.

use std::time::Duration;

use reqwest::{StatusCode, Url};

use crate::cli::registry_client::{deepest_cause, other_scheme};
use crate::storage;

/// Why something could not be copied.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The connection: refused, cut, too slow.
    #[error("{what}: {reason}")]
    Connection { what: String, reason: String },
    /// A registry answered with an error.
    #[error("{what}: {status}{}", said.as_ref().map(|said| format!(": {said}")).unwrap_or_default())]
    Answer { what: String, status: StatusCode, said: Option<String>, retry_after: Option<Duration> },
    /// What came is not what was asked for.
    #[error("{what}: {reason}")]
    Content { what: String, reason: String },
    /// The folder could not be written to.
    #[error("the folder could not be written to")]
    Storage(#[from] storage::Error),
}

impl Failure {
    /// Whether another attempt may go better.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            // Bytes that were changed on the way are asked for again.
            Self::Connection { .. } | Self::Content { .. } => true,
            Self::Answer { status, .. } => matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504),
            Self::Storage(error) => matches!(error, storage::Error::Frozen { .. }),
        }
    }

    /// Whether a blob that broke off can be gone on with, from where it broke off.
    pub(super) fn is_break(&self) -> bool {
        match self {
            // A token that ran out; a request whose end the target has not noticed yet.
            Self::Answer { status, .. } if matches!(status.as_u16(), 401 | 409) => true,
            Self::Connection { .. } | Self::Answer { .. } => self.is_passing(),
            Self::Content { .. } | Self::Storage(_) => false,
        }
    }

    /// How long the registry wants to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answer { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Answer { status: StatusCode::NOT_FOUND, .. })
    }

    /// What became of sending a request.
    pub(super) fn connection(what: &str, error: &reqwest::Error) -> Self {
        let reason = deepest_cause(error);
        let hint = error.url().and_then(|url| other_scheme(&origin(url), &reason));
        let reason = hint.map_or(reason.clone(), |hint| format!("{reason}: {hint}"));
        Self::Connection { what: what.to_owned(), reason }
    }

    /// With its causes, in one line.
    pub(super) fn in_words(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(deeper) = cause {
            text = format!("{text}: {deeper}");
            cause = deeper.source();
        }
        text
    }
}

/// A registry's address, out of that of something in it.
fn origin(url: &Url) -> Url {
    let mut origin = url.clone();
    origin.set_path("");
    origin.set_query(None);
    origin
}
