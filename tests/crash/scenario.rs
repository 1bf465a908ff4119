//! What is done, and what is true after each part of it.

use lagan::api::v1alpha1::CollectionBrake;
use lagan::api::wire::{FindingKind, FindingView, Treatment};
use lagan::oci::{Algorithm, Digest};
use lagan::storage::Conflict;

use super::{
    content::{Content, check_blob, check_gone, check_image, check_no_blob},
    image::Image,
    registry::Registry,
};

/// One thing that is asked for, which may take several requests.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// Uploads a blob in one request, or in several parts.
    PushBlob {
        repository: &'static str,
        bytes: Vec<u8>,
        parts: usize,
    },
    Mount {
        repository: &'static str,
        from: &'static str,
        digest: Digest,
    },
    /// Asks whether a blob is there, as somebody who is about to reference it.
    Promise {
        repository: &'static str,
        digest: Digest,
    },
    PutManifest {
        repository: &'static str,
        reference: String,
        image: Image,
    },
    Delete {
        repository: &'static str,
        reference: String,
    },
    DeleteBlob {
        repository: &'static str,
        digest: Digest,
    },
    /// Deletes all that is in a repository, as one group.
    DeleteRepository {
        repository: &'static str,
    },
    Restore {
        repository: &'static str,
        reference: String,
        conflict: Conflict,
    },
    /// Brings back all that was deleted with a repository.
    RestoreGroup {
        repository: &'static str,
    },
    /// Gives up what could be restored.
    Purge {
        repository: &'static str,
        reference: String,
    },
    Collect,
    Repair,
    /// Copies everything from another registry, by the command, while nobody serves the folder.
    Import {
        from: String,
        /// What is to be had there.
        content: Vec<Action>,
    },
}

/// What a client was told, and therefore relies on, besides the lists (see [`super::listing`]).
#[derive(Debug, Clone)]
pub(crate) enum Claim {
    /// An image is served by each of these references, with all that it needs.
    Served {
        repository: &'static str,
        references: Vec<String>,
        image: Image,
    },
    Blob {
        repository: &'static str,
        bytes: Vec<u8>,
        digest: Digest,
    },
    /// None of these is served.
    Gone {
        repository: &'static str,
        references: Vec<String>,
    },
    /// The repository has no such blob.
    NoBlob {
        repository: &'static str,
        digest: Digest,
    },
}

/// A sequence of actions on a store that was prepared.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// What was there before, which nobody watches.
    pub(crate) before: Vec<Action>,
    /// Whether all that was there before is three days old.
    pub(crate) aged: bool,
    /// Bytes that are damaged before it begins.
    pub(crate) damaged: Option<Digest>,
    /// Whether the report of a collection may be lost: what it removed is gone also where that cannot be written down.
    pub(crate) may_lose_reports: bool,
    pub(crate) actions: Vec<Action>,
    /// What is true before the first action, after it, and so on.
    pub(crate) claims: Vec<Vec<Claim>>,
}

impl Action {
    /// Asks for it.
    pub(crate) async fn ask(&self, registry: &Registry, is_again: bool) -> Result<(), String> {
        match self {
            Self::PushBlob { repository, bytes, parts } => registry.push_blob(repository, bytes, *parts).await,
            Self::Mount { repository, from, digest } => registry.mount(repository, from, digest).await,
            Self::Promise { repository, digest } => registry.promise(repository, digest).await,
            Self::PutManifest { repository, reference, image } => {
                registry.put_manifest(repository, reference, image).await
            }
            Self::Delete { repository, reference } => registry.delete(repository, reference, is_again).await,
            Self::DeleteBlob { repository, digest } => registry.delete_blob(repository, digest, is_again).await,
            Self::DeleteRepository { repository } => registry.delete_repository(repository, is_again).await,
            Self::Restore { repository, reference, conflict } => {
                registry.restore(repository, reference, *conflict, is_again).await
            }
            Self::RestoreGroup { repository } => registry.restore_group(repository, is_again).await,
            Self::Purge { repository, reference } => registry.purge(repository, reference, is_again).await,
            Self::Collect => collect_or_wait(registry).await,
            Self::Repair => repair_all(registry).await,
            // Not in this process.
            Self::Import { .. } => Ok(()),
        }
    }

