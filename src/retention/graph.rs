//! What refers to what in a repository.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::oci::Digest;

use super::{ManifestContent, ManifestSnapshot, RepositorySnapshot, TagSnapshot};

/// The number of a manifest in its snapshot.
pub(super) type Node = usize;

/// A snapshot with its references resolved. Everything here costs what the snapshot is long.
pub(super) struct Graph<'a> {
    manifests: &'a [ManifestSnapshot],
    nodes: HashMap<&'a Digest, Node>,
    edges: Vec<Edges<'a>>,
}

/// The neighbours of one manifest. What is not in the repository is not among them.
#[derive(Default)]
struct Edges<'a> {
    children: Vec<Node>,
    parents: Vec<Node>,
    referrers: Vec<Node>,
    subject: Option<Node>,
    tags: Vec<&'a TagSnapshot>,
}

impl<'a> Graph<'a> {
    pub(super) fn new(snapshot: &'a RepositorySnapshot) -> Self {
        let manifests = snapshot.manifests.as_slice();
        let nodes: HashMap<&Digest, Node> = manifests.iter().enumerate().map(|(node, m)| (&m.digest, node)).collect();
        let mut edges: Vec<Edges<'a>> = manifests.iter().map(|_| Edges::default()).collect();
        let connect = |edges: &mut Vec<Edges<'a>>, node: Node, change: &dyn Fn(&mut Edges<'a>)| {
            if let Some(edges) = edges.get_mut(node) {
                change(edges);
            }
        };
        for (node, manifest) in manifests.iter().enumerate() {
            let Some(content) = &manifest.content else { continue };
            for child in content.children.iter().filter_map(|digest| nodes.get(digest).copied()) {
                connect(&mut edges, node, &|e| e.children.push(child));
                connect(&mut edges, child, &|e| e.parents.push(node));
            }
            if let Some(subject) = content.subject.as_ref().and_then(|digest| nodes.get(digest).copied()) {
                connect(&mut edges, node, &|e| e.subject = Some(subject));
                connect(&mut edges, subject, &|e| e.referrers.push(node));
            }
        }
        for tag in &snapshot.tags {
            if let Some(node) = nodes.get(&tag.digest) {
                connect(&mut edges, *node, &|e| e.tags.push(tag));
            }
        }
        Self { manifests, nodes, edges }
    }

    /// Every manifest with its number.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Node, &'a ManifestSnapshot)> {
        self.manifests.iter().enumerate()
    }

    pub(super) fn node(&self, digest: &Digest) -> Option<Node> {
        self.nodes.get(digest).copied()
    }

    pub(super) fn manifest(&self, node: Node) -> Option<&'a ManifestSnapshot> {
        self.manifests.get(node)
    }

    fn content(&self, node: Node) -> Option<&'a ManifestContent> {
        self.manifest(node)?.content.as_ref()
    }

    /// The tags that point to a manifest.
    pub(super) fn tags(&self, node: Node) -> &[&'a TagSnapshot] {
        self.edges.get(node).map_or(&[], |e| &e.tags)
    }

    /// The manifests that one lists.
    pub(super) fn children(&self, node: Node) -> &[Node] {
        self.edges.get(node).map_or(&[], |e| &e.children)
    }

    /// The indexes that list one.
    pub(super) fn parents(&self, node: Node) -> &[Node] {
        self.edges.get(node).map_or(&[], |e| &e.parents)
    }

    /// The manifests that say something about one.
    pub(super) fn referrers(&self, node: Node) -> &[Node] {
        self.edges.get(node).map_or(&[], |e| &e.referrers)
    }

    /// The manifest that one says something about.
    pub(super) fn subject(&self, node: Node) -> Option<Node> {
        self.edges.get(node)?.subject
    }

    /// Whether a digest names the manifest, its config or one that it lists.
    pub(super) fn names(&self, node: Node) -> impl Iterator<Item = &'a Digest> {
        let content = self.content(node);
        let own = self.manifest(node).map(|m| &m.digest);
        own.into_iter().chain(content.into_iter().flat_map(|c| c.config.iter().chain(&c.children)))
    }

    /// The digests of the manifest, of all that it lists, and of their configs; sorted.
    pub(super) fn closure(&self, node: Node) -> Vec<Digest> {
        let mut digests = BTreeSet::new();
        let mut seen = HashSet::from([node]);
        let mut open = vec![node];
        while let Some(node) = open.pop() {
            digests.extend(self.names(node).cloned());
            open.extend(self.children(node).iter().copied().filter(|child| seen.insert(*child)));
        }
        digests.into_iter().collect()
    }

    /// Everything that is reached from `seeds` by `next`, each with what it was reached with first. The seeds too.
    pub(super) fn spread<'g, T: Clone>(
        &'g self,
        seeds: impl IntoIterator<Item = (Node, T)>,
        next: impl Fn(&'g Self, Node) -> Vec<Node>,
    ) -> HashMap<Node, T> {
        let mut reached: HashMap<Node, T> = HashMap::new();
        let mut open: Vec<(Node, T)> = seeds.into_iter().collect();
        open.reverse();
        while let Some((node, mark)) = open.pop() {
            if reached.contains_key(&node) {
                continue;
            }
            open.extend(next(self, node).into_iter().map(|further| (further, mark.clone())));
            reached.insert(node, mark);
        }
        reached
    }

    /// The indexes that list a manifest.
    pub(super) fn indexes(&self, node: Node) -> Vec<Node> {
        self.parents(node).to_vec()
    }

    /// What goes along with a manifest that stays: what it lists, and what refers to it.
    pub(super) fn below(&self, node: Node) -> Vec<Node> {
        self.children(node).iter().chain(self.referrers(node)).copied().collect()
    }

    /// What is to go before a manifest goes: the indexes that list it, and its subject.
    pub(super) fn above(&self, node: Node) -> Vec<Node> {
        self.parents(node).iter().copied().chain(self.subject(node)).collect()
    }
}
