//! The parsers of this layer, as `fuzz/` calls them: whatever the bytes, no panic, and what was accepted is what it says.

use std::fmt::Debug;

use serde::{Serialize, de::DeserializeOwned};

use crate::oci::{Descriptor, Digest};

use super::{
    Adoption, PushId, ReplicaCall, Tombstone, TombstoneId, UploadId,
    blobs::link::target_in,
    driver::{StoragePath, object},
    guard::pending::Pending,
    manifests::facts::RevisionFact,
    records::record,
    replicas::Intent,
    uploads::hash::UploadHash,
};

/// A target: its name, and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Each target by its name.
pub const TARGETS: &[Target] = &[
    ("record", record_of_facts),
    ("records", records),
    ("upload_state", object::fuzz_upload_state),
    ("replica_call", replica_call),
    ("hash_state", hash_state),
    ("link", link),
    ("redis_entry", redis_entry),
    ("ids", ids),
    ("storage_path", storage_path),
];

fn record_of_facts(bytes: &[u8]) {
    if let Ok(fact) = record::decode::<RevisionFact>(bytes) {
        assert_is_kept(&fact);
    }
}

/// What a record holds, without its checksum, which no random change would get past. The first byte says of which kind.
fn records(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind {
        b't' => same::<Tombstone>(bytes),
        b'p' => same::<Pending>(bytes),
        b'i' => same::<Intent>(bytes),
        b'a' => same::<Adoption>(bytes),
        _ => same::<Vec<Digest>>(bytes),
    }
}

fn same<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(bytes) {
        assert_is_kept(&value);
    }
}

/// What was accepted says the same when it is written again.
fn assert_is_kept<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let again = record::encode(value).ok().and_then(|bytes| record::decode::<T>(&bytes).ok());
    assert_eq!(again.as_ref(), Some(value));
}

fn replica_call(bytes: &[u8]) {
    let Ok(call) = serde_json::from_slice::<ReplicaCall>(bytes) else { return };
    let again = serde_json::to_vec(&call).ok().and_then(|json| serde_json::from_slice::<ReplicaCall>(&json).ok());
    assert_eq!(again, Some(call));
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
