//! One request, from its head to the last byte of its answer, for the log and the metrics.

use std::{sync::Arc, time::Instant};

use hyper::{Method, StatusCode};
use tracing::info;

use super::metrics::{Metrics, RequestLabels};

/// What stands in the log for a request whose client went away before there was an answer (nginx's number).
const CLIENT_GONE: u16 = 499;

/// A request that is being answered. When it is dropped, it is counted and logged, however it ended.
#[derive(Debug)]
pub(super) struct Observation {
    metrics: Arc<Metrics>,
    listener: &'static str,
    route: &'static str,
    method: Method,
    target: String,
    repository: Option<String>,
    actor: Option<String>,
    status: Option<StatusCode>,
    began: Instant,
    received: u64,
    sent: u64,
}

impl Observation {
    pub(super) fn begin(metrics: Arc<Metrics>, listener: &'static str, method: Method, target: &str) -> Self {
        metrics.request_begins();
        Self {
            metrics,
            listener,
            route: "unknown",
            method,
            target: target.to_owned(),
            repository: None,
            actor: None,
            status: None,
            began: Instant::now(),
            received: 0,
            sent: 0,
        }
    }

    pub(super) fn routed(&mut self, route: &'static str, repository: Option<String>) {
        self.route = route;
        self.repository = repository;
    }

    pub(super) fn identified(&mut self, actor: &str) {
        self.actor = Some(actor.to_owned());
    }

    pub(super) fn answered(&mut self, status: StatusCode, received: u64) {
        self.status = Some(status);
        self.received = received;
    }

    pub(super) fn sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    /// The method, if it is one that the registry knows: a client may invent others without end.
    fn method_label(&self) -> &'static str {
        match self.method.as_str() {
            "GET" => "GET",
            "HEAD" => "HEAD",
            "POST" => "POST",
            "PUT" => "PUT",
            "PATCH" => "PATCH",
            "DELETE" => "DELETE",
            _ => "other",
        }
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        let status = self.status.map_or(CLIENT_GONE, |status| status.as_u16());
        let took = self.began.elapsed();
        let labels = RequestLabels {
            listener: self.listener,
            route: self.route,
            method: self.method_label(),
            status: status.into(),
        };
        self.metrics.request_ends(&labels, took, self.received, self.sent);
        info!(
            listener = self.listener,
            method = %self.method,
            route = self.route,
            target = self.target,
            repository = self.repository,
            actor = self.actor,
            status,
            duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            received_bytes = self.received,
            sent_bytes = self.sent,
            "request"
        );
    }
}
