//! What is pushed: few things, so that everybody is in everybody's way.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::oci::{Algorithm, Digest, Manifest, MediaType, RepositoryName, Tag};

pub(super) const REPOSITORIES: [&str; 2] = ["app", "team/lib"];
pub(super) const TAGS: [&str; 3] = ["v1", "v2", "latest"];

const IMAGES: usize = 5;
/// How many layers the images share.
const LAYERS: usize = 4;

/// A manifest with what it needs.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) name: String,
    pub(super) digest: Digest,
    pub(super) bytes: Bytes,
    /// Config and layers.
    pub(super) blobs: Vec<Bytes>,
    /// The manifests that it lists, by their place.
    pub(super) children: Vec<usize>,
    /// What it refers to.
    pub(super) subject: Option<Digest>,
}

impl Item {
    pub(super) fn manifest(&self) -> Manifest {
        Manifest::parse(None, &self.bytes).unwrap()
    }
}

/// Everything that there is to push.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) items: Vec<Item>,
    /// By the digest of each manifest, all that must exist for it, itself included.
    closures: BTreeMap<Digest, BTreeSet<Digest>>,
}

impl Content {
    /// Images, two indexes of them, and a referrer of an image and of an index.
    pub(super) fn new() -> Self {
        let mut content = Self { items: Vec::new(), closures: BTreeMap::new() };
        for number in 0..IMAGES {
            let layers = [number % LAYERS, (number + 1) % LAYERS].map(|layer| Bytes::from(format!("layer {layer}")));
            content.add_image(&format!("image-{number}"), &layers, None);
        }
        content.add_index("index-0", &[0, 1]);
        content.add_index("index-1", &[1, 2]);
        for (name, subject) in [("signature-0", 0), ("signature-1", IMAGES)] {
            content.add_image(name, &[], Some(subject));
        }
        content
    }

    fn add_image(&mut self, name: &str, layers: &[Bytes], subject: Option<usize>) {
        let config = Bytes::from(format!("config of {name}"));
        let listed: Vec<String> =
            layers.iter().map(|layer| descriptor("application/vnd.oci.image.layer.v1.tar", layer)).collect();
        let about = subject.map(|subject| &self.items[subject]);
        let named = about.map(|about| format!(r#","subject":{}"#, descriptor(MediaType::OCI_MANIFEST, &about.bytes)));
        let bytes = Bytes::from(format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{}]{}}}"#,
            MediaType::OCI_MANIFEST,
            descriptor("application/vnd.oci.image.config.v1+json", &config),
            listed.join(","),
            named.unwrap_or_default()
        ));
        let subject = about.map(|about| about.digest.clone());
        let blobs = std::iter::once(config).chain(layers.iter().cloned()).collect();
        self.add(Item { name: name.into(), digest: sha256(&bytes), bytes, blobs, children: Vec::new(), subject });
    }

    fn add_index(&mut self, name: &str, children: &[usize]) {
        let listed: Vec<String> =
            children.iter().map(|child| descriptor(MediaType::OCI_MANIFEST, &self.items[*child].bytes)).collect();
        let bytes = Bytes::from(format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}}"#,
            MediaType::OCI_INDEX,
            listed.join(",")
        ));
        let (blobs, children) = (Vec::new(), children.to_vec());
        self.add(Item { name: name.into(), digest: sha256(&bytes), bytes, blobs, children, subject: None });
    }

    fn add(&mut self, item: Item) {
        let below = item.children.iter().map(|child| &self.closures[&self.items[*child].digest]);
        let mut closure: BTreeSet<Digest> = below.flatten().cloned().collect();
        closure.extend(item.blobs.iter().map(sha256_of));
        closure.insert(item.digest.clone());
        self.closures.insert(item.digest.clone(), closure);
        self.items.push(item);
    }

    /// All that must exist for a manifest to be pulled.
    pub(super) fn closure(&self, digest: &Digest) -> Option<&BTreeSet<Digest>> {
        self.closures.get(digest)
    }

    pub(super) fn item(&self, digest: &Digest) -> Option<&Item> {
        self.items.iter().find(|item| item.digest == *digest)
    }

    /// The manifests that list one.
    pub(super) fn parents(&self, digest: &Digest) -> Vec<&Item> {
        let lists = |item: &&Item| item.children.iter().any(|child| self.items[*child].digest == *digest);
        self.items.iter().filter(lists).collect()
    }
}

fn descriptor(media_type: &str, bytes: &Bytes) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#, sha256(bytes), bytes.len())
}

pub(super) fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

fn sha256_of(bytes: &Bytes) -> Digest {
    sha256(bytes)
}

pub(super) fn repository(name: &str) -> RepositoryName {
    name.parse().unwrap()
}

pub(super) fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}
