//! The parsers of this layer, as `fuzz/` calls them: whatever the bytes, no panic, and what was accepted is what it says.

use std::{fmt::Display, str::FromStr};

use super::{Descriptor, Digest, Manifest, MediaType, Reference, RepositoryName, Tag};

/// A target: its name, and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Each target by its name.
pub const TARGETS: &[Target] = &[
    ("name", name),
    ("tag", tag),
    ("digest", text::<Digest>),
    ("reference", text::<Reference>),
    ("media_type", text::<MediaType>),
    ("manifest", manifest),
];

/// What is accepted is written as it was read, and read again as the same.
fn text<T: FromStr + Display + PartialEq>(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(value) = text.parse::<T>() else { return };
    let written = value.to_string();
    assert!(text.contains(&written), "{written:?} was not in {text:?}");
    assert!(written.parse::<T>().is_ok_and(|again| again == value), "{written:?} is not read again");
}

fn name(bytes: &[u8]) {
    text::<RepositoryName>(bytes);
    let Some(name) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<RepositoryName>().ok()) else {
        return;
    };
    assert!(name.as_str().len() <= RepositoryName::MAX_LEN);
    assert!(name.as_str().split('/').all(|part| !part.is_empty() && !part.starts_with(['.', '_', '-'])));
}

fn tag(bytes: &[u8]) {
    text::<Tag>(bytes);
    let Some(tag) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<Tag>().ok()) else { return };
    assert!(!tag.as_str().contains(['/', ':', '\0']) && !tag.as_str().starts_with('.'));
}

fn manifest(bytes: &[u8]) {
    let content_type = MediaType::OCI_MANIFEST.parse().ok();
    for media_type in [None, content_type.as_ref()] {
        let Ok(manifest) = Manifest::parse(media_type, bytes) else { continue };
        assert!(media_type.is_none_or(|media_type| *media_type == manifest.media_type));
        for descriptor in manifest.blobs().chain(manifest.children()).chain(&manifest.subject) {
            let json = serde_json::to_vec(descriptor).unwrap_or_default();
            assert!(serde_json::from_slice::<Descriptor>(&json).is_ok_and(|again| again == *descriptor));
        }
    }
}
