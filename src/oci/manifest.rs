//! Manifests and indexes, and what they point to.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Descriptor, MediaType, Object};

/// Whether a manifest describes one image or artifact, or lists others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestKind {
    /// A config and layers.
    Image,
    /// A list of manifests.
    Index,
}

/// The part of a manifest that a registry acts on. The bytes themselves are stored as they came.
///
/// Source: OCI image-spec, `manifest.md` and `image-index.md`; Docker's `manifest-v2-2.md`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// What it is: the `mediaType` inside, else the `Content-Type` that it was pushed with.
    pub media_type: MediaType,
    /// Whether the bytes say so themselves. Otherwise the same bytes may be pushed again as another type.
    pub says_media_type: bool,
    /// Image or index.
    pub kind: ManifestKind,
    /// An image's config.
    pub config: Option<Descriptor>,
    /// An image's layers, in order.
    pub layers: Vec<Descriptor>,
    /// An index's children, in order.
    pub manifests: Vec<Descriptor>,
    /// The manifest that this one says something about.
    pub subject: Option<Descriptor>,
    /// The `artifactType` as written.
    pub artifact_type: Option<String>,
    /// Free text about the manifest.
    pub annotations: BTreeMap<String, String>,
}

/// Why bytes are no manifest that this registry takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or not of a manifest's shape.
    #[error("the manifest could not be read: {reason}")]
    Malformed {
        /// What the parser says, with the place.
        reason: String,
    },
    /// Neither the content nor the request says what this is, or it is of a kind that is not supported.
    #[error(
        "media type {media_type:?} is not supported as a manifest: push an OCI image manifest or index, or Docker's schema 2"
    )]
    UnsupportedMediaType {
        /// What was said; empty where nothing was.
        media_type: String,
    },
    /// The request and the content disagree.
    #[error("the manifest says mediaType {inside:?}, but was sent with Content-Type {outside:?}: make them equal")]
    MediaTypeMismatch {
        /// The `mediaType` field.
        inside: String,
        /// The `Content-Type` header.
        outside: String,
    },
    /// A required field is missing, or one that another kind of manifest has is there.
    #[error("the manifest is no {media_type}: {reason}")]
    Shape {
        /// What it claims to be.
        media_type: MediaType,
        /// What is wrong.
        reason: &'static str,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u64,
    media_type: Option<MediaType>,
    config: Option<Object<Descriptor>>,
    layers: Option<Vec<Object<Descriptor>>>,
    manifests: Option<Vec<Object<Descriptor>>>,
    subject: Option<Object<Descriptor>>,
    artifact_type: Option<String>,
    annotations: Option<BTreeMap<String, String>>,
}

fn descriptors(list: Option<Vec<Object<Descriptor>>>) -> Vec<Descriptor> {
    list.unwrap_or_default().into_iter().map(|Object(descriptor)| descriptor).collect()
}

impl Manifest {
    /// Reads a manifest's bytes. `content_type` is what it was, or is to be, pushed with.
    ///
    /// # Errors
    /// See [`ManifestError`]; the bytes' digest is not checked here.
    pub fn parse(content_type: Option<&MediaType>, bytes: &[u8]) -> Result<Self, ManifestError> {
        let Object(raw): Object<Raw> =
            serde_json::from_slice(bytes).map_err(|e| ManifestError::Malformed { reason: e.to_string() })?;
        let media_type = agreed_media_type(content_type, &raw)?;
        if raw.schema_version != 2 {
            return Err(ManifestError::Shape { media_type, reason: "schemaVersion must be 2" });
        }
        let kind = match media_type.as_str() {
            MediaType::OCI_MANIFEST | MediaType::DOCKER_MANIFEST => ManifestKind::Image,
            MediaType::OCI_INDEX | MediaType::DOCKER_MANIFEST_LIST => ManifestKind::Index,
            other => return Err(ManifestError::UnsupportedMediaType { media_type: other.into() }),
        };
        if let Some(reason) = shape_problem(kind, &raw) {
            return Err(ManifestError::Shape { media_type, reason });
        }
        Ok(Self {
            media_type,
            says_media_type: raw.media_type.is_some(),
            kind,
            config: raw.config.map(|Object(config)| config),
            layers: descriptors(raw.layers),
            manifests: descriptors(raw.manifests),
            subject: raw.subject.map(|Object(subject)| subject),
            artifact_type: raw.artifact_type.filter(|t| !t.is_empty()),
            annotations: raw.annotations.unwrap_or_default(),
        })
    }

    /// The blobs that it needs: config and layers. An index's list may point to blobs too (image-spec allows
    /// any media type there).
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let listed = self.manifests.iter().filter(|d| !d.media_type.is_manifest());
        self.config.iter().chain(&self.layers).chain(listed)
    }

    /// The manifests that it lists.
    pub fn children(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifests.iter().filter(|d| d.media_type.is_manifest())
    }

    /// The type that the referrers API lists it under: its `artifactType`, else an image's config media type
    /// (distribution-spec 1.1, *Listing Referrers*).
    #[must_use]
    pub fn referrer_type(&self) -> Option<String> {
        self.artifact_type.clone().or_else(|| Some(self.config.as_ref()?.media_type.to_string()))
    }
}