    /// What it is made of, as far as lists tell.
    pub(crate) fn parts(&self) -> Vec<Self> {
        match self {
            Self::Import { content, .. } => content.clone(),
            other => vec![other.clone()],
        }
    }
}

/// What a scrub says that it left as it was may have been out of its reach.
async fn repair_all(registry: &Registry) -> Result<(), String> {
    let found = registry.scrub(true).await?;
    let mended = [FindingKind::CorruptBlob, FindingKind::TornLink, FindingKind::UnreadableRecord];
    let is_left = |finding: &&FindingView| {
        let is_mended = finding.treatment == Treatment::Repaired;
        finding.kind == FindingKind::Unreadable || mended.contains(&finding.kind) && !is_mended
    };
    found.iter().find(is_left).map_or(Ok(()), |finding| Err(format!("a scrub leaves {finding:?}")))
}

/// Where ages may have been lost with the machine, nothing may be removed for half the grace period.
async fn collect_or_wait(registry: &Registry) -> Result<(), String> {
    let expected = registry.may_have_lost_ages().then_some(CollectionBrake::TooYoung);
    let brake = registry.collect().await?;
    if brake == expected { Ok(()) } else { Err(format!("a collection was stopped by {brake:?}, not {expected:?}")) }
}

impl Claim {
    /// Why it does not hold.
    pub(crate) async fn check(&self, of: &impl Content) -> Result<(), String> {
        match self {
            Self::Served { repository, references, image } => check_image(of, repository, references, image).await,
            Self::Blob { repository, bytes, digest } => check_blob(of, repository, digest, bytes).await,
            Self::Gone { repository, references } => check_gone(of, repository, references).await,
            Self::NoBlob { repository, digest } => check_no_blob(of, repository, digest).await,
        }
    }
}

fn texts(references: &[&str]) -> Vec<String> {
    references.iter().map(|text| (*text).to_owned()).collect()
}

fn served(repository: &'static str, references: &[&str], image: &Image) -> Claim {
    let mut references = texts(references);
    references.push(image.digest().to_string());
    Claim::Served { repository, references, image: image.clone() }
}

fn gone(repository: &'static str, references: &[&str], image: &Image) -> Claim {
    let mut references = texts(references);
    references.push(image.digest().to_string());
    Claim::Gone { repository, references }
}

fn blob(repository: &'static str, bytes: &[u8], parts: usize) -> Action {
    Action::PushBlob { repository, bytes: bytes.to_vec(), parts }
}

fn manifest(repository: &'static str, reference: &str, image: &Image) -> Action {
    Action::PutManifest { repository, reference: reference.to_owned(), image: image.clone() }
}

fn delete(repository: &'static str, reference: &str) -> Action {
    Action::Delete { repository, reference: reference.to_owned() }
}

fn restored(repository: &'static str, reference: &str, conflict: Conflict) -> Action {
    Action::Restore { repository, reference: reference.to_owned(), conflict }
}

/// All that pushing an image takes, children first.
fn push(repository: &'static str, references: &[&str], image: &Image) -> Vec<Action> {
    let digest = image.digest().to_string();
    let mut actions: Vec<Action> = Vec::new();
    for child in &image.children {
        actions.extend(push(repository, &[], child));
    }
    actions.extend(image.blobs.iter().map(|(_, bytes)| blob(repository, bytes, 0)));
    let references = if references.is_empty() { vec![digest.as_str()] } else { references.to_vec() };
    actions.extend(references.iter().map(|reference| manifest(repository, reference, image)));
    actions
}

impl Scenario {
    /// Whether nothing is damaged any more after so many actions.
    pub(crate) fn is_whole_after(&self, done: usize) -> bool {
        self.damaged.is_none() || done == self.actions.len()
    }

    /// Whether a new process can go on with it in the middle.
    pub(crate) fn is_resumable(&self) -> bool {
        !matches!(self.actions[..], [Action::Import { .. }])
    }

