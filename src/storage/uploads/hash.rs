//! The hash of an upload's bytes so far.
//!
//! Distribution keeps it in the upload's folder, in the form of Go's `crypto/sha256`; so does Lagan, and each can
//! continue the other's uploads:
//!
//! ```text
//! "sha\x03" · 8 words of state, big-endian · the unfinished block, filled with zeros to 64 bytes · length, 8 bytes
//! ```

use bytes::Bytes;
use sha2::{
    Digest as _, Sha256, Sha512,
    digest::common::hazmat::{SerializableState as _, SerializedState},
};
use tokio::task::JoinError;

use crate::oci::{Algorithm, Digest};

use crate::storage::entropy::on_a_thread;

const GO_MAGIC: &[u8; 4] = b"sha\x03";
const GO_LEN: usize = 4 + 32 + BLOCK_BYTES + 8;
const STATE_BYTES: usize = 32;
const BLOCK_BYTES: usize = 64;

/// How much is hashed where it was received or read; more would keep other requests of the thread waiting.
pub(in crate::storage) const HASH_IN_PLACE: usize = 64 << 10;

/// A hash of the first bytes of an upload.
#[derive(Clone)]
pub struct UploadHash {
    hasher: Hasher,
    length: u64,
}

#[derive(Clone)]
enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl std::fmt::Debug for UploadHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UploadHash").field("length", &self.length).finish_non_exhaustive()
    }
}

impl UploadHash {
    /// The hash of nothing.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        let hasher = match algorithm {
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(Sha512::new()),
        };
        Self { hasher, length: 0 }
    }

    /// This one after what follows; what takes a while is hashed on a thread that may take its time.
    ///
    /// # Errors
    /// Where that thread was cut off.
    pub(in crate::storage) async fn updated(mut self, chunk: Bytes) -> Result<Self, JoinError> {
        let is_small = chunk.len() <= HASH_IN_PLACE;
        let update = move || {
            self.update(&chunk);
            self
        };
        if is_small { Ok(update()) } else { on_a_thread(update).await }
    }

    /// What it is a hash with.
    pub(in crate::storage) fn algorithm(&self) -> Algorithm {
        match self.hasher {
            Hasher::Sha256(_) => Algorithm::Sha256,
            Hasher::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// How many bytes it is the hash of.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Goes on with what follows.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.hasher {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
        self.length += bytes.len() as u64;
    }

    /// The digest of all that came; `None` cannot be, as a hash has its algorithm's length.
    #[must_use]
    pub fn finish(self) -> Option<Digest> {
        match self.hasher {
            Hasher::Sha256(hasher) => Digest::from_raw(Algorithm::Sha256, &hasher.finalize()),
            Hasher::Sha512(hasher) => Digest::from_raw(Algorithm::Sha512, &hasher.finalize()),
        }
    }

    /// The state to continue from, in Go's form; only SHA-256 has one here, because uploads are hashed with that until
    /// the commit asks for something else.
    pub(in crate::storage) fn to_state(&self) -> Option<Vec<u8>> {
        let Hasher::Sha256(hasher) = &self.hasher else { return None };
        let own = hasher.serialize();
        let (words, rest) = own.split_at_checked(STATE_BYTES)?;
        // The number of blocks, which Go derives from the length; the position in the block; the block.
        let block = rest.get(8 + 1..)?;
        let mut state = GO_MAGIC.to_vec();
        state.extend(words.chunks(4).flat_map(|word| word.iter().rev()));
        state.extend(block);
        state.resize(GO_LEN - 8, 0);
        state.extend(self.length.to_be_bytes());
        Some(state)
    }

    /// Continues from a state; `None` where it is none, or not one after `length` bytes.
    pub(in crate::storage) fn from_state(state: &[u8], length: u64) -> Option<Self> {
        let rest = state.strip_prefix(GO_MAGIC).filter(|_| state.len() == GO_LEN)?;
        let (words, rest) = rest.split_at_checked(STATE_BYTES)?;
        let (block, told) = rest.split_at_checked(BLOCK_BYTES)?;
        let told = u64::from_be_bytes(told.try_into().ok()?);
        let position = u8::try_from(told % BLOCK_BYTES as u64).ok()?;
        let filled = block.get(..usize::from(position))?;
        let mut own = SerializedState::<Sha256>::default();
        let bytes = words.chunks(4).flat_map(|word| word.iter().rev()).copied();
        let blocks = (told / BLOCK_BYTES as u64).to_le_bytes();
        let bytes = bytes.chain(blocks).chain([position]).chain(filled.iter().copied());
        own.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        let hasher = Sha256::deserialize(&own).ok()?;
        (told == length).then_some(Self { hasher: Hasher::Sha256(hasher), length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(bytes: &[u8]) -> UploadHash {
        let mut hash = UploadHash::new(Algorithm::Sha256);
        hash.update(bytes);
        hash
    }

    #[test]
    fn a_hash_continues_from_its_state_at_any_length() {
        let bytes: Vec<u8> = (0..400_u32).map(|n| n.to_le_bytes()[0]).collect();
        for cut in 0..200 {
            let (before, after) = bytes.split_at(cut);
            let state = hash_of(before).to_state().unwrap();
            let mut hash = UploadHash::from_state(&state, cut as u64).unwrap();
            hash.update(after);
            assert_eq!(hash.length(), bytes.len() as u64);
            assert_eq!(hash.finish(), Some(Digest::of(Algorithm::Sha256, &bytes)));
        }
    }

    /// What `crypto/sha256` of Go writes after "hello": its initial words, the block, the length.
    #[test]
    fn the_state_is_the_one_that_go_writes() {
        let words: [u32; 8] =
            [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
        let mut expected = b"sha\x03".to_vec();
        expected.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        expected.extend(b"hello");
        expected.extend([0; 59]);
        expected.extend(5_u64.to_be_bytes());
        assert_eq!(hash_of(b"hello").to_state(), Some(expected));
    }

    #[test]
    fn what_is_no_state_is_refused() {
        let state = hash_of(b"hello").to_state().unwrap();
        assert!(UploadHash::from_state(&state, 6).is_none(), "of another length");
        assert!(UploadHash::from_state(&state[1..], 5).is_none());
        assert!(UploadHash::from_state(&vec![0; state.len()], 0).is_none());
        assert!(UploadHash::from_state(&[], 0).is_none());
    }
}