/// The media type that content and request agree on. Content without `mediaType` is what the request says;
/// without either, its shape tells (the field became mandatory for Docker only).
fn agreed_media_type(content_type: Option<&MediaType>, raw: &Raw) -> Result<MediaType, ManifestError> {
    match (&raw.media_type, content_type) {
        (Some(inside), Some(outside)) if inside != outside => {
            Err(ManifestError::MediaTypeMismatch { inside: inside.to_string(), outside: outside.to_string() })
        }
        (Some(media_type), _) => Ok(media_type.clone()),
        (None, Some(media_type)) if media_type.is_manifest() => Ok(media_type.clone()),
        (None, Some(other)) => Err(ManifestError::UnsupportedMediaType { media_type: other.to_string() }),
        (None, None) => {
            let text = if raw.manifests.is_some() { MediaType::OCI_INDEX } else { MediaType::OCI_MANIFEST };
            text.parse().map_err(|_| ManifestError::UnsupportedMediaType { media_type: String::new() })
        }
    }
}

/// An image with a list of manifests, or an index with layers, could be read as either: refused, because two
/// readers of the same bytes must not see two different things (CVE-2021-41190).
fn shape_problem(kind: ManifestKind, raw: &Raw) -> Option<&'static str> {
    match kind {
        ManifestKind::Image if raw.manifests.is_some() => Some("an image has no manifests"),
        ManifestKind::Image if raw.config.is_none() => Some("config is missing"),
        ManifestKind::Image if raw.layers.is_none() => Some("layers is missing"),
        ManifestKind::Index if raw.manifests.is_none() => Some("manifests is missing"),
        ManifestKind::Index if raw.config.is_some() || raw.layers.is_some() => {
            Some("an index has neither config nor layers")
        }
        ManifestKind::Image | ManifestKind::Index => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn image(extra: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:{HEX}","size":0}},
            "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:{HEX}","size":0}}]{extra}}}"#
        )
    }

    #[test]
    fn an_image_points_to_config_and_layers() {
        let manifest = Manifest::parse(None, image("").as_bytes()).unwrap();
        assert_eq!(manifest.kind, ManifestKind::Image);
        assert_eq!(manifest.blobs().count(), 2);
        assert_eq!(manifest.children().count(), 0);
        assert_eq!(manifest.referrer_type().as_deref(), Some("application/vnd.oci.image.config.v1+json"));
    }

    #[test]
    fn a_content_type_that_disagrees_is_refused() {
        let text = image(&format!(r#","mediaType":"{}""#, MediaType::OCI_MANIFEST));
        let docker = MediaType::DOCKER_MANIFEST.parse().unwrap();
        let error = Manifest::parse(Some(&docker), text.as_bytes()).unwrap_err();
        assert!(matches!(error, ManifestError::MediaTypeMismatch { .. }));
    }

    #[test]
    fn content_that_reads_as_image_and_index_is_refused() {
        let error = Manifest::parse(None, image(r#","manifests":[]"#).as_bytes()).unwrap_err();
        assert!(matches!(error, ManifestError::Shape { .. }));
    }

    #[test]
    fn garbage_is_refused_with_the_place() {
        for text in ["", "{", "[]", "null", r#"{"schemaVersion":2}"#, r#"{"schemaVersion":"2"}"#] {
            assert!(Manifest::parse(None, text.as_bytes()).is_err(), "{text:?} was accepted");
        }
    }

    /// Other readers of the same bytes see no manifest in an array, or another one.
    #[test]
    fn an_array_of_values_is_neither_a_manifest_nor_a_descriptor() {
        let fields = format!(r#"["application/octet-stream", "sha256:{HEX}", 0]"#);
        for text in [
            format!(r#"[2, "{}", null, null, [], null, null, null]"#, MediaType::OCI_INDEX),
            format!(r#"{{"schemaVersion":2,"config":{fields},"layers":[]}}"#),
            format!(r#"{{"schemaVersion":2,"manifests":[{fields}]}}"#),
            format!(r#"{{"schemaVersion":2,"manifests":[],"subject":{fields}}}"#),
            image("").replace(r#""layers":["#, &format!(r#""layers":[{fields},"#)),
        ] {
            let Err(ManifestError::Malformed { reason }) = Manifest::parse(None, text.as_bytes()) else {
                panic!("{text} was accepted")
            };
            assert!(reason.contains("invalid type: sequence, expected an object"), "{reason}");
        }
    }

    #[test]
    fn a_foreign_layer_is_not_required() {
        let layer: Descriptor = serde_json::from_str(&format!(
            r#"{{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"sha256:{HEX}","size":1}}"#
        ))
        .unwrap();
        assert!(!layer.is_required());
    }
}