    fn new(name: &'static str, before: Vec<Action>, claims: Vec<Claim>) -> Self {
        let (actions, claims) = (Vec::new(), vec![claims]);
        Self { name, before, aged: false, damaged: None, may_lose_reports: false, actions, claims }
    }

    /// An action, and all that is true after it.
    fn then(mut self, action: Action, claims: Vec<Claim>) -> Self {
        self.actions.push(action);
        self.claims.push(claims);
        self
    }

    /// An action, and what is true after it besides what was.
    fn adding(self, action: Action, claims: Vec<Claim>) -> Self {
        let mut all = self.claims.last().unwrap().clone();
        all.extend(claims);
        self.then(action, all)
    }

    /// Several actions of which each blob and each image that they end is claimed.
    fn pushing(mut self, actions: Vec<Action>) -> Self {
        for action in actions {
            let claim = match &action {
                Action::PushBlob { repository, bytes, .. } => {
                    Claim::Blob { repository, bytes: bytes.clone(), digest: Digest::of(Algorithm::Sha256, bytes) }
                }
                Action::PutManifest { repository, reference, image } => {
                    served(repository, &[reference.as_str()], image)
                }
                other => panic!("not a push: {other:?}"),
            };
            self = self.adding(action, vec![claim]);
        }
        self
    }
}

/// All of them.
pub(crate) fn all() -> Vec<Scenario> {
    vec![
        push_to_nothing(),
        push_more(),
        overwrite(),
        delete_one(),
        delete_tag(),
        delete_blob(),
        delete_repository(),
        restore(),
        restore_tag(),
        restore_blob(),
        restore_over_another(),
        restore_group(),
        purge(),
        collect(),
        refresh(),
        repair(),
    ]
}

/// What is to be had at `from`, which has what [`to_import`] says, is copied into a folder that has something already.
pub(crate) fn import(from: &str) -> Scenario {
    let (there, copied) = (Image::named("there"), Image::named("copied"));
    let is_there = vec![served("app", &["there"], &there)];
    let both = [is_there.clone(), vec![served("team/app", &["v1", "v2"], &copied)]].concat();
    Scenario::new("import", push("app", &["there"], &there), is_there)
        .then(Action::Import { from: from.to_owned(), content: to_import() }, both)
}

/// What an import finds.
pub(crate) fn to_import() -> Vec<Action> {
    push("team/app", &["v1", "v2"], &Image::named("copied"))
}

fn push_to_nothing() -> Scenario {
    Scenario::new("push", Vec::new(), Vec::new()).pushing(push("app", &["v1"], &Image::named("first")))
}

/// An upload in parts, a mount, an index, a referrer.
fn push_more() -> Scenario {
    let base = Image::named("base");
    let list = Image::index(vec![base.clone()]);
    let signature = Image::about("signature", Some(&list));
    let (digest, bytes) = base.blobs[1].clone();
    let parts = b"in several parts ".repeat(30);
    let mounted = Claim::Blob { repository: "team/other", bytes, digest: digest.clone() };
    Scenario::new("push-more", push("app", &["base"], &base), vec![served("app", &["base"], &base)])
        .pushing(vec![blob("app", &parts, 2)])
        .adding(Action::Mount { repository: "team/other", from: "app", digest }, vec![mounted])
        .pushing(vec![manifest("app", "list", &list)])
        .pushing(push("app", &[], &signature))
}

fn overwrite() -> Scenario {
    let (old, new) = (Image::named("old"), Image::named("new"));
    let mut before = push("app", &["v1"], &old);
    before.extend(push("app", &[], &new));
    let by_digest = || vec![served("app", &[], &old), served("app", &[], &new)];
    let with = |image| [by_digest(), vec![served("app", &["v1"], image)]].concat();
    Scenario::new("overwrite", before, with(&old))
        .then(manifest("app", "v1", &new), with(&new))
        .then(manifest("app", "v1", &old), with(&old))
}

