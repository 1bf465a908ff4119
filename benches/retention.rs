//! How long planning takes, and how much memory: `cargo bench --bench retention`.
//!
//! A registry of 10,000 repositories with 1,000,000 tags is planned a repository at a time, as a run does it; what is read
//! is not kept, and making it up is not counted. Then single repositories of 10,000 and of 100,000 tags: the second must
//! take some ten times as long as the first.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a program that measures, and shows what it measured"
)]

mod support;

use std::{
    collections::BTreeMap,
    fmt, fs,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};

use lagan::oci::{Algorithm, Digest, ImageConfig};
use lagan::retention::{
    Blob, Criterion, Granularity, ImageFacts, InUseProtection, Limits, ManifestContent, ManifestSnapshot, Mode,
    OrphanedReferrers, Plan, Planning, Policy, PolicyId, PullsKnown, RepositoryPatterns, RepositorySnapshot, Rule,
    TagPatterns, TagSnapshot, UnmatchedTags, Untagged, UntaggedAction, Usage, VersionRule, plan_repository,
};

use support::peak_mebibytes;

const REPOSITORIES: u32 = 10_000;
const TAGS: u32 = 100;
const HOUR: Duration = Duration::from_secs(3600);

fn now() -> Timestamp {
    "2026-07-01T12:00:00Z".parse().unwrap()
}

fn rule(name: &str, tags: &str, criteria: Vec<Criterion>) -> Rule {
    Rule::new(name, TagPatterns::new(&[tags.to_owned()]).unwrap(), criteria).unwrap()
}

/// Most kinds of criteria. Half of the tags go, so that the plan is long.
fn policy() -> Policy {
    let count = |count| NonZeroU32::new(count).unwrap();
    let versions = VersionRule { keep_per_major: Some(count(2)), ..VersionRule::default() };
    let labels = BTreeMap::from([("keep".to_owned(), "true".to_owned())]);
    Policy {
        granularity: Granularity::Tag,
        id: PolicyId { namespace: "ns".into(), name: "p".into(), uid: "u".into(), generation: 1 },
        mode: Mode::Enforce,
        suspended: false,
        repositories: RepositoryPatterns::new(&["**".into()], &["regex:never/.*".into()]).unwrap(),
        minimum_age: HOUR,
        unmatched_tags: UnmatchedTags::Delete,
        keep: vec![
            rule("releases", "v*", vec![Criterion::Version(Arc::new(versions))]),
            rule(
                "ci",
                "regex:pr-[0-9]+",
                vec![Criterion::MostRecentlyPushed(count(10)), Criterion::PulledWithin(HOUR * 48)],
            ),
            rule("main", "main-*", vec![Criterion::MostRecentlyPulled(count(5)), Criterion::WithinSize(200 << 20)]),
            rule("labelled", "*", vec![Criterion::Labels(Arc::new(labels)), Criterion::CreatedWithin(HOUR)]),
        ],
        untagged: Untagged { action: UntaggedAction::Delete, minimum_age: Duration::ZERO },
        orphaned: OrphanedReferrers::Delete,
        in_use: InUseProtection::Enabled,
        holds: Vec::new(),
        limits: Limits { max_deletions: u64::MAX, max_delete_percent: 100 },
    }
}

fn digest(text: &str) -> Digest {
    Digest::of(Algorithm::Sha256, text.as_bytes())
}

/// A repository of so many tags, each of an image of two blobs, one of which is shared by ten.
fn repository(name: &str, tags: u32) -> RepositorySnapshot {
    let ago = |hours: u32| now() - SignedDuration::from_hours(i64::from(hours));
    let mut snapshot = RepositorySnapshot {
        repository: name.parse().unwrap(),
        tags: Vec::new(),
        manifests: Vec::new(),
        pulls: PullsKnown::All,
    };
    for n in 0..tags {
        let tag = match n % 3 {
            0 => format!("v{}.{}.{}", n % 4, n % 100 / 10, n),
            1 => format!("pr-{n}"),
            _ => format!("main-{n}"),
        };
        let manifest = digest(&format!("{name}:{n}"));
        let config = digest(&format!("{name}:{n} config"));
        snapshot.tags.push(TagSnapshot {
            tag: tag.parse().unwrap(),
            digest: manifest.clone(),
            pushed_at: Some(ago(n % 1000 + 2)),
            pulled_at: (n % 5 == 0).then(|| ago(n % 100)),
            restored_at: None,
        });
        let created = Some(ago(n % 1000 + 3));
        snapshot.manifests.push(ManifestSnapshot {
            digest: manifest,
            media_type: None,
            size: 500,
            pushed_at: Some(ago(n % 1000 + 2)),
            pulled_at: None,
            untagged_since: None,
            restored_at: None,
            content: Some(ManifestContent {
                config: Some(config.clone()),
                blobs: vec![
                    Blob { digest: config, size: 2000 },
                    Blob { digest: digest(&format!("{name}:{} layer", n / 10)), size: 10 << 20 },
                ],
                image: ImageFacts::Known(ImageConfig { created, ..ImageConfig::default() }),
                ..ManifestContent::default()
            }),
        });
    }
    snapshot
}

/// The time that this thread has had of a processor, in nanoseconds.
fn on_cpu() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// The time that work has taken.
#[derive(Default)]
struct Took {
    wall: Duration,
    cpu: Duration,
}

impl Took {
    fn measure<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let (began, cpu) = (Instant::now(), on_cpu());
        let result = work();
        self.cpu += Duration::from_nanos(on_cpu() - cpu);
        self.wall += began.elapsed();
        result
    }
}

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} s, {:.2} s of a processor", self.wall.as_secs_f64(), self.cpu.as_secs_f64())
    }
}

fn main() {
    let policies = [policy()];
    let planning = Planning::new(&policies, &policies[0].id, HOUR * 168, now()).unwrap();
    let mut plan = Plan::new(&policies[0], "run");
    let mut took = Took::default();
    for n in 0..REPOSITORIES {
        let snapshot = repository(&format!("team-{}/app-{n}", n % 100), TAGS);
        took.measure(|| plan.add(plan_repository(&planning, &snapshot, &Usage::nothing())));
    }
    let hash = took.measure(|| plan.hash());
    println!(
        "{REPOSITORIES} repositories, {} tags: planned in {took}; {} go and {} stay, {} MiB at most, hash {}",
        plan.tags_in_scope(),
        plan.deletes(),
        plan.keeps(),
        peak_mebibytes(),
        &hash[..8]
    );
    drop(plan);
    for tags in [10_000, 100_000] {
        let snapshot = repository("large", tags);
        let mut took = Took::default();
        let plan = took.measure(|| plan_repository(&planning, &snapshot, &Usage::nothing()));
        println!("one repository of {tags} tags: planned in {took}; {} go", plan.deletes());
    }
}
