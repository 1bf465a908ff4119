//! How the tags of a repository stand by one criterion.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
    hash::Hash,
    num::NonZeroU32,
    time::Duration,
};

use jiff::Timestamp;

use crate::oci::{Digest, ImageConfig, Platform, Tag};

use super::graph::{Graph, Node};
use super::planning::is_younger;
use super::{Criterion, Granularity, ImageFacts, ManifestContent, PullsKnown, RepositorySnapshot, Rule, TagSnapshot};

/// Where a manifest that has no config says when it was made (OCI image-spec, `annotations.md`).
pub(super) const CREATED: &str = "org.opencontainers.image.created";

/// Whether a criterion holds for a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It does.
    Holds,
    /// It does not.
    Fails,
    /// A fact is missing, so the tag stays.
    Unknown,
}

/// What criteria ask about.
pub(super) struct Facts<'a> {
    snapshot: &'a RepositorySnapshot,
    graph: &'a Graph<'a>,
    now: Timestamp,
    /// When what a manifest reaches was last pulled by digest.
    pulled: HashMap<Node, Timestamp>,
    /// When what tags point to was last pushed, and used, by any of them. Empty where no policy asks.
    images: HashMap<&'a Digest, Times>,
}

/// When something was last pushed, and when it was last pulled or pushed.
#[derive(Clone, Copy)]
struct Times {
    pushed: Timestamp,
    used: Timestamp,
}

impl<'a> Facts<'a> {
    pub(super) fn new(snapshot: &'a RepositorySnapshot, graph: &'a Graph<'a>, now: Timestamp) -> Self {
        let pulled = newest(graph, graph.iter().filter_map(|(node, manifest)| Some((node, manifest.pulled_at?))));
        Self { snapshot, graph, now, pulled, images: HashMap::new() }
    }

    /// The same, for policies that look at whole images.
    pub(super) fn with_images(mut self) -> Self {
        let mut images: HashMap<&'a Digest, Times> = HashMap::new();
        for tag in &self.snapshot.tags {
            let Some(pushed) = tag.pushed_at else { continue };
            let used = self.tag_used_at(tag, pushed);
            let times = images.entry(&tag.digest).or_insert(Times { pushed, used });
            *times = Times { pushed: times.pushed.max(pushed), used: times.used.max(used) };
        }
        self.images = images;
        self
    }

    /// When a tag was pushed, or the last of all tags of its image.
    fn pushed_at(&self, tag: &TagSnapshot, own: Timestamp, granularity: Granularity) -> Timestamp {
        match granularity {
            Granularity::Tag => own,
            Granularity::Image => self.images.get(&tag.digest).map_or(own, |times| times.pushed),
        }
    }

    /// When a tag was last used, or the last of all tags of its image.
    fn used_at(&self, tag: &TagSnapshot, pushed_at: Timestamp, granularity: Granularity) -> Timestamp {
        match self.images.get(&tag.digest).filter(|_| granularity == Granularity::Image) {
            Some(times) => times.used,
            None => self.tag_used_at(tag, pushed_at),
        }
    }

    /// When a tag was last used, as far as that is known: pulled by its name or its digest, or pushed.
    fn tag_used_at(&self, tag: &TagSnapshot, pushed_at: Timestamp) -> Timestamp {
        let by_digest = self.graph.node(&tag.digest).and_then(|node| self.pulled.get(&node).copied());
        [tag.pulled_at, by_digest].into_iter().flatten().fold(pushed_at, Timestamp::max)
    }

    /// The tags that a rule matches and whose time of push is known.
    fn matched(&self, rule: &Rule) -> impl Iterator<Item = (&'a TagSnapshot, Timestamp)> {
        let matched = self.snapshot.tags.iter().filter(|tag| rule.tags().matches(&tag.tag));
        matched.filter_map(|tag| Some((tag, tag.pushed_at?)))
    }
}

/// How tags stand by one criterion of a rule.
pub(super) enum Standing<'a> {
    /// Each by itself, or with its image.
    Alone(Granularity),
    /// It holds for some of them; of others it is not known.
    Tags { holds: HashSet<&'a Tag>, unknown: HashSet<&'a Tag> },
    /// It holds for what points to these manifests.
    Manifests { holds: HashSet<Node>, unknown: HashSet<Node> },
}