fn delete_one() -> Scenario {
    let (kept, lost) = (Image::named("kept"), Image::named("lost"));
    let mut before = push("app", &["kept"], &kept);
    before.extend(push("app", &["v1", "v2"], &lost));
    let there = served("app", &["v1", "v2"], &lost);
    let kept_is = served("app", &["kept"], &kept);
    let full = vec![kept_is.clone(), there];
    let without = vec![kept_is, gone("app", &["v1", "v2"], &lost)];
    Scenario::new("delete", before, full).then(delete("app", &lost.digest().to_string()), without)
}

fn delete_tag() -> Scenario {
    let image = Image::named("tagged");
    let before = push("app", &["v1", "v2"], &image);
    let full = vec![served("app", &["v1", "v2"], &image)];
    let no_tag = Claim::Gone { repository: "app", references: texts(&["v1"]) };
    let without = vec![served("app", &["v2"], &image), no_tag];
    Scenario::new("delete-tag", before, full).then(delete("app", "v1"), without)
}

fn restore() -> Scenario {
    let (first, second) = (Image::named("amd64"), Image::named("arm64"));
    let list = Image::index(vec![first.clone(), second.clone()]);
    let mut before = push("app", &["v1"], &list);
    before.push(delete("app", &list.digest().to_string()));
    before.push(delete("app", &first.digest().to_string()));
    // What a restore wrote that broke off stays, and so does its entry (docs/protocol.md, Deleting and restoring).
    let away = vec![served("app", &[], &second)];
    let back = vec![served("app", &["v1"], &list)];
    Scenario::new("restore", before, away).then(restored("app", &list.digest().to_string(), Conflict::Fail), back)
}

/// Something that no manifest needs, beside an image that stays.
fn with_a_blob() -> (Vec<Action>, Claim, Claim, Digest) {
    let (kept, bytes) = (Image::named("kept"), b"nobody needs it".to_vec());
    let digest = Digest::of(Algorithm::Sha256, &bytes);
    let mut before = push("app", &["kept"], &kept);
    before.push(blob("app", &bytes, 0));
    let there = Claim::Blob { repository: "app", bytes, digest: digest.clone() };
    (before, served("app", &["kept"], &kept), there, digest)
}

fn delete_blob() -> Scenario {
    let (before, kept, there, digest) = with_a_blob();
    let gone = Claim::NoBlob { repository: "app", digest: digest.clone() };
    let action = Action::DeleteBlob { repository: "app", digest };
    Scenario::new("delete-blob", before, vec![kept.clone(), there]).then(action, vec![kept, gone])
}

fn restore_blob() -> Scenario {
    let (mut before, kept, there, digest) = with_a_blob();
    before.push(Action::DeleteBlob { repository: "app", digest: digest.clone() });
    let gone = Claim::NoBlob { repository: "app", digest: digest.clone() };
    let action = restored("app", &digest.to_string(), Conflict::Fail);
    Scenario::new("restore-blob", before, vec![kept.clone(), gone]).then(action, vec![kept, there])
}

/// Two images in a repository, and one in another.
fn two_repositories() -> (Vec<Action>, Vec<Claim>, Vec<Claim>, Vec<Claim>) {
    let (kept, first, second) = (Image::named("kept"), Image::named("first"), Image::named("second"));
    let mut before = push("kept", &["v1"], &kept);
    before.extend(push("team/app", &["v1", "latest"], &first));
    before.extend(push("team/app", &["v2"], &second));
    let always = vec![served("kept", &["v1"], &kept)];
    let there = vec![served("team/app", &["v1", "latest"], &first), served("team/app", &["v2"], &second)];
    let away = vec![gone("team/app", &["v1", "latest"], &first), gone("team/app", &["v2"], &second)];
    (before, always.clone(), [always.clone(), there].concat(), [always, away].concat())
}

/// One image goes after the other: what is true of both while it is under way, the lists say.
fn delete_repository() -> Scenario {
    let (before, always, _, away) = two_repositories();
    Scenario::new("delete-repository", before, always).then(Action::DeleteRepository { repository: "team/app" }, away)
}

