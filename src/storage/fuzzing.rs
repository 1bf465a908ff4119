//! The parsers of this layer, as `fuzz/` calls them: whatever the bytes, no panic, and what was accepted is what it says.

use crate::oci::Descriptor;

use super::{
    PushId, TombstoneId, UploadId, driver::StoragePath, facts::RevisionFact, link::target_in, record,
    upload_hash::UploadHash,
};

/// A target: its name, and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Each target by its name.
pub const TARGETS: &[Target] = &[
    ("record", record_of_facts),
    ("hash_state", hash_state),
    ("link", link),
    ("redis_entry", redis_entry),
    ("ids", ids),
    ("storage_path", storage_path),
];

/// A record that is accepted says the same when it is written again.
fn record_of_facts(bytes: &[u8]) {
    let Ok(fact) = record::decode::<RevisionFact>(bytes) else { return };
    let again = record::encode(&fact).ok().and_then(|bytes| record::decode::<RevisionFact>(&bytes).ok());
    assert_eq!(again, Some(fact));
}

/// A state that is accepted counts as many bytes as it says, and goes on from there. The first eight bytes are the
/// length that the state's file is named for.
fn hash_state(bytes: &[u8]) {
    let Some((length, state)) = bytes.split_first_chunk::<8>() else { return };
    let length = u64::from_be_bytes(*length);
    let Some(mut hash) = UploadHash::from_state(state, length) else { return };
    assert_eq!(hash.length(), length);
    if length < u64::MAX / 16 {
        hash.update(b"more");
        assert!(hash.finish().is_some());
    }
}

fn link(bytes: &[u8]) {
    let Some(digest) = target_in(bytes) else { return };
    assert_eq!(target_in(digest.to_string().as_bytes()), Some(digest));
}

fn redis_entry(bytes: &[u8]) {
    let Ok(descriptor) = serde_json::from_slice::<Descriptor>(bytes) else { return };
    let again = serde_json::to_vec(&descriptor).ok().and_then(|json| serde_json::from_slice::<Descriptor>(&json).ok());
    assert_eq!(again, Some(descriptor));
}

fn ids(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(id) = text.parse::<UploadId>() {
        assert_eq!(id.as_str(), text);
    }
    if let Ok(id) = text.parse::<TombstoneId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    if let Ok(id) = text.parse::<PushId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}

fn storage_path(bytes: &[u8]) {
    let Some(path) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<StoragePath>().ok()) else { return };
    let leaves = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains('\0');
    assert!(path == StoragePath::root() || !path.as_str().split('/').any(leaves), "{path}");
}
