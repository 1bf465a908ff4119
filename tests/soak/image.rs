//! What clients push: small, and made again from its name.

use rand::{Rng as _, RngCore as _, SeedableRng as _, rngs::StdRng};

use crate::digest::sha256;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// How many layers all clients of a site share: most of the time some of them are garbage that somebody needs again.
const SHARED: u64 = 40;

/// A blob that is larger than what a bucket takes in one request, so that it is staged.
const LARGE: usize = 9 << 20;

/// Bytes that follow from a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blob {
    seed: u64,
    length: usize,
}

impl Blob {
    /// One that all clients know.
    fn shared(seed: u64, number: u64) -> Self {
        Self { seed: seed ^ (number << 40), length: 200 + usize::try_from(number).unwrap() * 100 }
    }

    pub(crate) fn own(rng: &mut StdRng) -> Self {
        let length = match rng.random_range(0..400) {
            0 => LARGE,
            1..20 => rng.random_range(30_000..300_000),
            _ => rng.random_range(1..4_000),
        };
        Self { seed: rng.random(), length }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.length];
        StdRng::seed_from_u64(self.seed).fill_bytes(&mut bytes);
        bytes
    }
}

/// A manifest with its configuration and its layers.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) digest: String,
    pub(crate) manifest: String,
    /// With their digests.
    pub(crate) blobs: Vec<(String, Blob)>,
}

impl Image {
    /// A new one, of one to four blobs; half of the layers are shared with everybody.
    pub(crate) fn new(seed: u64, rng: &mut StdRng) -> Self {
        let mut blobs = vec![Blob { seed: rng.random(), length: rng.random_range(50..200) }];
        for _ in 0..rng.random_range(0..=3) {
            let is_shared = rng.random_bool(0.5);
            let blob = if is_shared { Blob::shared(seed, rng.random_range(0..SHARED)) } else { Blob::own(rng) };
            if !blobs.contains(&blob) {
                blobs.push(blob);
            }
        }
        let blobs: Vec<(String, Blob)> = blobs.into_iter().map(|blob| (sha256(&blob.bytes()), blob)).collect();
        let descriptor = |kind: &str, (digest, blob): &(String, Blob)| {
            format!(r#"{{"mediaType":"application/vnd.oci.image.{kind}","digest":"{digest}","size":{}}}"#, blob.length)
        };
        let layers: Vec<String> = blobs.iter().skip(1).map(|blob| descriptor("layer.v1.tar", blob)).collect();
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{},"layers":[{}]}}"#,
            descriptor("config.v1+json", &blobs[0]),
            layers.join(",")
        );
        Self { digest: sha256(manifest.as_bytes()), manifest, blobs }
    }
}
