//! What an upload's folder says of it.
//!
//! ```text
//! _uploads/<id>/
//! ├── startedat                               when it began; the last to go
//! ├── states/<length>-<attempt>-<n>[-sealed]  the upload after so many bytes; never written twice
//! ├── attempts/<attempt>                      somebody sends parts, or joins them
//! ├── copies/<name>                           somebody sends the parts of a copy
//! ├── purging/<name>                          nobody has used it for long, and somebody removes it
//! └── data/<attempt>                          the bytes, once the parts are joined
//! ```
//!
//! A state is one line of JSON, then the bytes that do not fill a part yet, then the SHA-256 of both, in hexadecimal.

use bytes::Bytes;
use object_store::PutPayload;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::storage::driver::{Error, PathComponent, Staging, StoragePath, object::fault::broken};

/// The bytes of a hexadecimal SHA-256.
const CHECKSUM_BYTES: usize = 64;

/// The form of a state.
const VERSION: u32 = 1;

/// An upload after so many bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct State {
    version: u32,
    /// Who sent the parts, in order.
    pub(super) attempts: Vec<String>,
    /// What was sent; absent while all bytes fit into one part.
    #[serde(default)]
    pub(super) parts: Option<Parts>,
    /// The state of the hash of the first bytes.
    #[serde(default)]
    pub(super) hash: Option<Hash>,
    /// How many bytes follow the parts.
    pub(super) tail: usize,
    /// Whether the parts are joined.
    pub(super) is_sealed: bool,
}

/// The parts of one chain: each follows the one before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Parts {
    /// The name in `data/` that they are sent to.
    pub(super) name: String,
    /// What the store calls their upload.
    pub(super) id: String,
    /// What the store calls each.
    pub(super) sent: Vec<String>,
    /// How many bytes they are.
    pub(super) bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hash {
    pub(super) offset: u64,
    /// Hexadecimal.
    pub(super) state: String,
}

impl State {
    /// An upload of which nothing has arrived.
    pub(super) fn nothing() -> Self {
        Self { version: VERSION, attempts: Vec::new(), parts: None, hash: None, tail: 0, is_sealed: false }
    }

    /// How many bytes were sent in parts.
    pub(super) fn sent_bytes(&self) -> u64 {
        self.parts.as_ref().map_or(0, |parts| parts.bytes)
    }

    /// How many parts were sent.
    pub(super) fn sent_parts(&self) -> usize {
        self.parts.as_ref().map_or(0, |parts| parts.sent.len())
    }

    /// The object of this state and the bytes that follow the parts.
    pub(super) fn encode(&self, tail: &[Bytes]) -> Result<PutPayload, serde_json::Error> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        let mut hasher = Sha256::new();
        hasher.update(&line);
        for chunk in tail {
            hasher.update(chunk);
        }
        let checksum = hex(&hasher.finalize());
        Ok([Bytes::from(line)].into_iter().chain(tail.iter().cloned()).chain([checksum.into()]).collect())
    }

    /// The state alone, from the beginning of its object; `None` where that does not have all of it.
    pub(super) fn from_beginning(object: &[u8]) -> Option<Self> {
        let line = object.split(|byte| *byte == b'\n').next().filter(|line| line.len() < object.len())?;
        serde_json::from_slice(line).ok().filter(|state: &Self| state.version == VERSION)
    }

    /// The state, and the bytes that follow the parts.
    pub(super) fn decode(path: &StoragePath, object: &Bytes) -> Result<(Self, Bytes), Error> {
        let damaged = || broken("read", path, "it is no state of an upload");
        let content = object.len().checked_sub(CHECKSUM_BYTES).ok_or_else(damaged)?;
        let (content, checksum) = (object.slice(..content), object.slice(content..));
        if hex(&Sha256::digest(&content)).as_bytes() != checksum {
            return Err(damaged());
        }
        let line = content.iter().position(|byte| *byte == b'\n').ok_or_else(damaged)?;
        let state: Self = serde_json::from_slice(&content.slice(..line)).map_err(|_| damaged())?;
        let tail = content.slice(line + 1..);
        if state.version != VERSION || tail.len() != state.tail {
            return Err(damaged());
        }
        Ok((state, tail))
    }
}

/// Where the parts of somebody's upload are, so that they can be dropped.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Marker {
    pub(super) path: String,
    pub(super) id: String,
}

/// The name of a state's object.
///
/// Its order is that of preference: what is sealed, then what is longest, then what was written last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StateName {
    pub(super) is_sealed: bool,
    pub(super) length: u64,
    pub(super) attempt: String,
    pub(super) number: u32,
}

impl StateName {
    pub(super) fn text(&self) -> String {
        let Self { length, attempt, number, .. } = self;
        let sealed = if self.is_sealed { "-sealed" } else { "" };
        format!("states/{length:020}-{attempt}-{number:06}{sealed}")
    }

    fn parse(text: &str) -> Option<Self> {
        let name = text.strip_prefix("states/")?;
        let (name, is_sealed) = name.strip_suffix("-sealed").map_or((name, false), |name| (name, true));
        let mut parts = name.split('-');
        let (length, attempt, number) = (parts.next()?.parse().ok()?, parts.next()?.to_owned(), parts.next()?);
        Some(Self { is_sealed, length, attempt, number: number.parse().ok()? })
    }
}

/// The folder of the marks of those that remove an upload.
pub(super) const PURGING: &str = "purging/";

