//! Where traces go.

use serde::{Deserialize, Serialize};

use crate::api::FieldError;

/// Where traces go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TracingConfig {
    /// A collector that speaks OTLP over HTTP, such as `http://collector.example.com:4318`.
    pub otlp_endpoint: String,
    /// Which part of the requests is traced, between 0 and 1. A caller that says whether to trace decides.
    #[serde(default = "every_request")]
    pub sample_ratio: f64,
}

fn every_request() -> f64 {
    1.0
}

impl TracingConfig {
    /// Looks at the address and the number.
    ///
    /// # Errors
    /// Names the field, below `tracing`, and what would be right.
    pub fn check(&self) -> Result<(), FieldError> {
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            let message = format!("{} is no part of a whole: write a number between 0 and 1", self.sample_ratio);
            return Err(FieldError::new("sampleRatio", message));
        }
        let endpoint = self.otlp_endpoint.parse::<http::Uri>().ok();
        let right = endpoint.is_some_and(|uri| {
            let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
            plain && matches!(uri.scheme_str(), Some("http" | "https"))
        });
        // The text is not repeated: a password that was written into it must not reach a log.
        let message = "it is no address: write a scheme and a host, such as http://collector.example.com:4318";
        if right { Ok(()) } else { Err(FieldError::new("otlpEndpoint", message)) }
    }
}
