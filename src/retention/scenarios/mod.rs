//! What the engine decides, case by case.

mod criteria;
mod images;
mod manifests;
mod plans;
mod tags;

use super::fixtures::{DAY, digest, repository};
use super::{RepositorySnapshot, Usage};

const NONE: &[&str] = &[];

/// Five tags, v1 the newest: v1 is one day old, v5 five.
fn five() -> RepositorySnapshot {
    (1..=5).fold(repository(), |repository, n| repository.tagged(&format!("v{n}"), DAY * n))
}

fn used(tags: &[&str], digests: &[&str]) -> Usage {
    Usage {
        tags: tags.iter().map(|tag| (tag.parse().unwrap(), "Deployment shop".to_owned())).collect(),
        digests: digests.iter().map(|name| (digest(name), "Pod shop-0".to_owned())).collect(),
    }
}