/// What lies in an upload's folder.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// All objects, below the folder.
    pub(super) names: Vec<String>,
}

impl Folder {
    /// Whether the upload is there, and nobody is removing it.
    pub(super) fn is_alive(&self, at: &Staging) -> bool {
        let has_begun = self.names.iter().any(|name| is_beginning(at, name));
        has_begun && !self.names.iter().any(|name| name.starts_with(PURGING))
    }

    /// All objects, in the order in which they may go: to the end something says that the upload is not alive.
    pub(super) fn in_order_of_removal(&self, at: &Staging) -> [Vec<&str>; 3] {
        let mut order: [Vec<&str>; 3] = Default::default();
        let [content, began, marks] = &mut order;
        for name in &self.names {
            let kind = match name.as_str() {
                name if is_beginning(at, name) => &mut *began,
                name if name.starts_with(PURGING) => &mut *marks,
                _ => &mut *content,
            };
            kind.push(name.as_str());
        }
        order
    }

    /// Where the upload is best continued.
    pub(super) fn best_state(&self) -> Option<StateName> {
        self.names.iter().filter_map(|name| StateName::parse(name)).max()
    }

    /// Whether anybody has joined its parts.
    pub(super) fn is_sealed(&self) -> bool {
        self.best_state().is_some_and(|state| state.is_sealed)
    }

    /// Whether somebody sent parts whom `state` does not name.
    pub(super) fn has_others(&self, state: &State) -> bool {
        let mut attempts = self.names.iter().filter_map(|name| name.strip_prefix("attempts/"));
        attempts.any(|attempt| !state.attempts.iter().any(|own| own == attempt))
    }

    /// The objects that say where parts are.
    pub(super) fn markers(&self) -> impl Iterator<Item = &str> {
        let is_marker = |name: &&str| name.starts_with("attempts/") || name.starts_with("copies/");
        self.names.iter().map(String::as_str).filter(is_marker)
    }
}

/// Whether an object says when the upload began.
fn is_beginning(at: &Staging, name: &str) -> bool {
    at.started_at.file_name() == Some(name)
}

/// The path of something in an upload's folder.
pub(super) fn in_folder(at: &Staging, name: &str) -> Result<StoragePath, Error> {
    name.split('/').try_fold(at.folder.clone(), |folder, part| {
        let part: PathComponent = part.parse().map_err(|_| broken("name", &folder, "it is no name"))?;
        Ok(folder.child(&part))
    })
}

/// A name that nobody else has.
pub(super) fn new_name() -> String {
    format!("{:032x}", rand::random::<u128>())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn unhex(text: &str) -> Option<Bytes> {
    let digits = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(digits).collect::<Option<Vec<u8>>>().map(Bytes::from)
}

/// An object of a state that is taken is written again as it was; so is the beginning of one, which has no checksum, and
/// the names of states.
#[cfg(any(test, fuzzing))]
pub(in crate::storage) fn fuzz(bytes: &[u8]) {
    if let Some(state) = State::from_beginning(bytes) {
        assert!(state.encode(&[]).is_ok());
    }
    let path = StoragePath::root();
    if let Ok((state, tail)) = State::decode(&path, &Bytes::copy_from_slice(bytes)) {
        let object: Option<Vec<u8>> =
            state.encode(std::slice::from_ref(&tail)).ok().map(|object| object.iter().flatten().copied().collect());
        let again = object.and_then(|object| State::decode(&path, &object.into()).ok());
        assert_eq!(again, Some((state, tail)));
    }
    if let Some(name) = std::str::from_utf8(bytes).ok().and_then(StateName::parse) {
        assert_eq!(StateName::parse(&name.text()), Some(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(is_sealed: bool, length: u64, number: u32) -> StateName {
        StateName { is_sealed, length, attempt: "a".into(), number }
    }

    #[test]
    fn the_best_state_is_sealed_or_the_longest_or_the_last() {
        let mut names = Folder::default();
        assert_eq!(names.best_state(), None);
        for better in [name(false, 0, 1), name(false, 9, 1), name(false, 10, 1), name(false, 10, 2), name(true, 5, 3)] {
            names.names.insert(0, better.text());
            assert_eq!(names.best_state(), Some(better));
        }
    }

    #[test]
    fn a_state_is_read_back_and_a_damaged_one_refused() {
        let path = "a/b".parse().unwrap();
        let mut state = State::nothing();
        state.parts = Some(Parts { name: "n".into(), id: "i".into(), sent: vec!["p\"1\"".into()], bytes: 8 });
        state.hash = Some(Hash { offset: 3, state: hex(b"\x00\xffx") });
        state.tail = 4;
        let object: Bytes = state.encode(&[Bytes::from("t\na"), Bytes::from("l")]).unwrap().into();
        assert_eq!(State::decode(&path, &object).unwrap(), (state, Bytes::from("t\nal")));
        for at in 0..object.len() {
            let mut damaged = object.to_vec();
            damaged[at] ^= 1;
            assert!(State::decode(&path, &damaged.into()).is_err(), "byte {at}");
            assert!(State::decode(&path, &object.slice(..at)).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn hexadecimal_is_read_back() {
        assert_eq!(unhex(&hex(&[0, 1, 0xfe])), Some(Bytes::from_static(&[0, 1, 0xfe])));
        assert_eq!(unhex("0"), None);
        assert_eq!(unhex("zz"), None);
    }
}
