//! Where a registry's traces go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::object_storage::ADDRESS;

/// Where traces of requests go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TracingSpec {
    /// An OpenTelemetry collector that speaks OTLP over HTTP, such as `http://collector.monitoring.svc:4318`. Traces are
    /// sent to /v1/traces below it.
    #[schemars(length(max = 512), regex(pattern = ADDRESS))]
    pub otlp_endpoint: String,
    /// Of how many of each hundred requests there is a trace: 100 where it is not given. A caller that says whether to
    /// trace decides.
    #[schemars(range(min = 0, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_percent: Option<i32>,
}
