//! What both controllers share.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use super::{
    config::{Now, OperatorConfig},
    labels,
    metrics::{ControllerName, Metrics, ReconcileResult},
    retention_policy::Endings,
};

/// What both controllers share.
#[derive(Clone)]
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What the operator was told.
    pub config: Arc<OperatorConfig>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// How runs ended whose policies do not say so yet.
    pub endings: Arc<Endings>,
    now: Now,
    recorder: Recorder,
}

impl Context {
    /// Puts it together.
    #[must_use]
    pub fn new(client: Client, config: OperatorConfig, metrics: Arc<Metrics>, now: Now) -> Self {
        let reporter = Reporter { controller: labels::OPERATOR.to_owned(), instance: Some(config.identity.clone()) };
        let recorder = Recorder::new(client.clone(), reporter);
        Self { client, config: Arc::new(config), metrics, endings: Arc::default(), now, recorder }
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// Tells those who watch an object that something changed about it. An Event that cannot be written is
    /// logged, and changes nothing.
    pub async fn record(&self, about: &ObjectReference, type_: EventType, reason: &str, note: &str) {
        let note = clip(note).to_owned();
        let action = "Reconcile".to_owned();
        let event = Event { type_, reason: reason.to_owned(), note: Some(note), action, secondary: None };
        if let Err(error) = self.recorder.publish(&event, about).await {
            tracing::warn!(error = &error as &(dyn std::error::Error + 'static), reason, "could not record an event");
        }
    }

    /// Counts a reconciliation that began at `started`.
    pub fn count<T, E>(&self, controller: ControllerName, outcome: &Result<T, E>, took: Duration) {
        let result = if outcome.is_ok() { ReconcileResult::Success } else { ReconcileResult::Error };
        self.metrics.reconciled(controller, result, took);
    }
}

/// The longest note that the API server takes, in bytes.
const MAX_NOTE_BYTES: usize = 1024;

/// As much of a note as an Event takes, in whole characters.
fn clip(note: &str) -> &str {
    let longest = MAX_NOTE_BYTES.min(note.len());
    (0..=longest).rev().find_map(|end| note.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn note_is_clipped_where_the_api_server_takes_no_more_and_between_characters() {
        let long = "x".repeat(1025);
        assert_eq!(clip(&long).len(), 1024);
        let wide = format!("x{}", "\u{20ac}".repeat(400));
        assert_eq!(clip(&wide).len(), 1 + 341 * 3);
        assert_eq!(clip("as it is"), "as it is");
    }
}