fn restore_group() -> Scenario {
    let (mut before, always, there, _) = two_repositories();
    before.push(Action::DeleteRepository { repository: "team/app" });
    Scenario::new("restore-group", before, always).then(Action::RestoreGroup { repository: "team/app" }, there)
}

fn restore_tag() -> Scenario {
    let image = Image::named("tagged");
    let mut before = push("app", &["v1", "v2"], &image);
    before.push(delete("app", "v1"));
    let no_tag = Claim::Gone { repository: "app", references: texts(&["v1"]) };
    let without = vec![served("app", &["v2"], &image), no_tag];
    let back = vec![served("app", &["v1", "v2"], &image)];
    Scenario::new("restore-tag", before, without).then(restored("app", "v1", Conflict::Fail), back)
}

/// A tag of what is restored points elsewhere by now.
fn restore_over_another() -> Scenario {
    let (old, new) = (Image::named("old"), Image::named("new"));
    let mut before = push("app", &["v1"], &old);
    before.push(delete("app", &old.digest().to_string()));
    before.extend(push("app", &["v1"], &new));
    // Its tag goes before the other one comes: in between it leads nowhere.
    let during = vec![served("app", &[], &new)];
    let after = vec![served("app", &["v1"], &old), served("app", &[], &new)];
    let action = restored("app", &old.digest().to_string(), Conflict::Replace);
    Scenario::new("restore-over-another", before, during).then(action, after)
}

fn purge() -> Scenario {
    let (given_up, kept) = (Image::named("given up"), Image::named("kept"));
    let mut before = push("app", &["v1"], &given_up);
    before.extend(push("app", &["v2"], &kept));
    before.push(delete("app", &given_up.digest().to_string()));
    before.push(delete("app", "v2"));
    let always = vec![gone("app", &["v1"], &given_up), served("app", &[], &kept)];
    let action = Action::Purge { repository: "app", reference: given_up.digest().to_string() };
    Scenario::new("purge", before, always.clone()).then(action, always)
}

fn collect() -> Scenario {
    let (kept, deleted) = (Image::named("kept"), Image::named("deleted"));
    let mut before = push("app", &["kept"], &kept);
    before.extend(push("app", &["deleted"], &deleted));
    before.push(delete("app", "deleted"));
    before.push(delete("app", &deleted.digest().to_string()));
    before.extend((0..3).map(|n| blob("app", format!("orphan {n}").as_bytes(), 0)));
    before.push(blob("only/blobs", b"orphan 4", 0));
    let always = vec![served("app", &["kept"], &kept), gone("app", &["deleted"], &deleted)];
    let mut scenario = Scenario::new("collect", before, always.clone()).then(Action::Collect, always);
    scenario.aged = true;
    scenario
}

/// An old link is made young by a promise, which is not synced, and a collection goes by it.
fn refresh() -> Scenario {
    let kept = Image::named("kept");
    let orphan = b"promised".to_vec();
    let digest = Digest::of(Algorithm::Sha256, &orphan);
    let mut before = push("app", &["kept"], &kept);
    before.push(blob("app", &orphan, 0));
    let always = vec![served("app", &["kept"], &kept)];
    let promised = [always.clone(), vec![Claim::Blob { repository: "app", bytes: orphan, digest: digest.clone() }]];
    let promised = promised.concat();
    let mut scenario = Scenario::new("refresh", before, always)
        .then(Action::Promise { repository: "app", digest }, promised.clone())
        .then(Action::Collect, promised);
    scenario.aged = true;
    scenario
}

fn repair() -> Scenario {
    let (whole, damaged) = (Image::named("whole"), Image::named("damaged"));
    let mut before = push("app", &["whole"], &whole);
    before.extend(push("app", &["damaged"], &damaged));
    let always = vec![served("app", &["whole"], &whole)];
    let (digest, bytes) = damaged.blobs[1].clone();
    let mended = [always.clone(), vec![served("app", &["damaged"], &damaged)]].concat();
    let mut scenario = Scenario::new("repair", before, always.clone())
        .then(Action::Repair, always)
        .then(blob("app", &bytes, 0), mended);
    scenario.damaged = Some(digest);
    scenario
}