impl<'a> Standing<'a> {
    /// How the tags stand that a rule matches. What it costs is in proportion to the repository, and to its logarithm.
    pub(super) fn new(criterion: &Criterion, rule: &Rule, granularity: Granularity, facts: &Facts<'a>) -> Self {
        let some = |holds| Self::Tags { holds, unknown: HashSet::new() };
        match criterion {
            Criterion::Always | Criterion::PushedWithin(_) | Criterion::PulledWithin(_) => Self::Alone(granularity),
            Criterion::MostRecentlyPushed(count) => {
                some(first(&newest_first(pushed(rule, granularity, facts)), *count, granularity))
            }
            Criterion::MostRecentlyPulled(count) => most_recently_pulled(*count, rule, granularity, facts),
            Criterion::Version(versions) => {
                let matched = facts.snapshot.tags.iter().map(|tag| &tag.tag).filter(|tag| rule.tags().matches(tag));
                some(versions.kept(matched))
            }
            Criterion::WithinSize(bytes) => some(within_size(*bytes, rule, granularity, facts)),
            Criterion::CreatedWithin(age) => created_within(*age, facts),
            Criterion::Labels(wanted) => {
                any(facts, |content| with_image(content, |image| contains(&image.labels, wanted)))
            }
            Criterion::Platforms(wanted) => any(facts, |content| runs_on(wanted, content)),
            Criterion::Annotations(wanted) => any(facts, |content| verdict(contains(&content.annotations, wanted))),
            Criterion::ArtifactTypes(types) => {
                any(facts, |content| verdict(content.artifact_type.as_ref().is_some_and(|t| types.contains(t))))
            }
        }
    }

    /// Whether the criterion holds for a tag that the rule matches.
    pub(super) fn of(
        &self,
        criterion: &Criterion,
        tag: &TagSnapshot,
        pushed_at: Timestamp,
        facts: &Facts<'_>,
    ) -> Verdict {
        match self {
            Self::Alone(granularity) => alone(criterion, tag, pushed_at, *granularity, facts),
            Self::Tags { holds, unknown } => among(&&tag.tag, holds, unknown),
            Self::Manifests { holds, unknown } => match facts.graph.node(&tag.digest) {
                Some(node) => among(&node, holds, unknown),
                None => Verdict::Unknown,
            },
        }
    }
}

fn verdict(holds: bool) -> Verdict {
    if holds { Verdict::Holds } else { Verdict::Fails }
}

fn among<K: Hash + Eq>(key: &K, holds: &HashSet<K>, unknown: &HashSet<K>) -> Verdict {
    if holds.contains(key) {
        Verdict::Holds
    } else if unknown.contains(key) {
        Verdict::Unknown
    } else {
        Verdict::Fails
    }
}

fn alone(
    criterion: &Criterion,
    tag: &TagSnapshot,
    pushed_at: Timestamp,
    granularity: Granularity,
    facts: &Facts<'_>,
) -> Verdict {
    let within = |at: Timestamp, age: &Duration| is_younger(at, *age, facts.now);
    match criterion {
        Criterion::PushedWithin(age) => verdict(within(facts.pushed_at(tag, pushed_at, granularity), age)),
        Criterion::PulledWithin(age) if within(facts.used_at(tag, pushed_at, granularity), age) => Verdict::Holds,
        Criterion::PulledWithin(age) => match facts.snapshot.pulls {
            PullsKnown::Until(missing) if !within(missing, age) => Verdict::Fails,
            PullsKnown::All => Verdict::Fails,
            PullsKnown::Nothing | PullsKnown::Until(_) => Verdict::Unknown,
        },
        _ => Verdict::Holds,
    }
}

/// A tag, and when it was pushed or used.
type Dated<'a> = (Timestamp, &'a TagSnapshot);

/// The tags that a rule matches, each with the time of its push, or of that of its image.
fn pushed<'a>(rule: &Rule, granularity: Granularity, facts: &Facts<'a>) -> impl Iterator<Item = Dated<'a>> {
    facts.matched(rule).map(move |(tag, pushed_at)| (facts.pushed_at(tag, pushed_at, granularity), tag))
}

