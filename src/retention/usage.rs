//! What the cluster uses of a repository.

use std::collections::HashMap;

use crate::oci::{Digest, Tag};

/// What is in use, each with the use in words.
///
/// A digest protects every manifest that has it as its own, its config's or a child's digest, and every index that
/// reaches such a manifest. A tag protects itself and what it points to. What is protected protects its children,
/// its referrers, and the tags that point to any of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tags in use.
    pub tags: HashMap<Tag, String>,
    /// Digests in use, of manifests or configs.
    pub digests: HashMap<Digest, String>,
}

impl Usage {
    /// Nothing is in use.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Whether nothing is in use.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.digests.is_empty()
    }
}
