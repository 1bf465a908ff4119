//! Pointers to content.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::{Digest, MediaType, Platform};

/// What points to content: its type, its address and its size.
///
/// Only the fields that the registry acts on or answers with are kept; the manifest's bytes stay the truth.
/// Source: OCI image-spec, `descriptor.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content says that it is.
    pub media_type: MediaType,
    /// The content's address.
    pub digest: Digest,
    /// The content's length in bytes.
    pub size: u64,
    /// The artifact's type, where the descriptor points to a manifest that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Where else the content may be had; a layer with such places need not be in the registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Free text about the content.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Where what an index lists runs; `None` where it does not say, or says it in another form than the specification's.
    #[serde(default, skip_serializing, deserialize_with = "platform")]
    pub platform: Option<Box<Platform>>,
}

/// Whatever a client wrote there, its manifest is none the worse for it.
fn platform<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<Platform>>, D::Error> {
    let raw = serde_json::Value::deserialize(from)?;
    let part = |name: &str| raw.get(name)?.as_str().filter(|text| !text.is_empty()).map(String::from);
    let said = part("os").zip(part("architecture"));
    Ok(said.map(|(os, architecture)| Box::new(Platform { os, architecture, variant: part("variant") })))
}

impl Descriptor {
    /// Whether the registry must hold the content before a manifest that names it is accepted. A manifest has to be
    /// there wherever else it may be had.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.media_type.is_manifest() || (self.urls.is_empty() && !self.media_type.is_non_distributable())
    }
}