fn newest_first<'a>(tags: impl Iterator<Item = Dated<'a>>) -> Vec<Dated<'a>> {
    let mut tags: Vec<Dated<'a>> = tags.collect();
    tags.sort_unstable_by(|(a_at, a), (b_at, b)| (b_at, &b.tag).cmp(&(a_at, &a.tag)));
    tags
}

/// The tags in the first places. Where images are counted, tags of one share the place of the first of them.
fn first<'a>(tags: &[Dated<'a>], count: NonZeroU32, granularity: Granularity) -> HashSet<&'a Tag> {
    let count = usize::try_from(count.get()).unwrap_or(usize::MAX);
    if granularity == Granularity::Tag {
        return tags.iter().take(count).map(|(_, tag)| &tag.tag).collect();
    }
    let mut images = HashSet::new();
    for (_, tag) in tags {
        if images.len() == count {
            break;
        }
        images.insert(&tag.digest);
    }
    tags.iter().filter(|(_, tag)| images.contains(&tag.digest)).map(|(_, tag)| &tag.tag).collect()
}

/// How many places some tags take.
fn places<'a>(tags: impl Iterator<Item = &'a TagSnapshot>, granularity: Granularity) -> usize {
    match granularity {
        Granularity::Tag => tags.count(),
        Granularity::Image => tags.map(|tag| &tag.digest).collect::<HashSet<_>>().len(),
    }
}

/// What may have been pulled while nobody noted it is out only if so many others were surely pulled later.
fn most_recently_pulled<'a>(
    count: NonZeroU32,
    rule: &Rule,
    granularity: Granularity,
    facts: &Facts<'a>,
) -> Standing<'a> {
    let used = facts.matched(rule).map(|(tag, pushed_at)| (facts.used_at(tag, pushed_at, granularity), tag));
    let used = newest_first(used);
    let missing = match facts.snapshot.pulls {
        PullsKnown::All => None,
        PullsKnown::Until(missing) => Some(missing),
        PullsKnown::Nothing => Some(Timestamp::MAX),
    };
    let is_doubtful = |at: Timestamp| missing.is_some_and(|missing| at <= missing);
    let surely_later = used.iter().filter(|(at, _)| !is_doubtful(*at)).map(|(_, tag)| *tag);
    let unknown = if places(surely_later, granularity) < usize::try_from(count.get()).unwrap_or(usize::MAX) {
        used.iter().filter(|(at, _)| is_doubtful(*at)).map(|(_, tag)| &tag.tag).collect()
    } else {
        HashSet::new()
    };
    Standing::Tags { holds: first(&used, count, granularity), unknown }
}

/// The newest tags that fit, up to the first that does not.
fn within_size<'a>(bytes: u64, rule: &Rule, granularity: Granularity, facts: &Facts<'a>) -> HashSet<&'a Tag> {
    let (mut seen, mut blobs) = (HashSet::new(), HashSet::new());
    let mut sum = 0_u64;
    let mut fitting = HashSet::new();
    for (_, tag) in newest_first(pushed(rule, granularity, facts)) {
        let mut open: Vec<Node> = facts.graph.node(&tag.digest).into_iter().collect();
        while let Some(node) = open.pop() {
            let Some(manifest) = facts.graph.manifest(node).filter(|_| seen.insert(node)) else { continue };
            let content = manifest.content.iter().flat_map(|content| &content.blobs);
            let new = content.filter(|blob| blobs.insert(&blob.digest)).map(|blob| blob.size);
            sum = new.fold(sum.saturating_add(manifest.size), u64::saturating_add);
            open.extend(facts.graph.children(node));
        }
        if sum > bytes {
            break;
        }
        fitting.insert(&tag.tag);
    }
    fitting
}

/// Of each manifest that reaches one of `dated`, the latest time.
fn newest(graph: &Graph<'_>, dated: impl Iterator<Item = (Node, Timestamp)>) -> HashMap<Node, Timestamp> {
    let mut dated: Vec<(Node, Timestamp)> = dated.collect();
    dated.sort_unstable_by_key(|(node, at)| (Reverse(*at), *node));
    graph.spread(dated, Graph::indexes)
}

