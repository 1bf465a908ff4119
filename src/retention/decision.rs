//! What is to be done with one tag or manifest.

use crate::oci::{Digest, Reference, RepositoryName, Tag};

use super::Reason;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// It goes to the trash.
    Delete,
    /// It stays.
    Keep,
}

/// What is to be done with one tag, or with one manifest that no tag points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The tag or manifest.
    pub reference: Reference,
    /// What to do.
    pub action: Action,
    /// The rule that decided; `None` where none did. Of another policy, it is `namespace/name/rule`.
    pub rule: Option<String>,
    /// Why.
    pub reason: Reason,
}

impl Decision {
    /// How people write what this is about: `repository:tag` or `repository@digest`.
    #[must_use]
    pub fn name_in(&self, repository: &RepositoryName) -> String {
        self.reference.name_in(repository)
    }
}

/// One tombstone to be: a tag alone, or a manifest with all the tags that point to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// A tag: only the tag goes, and what it points to stays. A digest: the manifest goes, with `tags`.
    pub reference: Reference,
    /// What the tag points to, or the manifest. If the tag points elsewhere by then, the plan is out of date.
    pub digest: Digest,
    /// The tags that go: the one of `reference`, or all that point to the manifest; sorted.
    pub tags: Vec<Tag>,
    /// One decision for each tag; for a manifest without tags, the one about itself. Never empty.
    pub decisions: Vec<Decision>,
    /// What goes together has the same: the digest of the subject that the referrers go with, or its own.
    pub group: Digest,
    /// The manifest's digest, the digests of everything that it lists, and the configs' digests of all of them: what
    /// a container runtime may call the image that it runs. No layers. Sorted, each once.
    pub closure: Vec<Digest>,
    /// Bytes of blobs and manifests that nothing else in the repository refers to once this is gone. What several
    /// deletions share is counted with the first of them.
    pub unshared_bytes: u64,
}

impl Deletion {
    /// How many references stop answering: the tags, or the manifest if it had none.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.decisions.len() as u64
    }

    /// Whether the manifest goes too.
    #[must_use]
    pub fn takes_manifest(&self) -> bool {
        matches!(self.reference, Reference::Digest(_))
    }
}
