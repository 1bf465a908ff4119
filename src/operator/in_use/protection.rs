//! Which of a plan's candidates the cluster uses.

use std::collections::{BTreeMap, HashMap};

use crate::api::wire::{Candidate, InUse};
use crate::oci::Digest;

use super::image_reference::ImageReference;

/// What a plan would delete, to be found by what may name it.
#[derive(Debug, Clone, Default)]
pub struct CandidateIndex {
    by_digest: HashMap<Digest, Vec<u32>>,
    by_name: HashMap<String, Vec<u32>>,
}

impl CandidateIndex {
    /// Adds a candidate.
    pub fn add(&mut self, candidate: Candidate) {
        let index = candidate.index;
        if let Some(tag) = &candidate.tag {
            self.by_name.entry(format!("{}:{tag}", candidate.repository)).or_default().push(index);
        }
        // The closure has the candidate's own digest too; it is not relied on, for this is what keeps images.
        for digest in candidate.closure.into_iter().chain([candidate.digest]) {
            self.by_digest.entry(digest).or_default().push(index);
        }
    }

    fn meant_by(&self, image: &ImageReference) -> impl Iterator<Item = u32> {
        let by_digest = image.digest().and_then(|digest| self.by_digest.get(digest)).into_iter().flatten();
        let by_name = image.names().filter_map(|name| self.by_name.get(&name)).flatten();
        by_digest.chain(by_name).copied()
    }
}

/// An object that names images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User<'a> {
    /// Its kind.
    pub kind: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// Who uses a candidate, as far as the reader of a policy may know.
#[derive(Debug, Clone, PartialEq, Eq)]
enum UsedBy {
    Elsewhere,
    Here(String),
}

/// The candidates that are in use, as they are found.
///
/// # Guarantees
/// Of the cluster's objects it holds the texts of the images, each once, and the names of some in the policy's
/// namespace. What a text means is looked up once, or twice where both namespaces have it, so that a thousand pods
/// of one image cost as much as one.
#[derive(Debug)]
pub struct Protection<'a> {
    candidates: &'a CandidateIndex,
    namespace: &'a str,
    /// Texts that were looked up; true: for an object of the policy's namespace.
    seen: HashMap<String, bool>,
    found: BTreeMap<u32, UsedBy>,
}

impl<'a> Protection<'a> {
    /// Nothing is in use yet. `namespace` is the policy's: only there a reason names who uses something.
    #[must_use]
    pub fn new(candidates: &'a CandidateIndex, namespace: &'a str) -> Self {
        Self { candidates, namespace, seen: HashMap::new(), found: BTreeMap::new() }
    }

    /// Protects what `image` means, whichever part of it.
    pub fn add(&mut self, user: User<'_>, image: &str) {
        let here = user.namespace == self.namespace;
        match self.seen.get_mut(image) {
            Some(seen_here) if *seen_here || !here => return,
            Some(seen_here) => *seen_here = true,
            None => {
                self.seen.insert(image.to_owned(), here);
            }
        }
        for candidate in self.candidates.meant_by(&ImageReference::parse(image)) {
            let used_by = self.found.entry(candidate).or_insert(UsedBy::Elsewhere);
            if here && *used_by == UsedBy::Elsewhere {
                *used_by = UsedBy::Here(format!("{} {}", user.kind, user.name));
            }
        }
    }