/// What a policy asks of the content holds for an index if it holds for something that it lists.
fn any<'a>(facts: &Facts<'a>, ask: impl Fn(&ManifestContent) -> Verdict) -> Standing<'a> {
    let own: Vec<(Node, Verdict)> = facts
        .graph
        .iter()
        .map(|(node, manifest)| match &manifest.content {
            Some(content) => (node, ask(content)),
            None => (node, Verdict::Unknown),
        })
        .collect();
    let with = |wanted: Verdict| own.iter().filter(move |(_, verdict)| *verdict == wanted).map(|(node, _)| *node);
    let holds = reaching(facts.graph, with(Verdict::Holds));
    let unknown = reaching(facts.graph, with(Verdict::Unknown).chain(incomplete(facts.graph)));
    Standing::Manifests { holds, unknown }
}

fn reaching(graph: &Graph<'_>, nodes: impl Iterator<Item = Node>) -> HashSet<Node> {
    graph.spread(nodes.map(|node| (node, ())), Graph::indexes).into_keys().collect()
}

/// The indexes that list what is not there.
fn incomplete(graph: &Graph<'_>) -> impl Iterator<Item = Node> {
    let children = |node: Node| graph.manifest(node).and_then(|m| m.content.as_ref()).map(|content| &content.children);
    let lacks = move |node: &Node| children(*node).into_iter().flatten().any(|child| graph.node(child).is_none());
    graph.iter().map(|(node, _)| node).filter(lacks)
}

/// The latest of the times that a manifest and what it lists say. Where none says one, that is not known.
fn created_within<'a>(age: Duration, facts: &Facts<'a>) -> Standing<'a> {
    let graph = facts.graph;
    let said = |content: &ManifestContent| {
        let annotated = content.annotations.get(CREATED).and_then(|text| text.parse().ok());
        match &content.image {
            ImageFacts::Known(image) => image.created.or(annotated),
            ImageFacts::None | ImageFacts::Unknown => annotated,
        }
    };
    let created = graph.iter().filter_map(|(node, manifest)| Some((node, said(manifest.content.as_ref()?)?)));
    let created = newest(graph, created);
    let is_read = |content: &ManifestContent| content.image != ImageFacts::Unknown;
    let unread = graph.iter().filter(|(_, manifest)| !manifest.content.as_ref().is_some_and(is_read));
    let unread = unread.map(|(node, _)| node);
    let silent = graph.iter().map(|(node, _)| node).filter(|node| !created.contains_key(node));
    // An index is as silent as all that it lists: one that lists something that speaks is not silent.
    let unknown = reaching(graph, unread.chain(incomplete(graph))).into_iter().chain(silent).collect();
    let young = created.iter().filter(|(_, at)| is_younger(**at, age, facts.now));
    Standing::Manifests { holds: young.map(|(node, _)| *node).collect(), unknown }
}

fn with_image(content: &ManifestContent, ask: impl Fn(&ImageConfig) -> bool) -> Verdict {
    match &content.image {
        ImageFacts::Known(image) => verdict(ask(image)),
        ImageFacts::None => Verdict::Fails,
        ImageFacts::Unknown => Verdict::Unknown,
    }
}

/// An image says in its config where it runs, and an index may say it of what it lists. Who should say it and does not may
/// run anywhere.
fn runs_on(wanted: &[Platform], content: &ManifestContent) -> Verdict {
    let own = match &content.image {
        ImageFacts::Known(image) => Some(image.platform.as_ref()),
        ImageFacts::Unknown => Some(None),
        ImageFacts::None => None,
    };
    let mut verdict = Verdict::Fails;
    for platform in own.into_iter().chain(content.platforms.iter().map(Some)) {
        let covers = wanted.iter().map(|wanted| wanted.covers(platform?));
        for covers in covers {
            match covers {
                Some(true) => return Verdict::Holds,
                Some(false) => {}
                None => verdict = Verdict::Unknown,
            }
        }
    }
    verdict
}

fn contains(all: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| all.get(key) == Some(value))
}