    /// The candidates that are in use, by their numbers.
    #[must_use]
    pub fn in_use(self) -> Vec<InUse> {
        let reason = |used_by| match used_by {
            UsedBy::Elsewhere => "in use elsewhere".to_owned(),
            UsedBy::Here(user) => format!("in use by {user}"),
        };
        self.found.into_iter().map(|(candidate, used_by)| InUse { candidate, reason: reason(used_by) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::oci::Algorithm;

    use super::*;

    fn digest(text: &str) -> Digest {
        Digest::of(Algorithm::Sha256, text.as_bytes())
    }

    /// Candidate `index`, whose closure is `closure`, the first its own digest.
    fn candidate(index: u32, repository: &str, tag: Option<&str>, closure: &[&str]) -> Candidate {
        let closure: Vec<Digest> = closure.iter().map(|text| digest(text)).collect();
        Candidate {
            index,
            repository: repository.parse().unwrap(),
            tag: tag.map(|tag| tag.parse().unwrap()),
            digest: closure[0].clone(),
            closure,
        }
    }

    fn index() -> CandidateIndex {
        let mut index = CandidateIndex::default();
        for candidate in [
            candidate(0, "team/app", Some("v1"), &["app1", "config1"]),
            candidate(1, "team/app", Some("v2"), &["app2", "amd64", "config-amd64", "arm64", "config-arm64"]),
            candidate(2, "team/app", Some("stable"), &["app1", "config1"]),
            candidate(3, "team/app", None, &["untagged", "config-untagged"]),
            candidate(4, "app", Some("v1"), &["other", "config-other"]),
            candidate(5, "library/tool", Some("latest"), &["tool", "config-tool"]),
            candidate(6, "mirror/team/app", Some("v1"), &["mirrored", "config-mirrored"]),
        ] {
            index.add(candidate);
        }
        index
    }

    fn protected(images: &[&str]) -> Vec<u32> {
        let index = index();
        let mut protection = Protection::new(&index, "shop");
        for image in images {
            protection.add(User { kind: "Pod", namespace: "shop", name: "web" }, image);
        }
        protection.in_use().into_iter().map(|in_use| in_use.candidate).collect()
    }

    #[test]
    fn digest_protects_whatever_holds_it() {
        for (content, expected) in [
            ("app1", &[0, 2][..]),
            ("config1", &[0, 2]),
            ("app2", &[1]),
            ("amd64", &[1]),
            ("config-arm64", &[1]),
            ("config-untagged", &[3]),
            ("unheard of", &[]),
        ] {
            let digest = digest(content);
            assert_eq!(protected(&[&digest.to_string()]), expected, "{content}");
            assert_eq!(protected(&[digest.hex()]), expected, "{content} as an image id");
            assert_eq!(protected(&[&format!("some.where/else@{digest}")]), expected, "{content} of another repository");
        }
    }

    #[test]
    fn name_protects_whatever_its_host_and_leading_components() {
        for (image, expected) in [
            ("team/app:v1", &[0, 4][..]),
            ("10.0.0.1:30500/team/app:v1", &[0, 4]),
            ("registry.example.com/registry/team/app:v2", &[1]),
            ("host/mirror/team/app:v1", &[0, 4, 6]),
            ("app:v1", &[4]),
            ("tool", &[5]),
            ("docker.io/library/tool", &[5]),
            ("team/app", &[]),
            ("team/app:v3", &[]),
            ("team/application:v1", &[]),
            ("steam/app:v2", &[]),
        ] {
            assert_eq!(protected(&[image]), expected, "{image}");
        }
    }

    #[test]
    fn name_with_tag_and_digest_protects_both() {
        let both = format!("host:5000/team/app:v2@{}", digest("config-untagged"));
        assert_eq!(protected(&[&both]), [1, 3]);
    }

    #[test]
    fn reason_names_workloads_of_the_policys_namespace_only() {
        let index = index();
        let mut protection = Protection::new(&index, "shop");
        let user = |namespace, name| User { kind: "Deployment", namespace, name };
        protection.add(user("secret", "project"), "team/app:v1");
        protection.add(user("secret", "project"), "team/app:v2");
        protection.add(user("shop", "web"), "team/app:v2");
        protection.add(user("shop", "later"), "team/app:v2");
        let reasons: Vec<(u32, String)> =
            protection.in_use().into_iter().map(|in_use| (in_use.candidate, in_use.reason)).collect();
        let expected = [(0, "in use elsewhere"), (1, "in use by Deployment web"), (4, "in use elsewhere")];
        assert_eq!(reasons, expected.map(|(index, reason)| (index, reason.to_owned())));
    }
}
