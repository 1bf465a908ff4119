//! Every single request to the store goes wrong once, in each way in which it can: of a push in chunks, of an index with its
//! children, of an overwrite, a mount, a promise, an import, of deletes, restores, a purge, a scrub's repair, a policy's run
//! and a collection; among replicas, and in one process on a folder.
//!
//! Each time nothing that was acknowledged is lost, no answer says what is not so, and the same request again succeeds.
//! `cargo test` takes some of the points; `LAGAN_FAULT_POINTS=all` all of them.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    api::wire::ScrubState,
    oci::{Digest, Reference, RepositoryName},
    storage::{Conflict, Tombstone, TombstoneState, seeded},
};

use super::{
    changing::Change,
    collecting::collect,
    content::{REPOSITORIES, TAGS, repository, sha256, tag},
    ending,
    fate::{Fate, Point},
    invariants, policy,
    process::{Process, RESTORE_WINDOW},
    profile::timing,
    pulling::{NoAnswer, Pull},
    pushing::Push,
    scrubbing::scrub,
    world::World,
};

/// Where things are done, and where they are seen as well.
const HERE: &str = "one:1";
const THERE: &str = "two:1";

/// Of the points, which `cargo test` takes: each so-manieth.
const STRIDE: u32 = 19;

/// More requests than anything here makes: what gets there never ends.
const MOST: u32 = 2_000;

/// For how long something may be frozen that failed half-way, and its changes be unfinished.
const LONGEST: Duration = Duration::from_secs(240);

/// What refers to the first image, by its place in the content.
const REFERRER: usize = 7;

/// What is done while one request goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    PushOverTag,
    PushIndex,
    DeleteManifest,
    DeleteTag,
    DeleteBlob,
    Restore,
    Replace,
    Policy,
    Collect,
    /// What `lagan import` asks of a folder's storage.
    Import,
    Mount,
    /// A promise of what is old, on which a push relies after a collection.
    Promise,
    DeleteRepository,
    RestoreGroup,
    Purge,
    Repair,
}

const ACTIONS: [Action; 16] = [
    Action::PushOverTag,
    Action::PushIndex,
    Action::DeleteManifest,
    Action::DeleteTag,
    Action::DeleteBlob,
    Action::Restore,
    Action::Replace,
    Action::Policy,
    Action::Collect,
    Action::Import,
    Action::Mount,
    Action::Promise,
    Action::DeleteRepository,
    Action::RestoreGroup,
    Action::Purge,
    Action::Repair,
];

/// One way to go wrong.
#[derive(Debug, Clone, Copy)]
struct Job {
    action: Action,
    is_shared: bool,
    is_read: bool,
    fate: Fate,
}

fn jobs() -> Vec<Job> {
    let late = Fate::Unanswered(Duration::from_secs(12));
    let now = Fate::Unanswered(Duration::ZERO);
    let on_a_bucket = [
        (true, &[Fate::Broken, Fate::Lost, Fate::Refused][..]),
        (false, &[Fate::Broken, Fate::BrokenAfter, Fate::Lost, now, late, Fate::Refused, Fate::Full][..]),
    ];
    let on_a_folder = [(true, &[Fate::Broken][..]), (false, &[Fate::Broken, Fate::BrokenAfter, Fate::Full][..])];
    let mut jobs = Vec::new();
    for action in ACTIONS {
        for (is_shared, kinds) in [(true, on_a_bucket), (false, on_a_folder)] {
            for (is_read, fates) in kinds {
                jobs.extend(fates.iter().map(|fate| Job { action, is_shared, is_read, fate: *fate }));
            }
        }
    }
    jobs
}

/// Something that is done once and again.
struct Scene {
    world: Arc<World>,
    name: RepositoryName,
}

impl Scene {
    fn here(&self) -> Arc<Process> {
        Arc::clone(&self.world.processes()[HERE])
    }

    fn digest(&self, item: usize) -> Digest {
        self.world.content.items[item].digest.clone()
    }

    fn layer(&self, item: usize) -> Digest {
        sha256(&self.world.content.items[item].blobs[1])
    }

    async fn push(&self, item: usize, label: Option<&str>) -> bool {
        let process = self.here();
        let push = Push { world: &self.world, process: &process, repository: &self.name };
        push.item(&self.world.content.items[item], label.map(tag).as_ref()).await.is_ok()
    }

    async fn delete(&self, reference: &Reference) -> bool {
        Change { world: &self.world, process: &self.here() }.delete(&self.name, reference).await
    }

    fn is_visible(&self, item: usize) -> bool {
        let files = self.world.medium.files();
        invariants::revisions(&files).any(|(name, digest)| name == self.name && digest == self.digest(item))
    }

    /// What has to be there before.
    async fn prepare(&self, action: Action) {
        assert!(self.push(0, Some(TAGS[0])).await && self.push(0, Some(TAGS[1])).await);
        let image = Reference::Digest(self.digest(0));
        match action {
            Action::Restore | Action::Replace => {
                assert!(self.delete(&image).await);
                if action == Action::Replace {
                    assert!(self.push(2, Some(TAGS[0])).await);
                }
            }
            Action::Policy => {
                assert!(self.push(3, None).await);
                self.world.time.sleep(Duration::from_secs(15)).await;
            }
            Action::Collect => {
                assert!(self.push(4, None).await);
                assert!(self.delete(&Reference::Digest(self.digest(4))).await);
                self.world.time.sleep(RESTORE_WINDOW + timing().expiry_margin + timing().grace).await;
            }
            Action::Promise => {
                assert!(self.promised(4).await);
                self.world.time.sleep(timing().grace).await;
            }
            Action::RestoreGroup => {
                assert!(self.push(2, Some(TAGS[2])).await);
                assert!(self.delete_all().await);
            }
            Action::Purge => assert!(self.delete(&image).await),
            Action::Repair => {
                assert!(self.push(REFERRER, None).await);
                self.forget_referrer();
            }
            _ => {}
        }
    }

    async fn delete_all(&self) -> bool {
        Change { world: &self.world, process: &self.here() }.delete_repository(&self.name).await
    }

    /// Takes what says that something refers to the first image.
    fn forget_referrer(&self) {
        assert!(self.world.medium.files().remove(&self.referrer()).is_some());
    }

    fn referrer(&self) -> String {
        format!("lagan/v1/referrers/{}/_s/{}/{}", self.name, self.digest(0), self.digest(REFERRER))
    }

    /// Whether all blobs of an item are promised now.
    async fn promised(&self, item: usize) -> bool {
        let process = self.here();
        let push = Push { world: &self.world, process: &process, repository: &self.name };
        for blob in &self.world.content.items[item].blobs {
            if push.blob(blob).await.is_err() {
                return false;
            }
        }
        true
    }

    /// A collection comes between a promise and who relies on it.
    async fn rely_on_a_promise(&self) -> bool {
        let process = self.here();
        if !self.promised(4).await {
            return false;
        }
        collect(&self.world, &process).await;
        let push = Push { world: &self.world, process: &process, repository: &self.name };
        push.manifest(&self.world.content.items[4], None).await.is_ok()
    }

    /// Looks first, then brings the manifests by their digests, and the tag last.
    async fn import(&self) -> bool {
        let process = self.here();
        let pull = Pull { world: &self.world, process: &process, repository: &self.name };
        let wanted = Some(self.digest(5));
        match pull.leads_to(&Reference::Tag(tag(TAGS[2]))).await {
            Ok(found) if found == wanted => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
        let Ok(found) = pull.leads_to(&Reference::Digest(self.digest(5))).await else { return false };
        if found != wanted && !self.push(5, None).await {
            return false;
        }
        self.push(5, Some(TAGS[2])).await
    }

    async fn mount(&self) -> bool {
        let (process, elsewhere) = (self.here(), repository(REPOSITORIES[1]));
        let push = Push { world: &self.world, process: &process, repository: &elsewhere };
        push.mounted(&self.layer(0), self.name.clone()).await.is_ok_and(|is_mounted| is_mounted)
    }

    /// The newest entry of the trash.
    async fn entry(&self) -> Result<Option<Tombstone>, NoAnswer> {
        let entries = Change { world: &self.world, process: &self.here() }.trash().await.ok_or(NoAnswer)?;
        Ok(entries.into_iter().find(|entry| entry.state == TombstoneState::Restorable))
    }

    async fn repair(&self) -> bool {
        let ended = scrub(&self.world, &self.here(), true).await;
        let is_listed = self.world.medium.files().contains_key(&self.referrer());
        ended.is_some_and(|status| status.state == ScrubState::Finished) && is_listed
    }

    /// Does it; whether it is done.
    async fn act(&self, action: Action) -> bool {
        let process = self.here();
        let change = Change { world: &self.world, process: &process };
        match action {
            Action::PushOverTag => self.push(1, Some(TAGS[0])).await,
            Action::PushIndex => self.push(5, Some(TAGS[2])).await,
            Action::DeleteManifest => self.delete(&Reference::Digest(self.digest(0))).await,
            Action::DeleteTag => self.delete(&Reference::Tag(tag(TAGS[0]))).await,
            Action::DeleteBlob => change.delete_blob(&self.name, &self.layer(0)).await,
            Action::Restore | Action::Replace => {
                let conflict = if action == Action::Replace { Conflict::Replace } else { Conflict::Fail };
                let Some(entries) = change.trash().await else { return false };
                match entries.into_iter().find(|entry| entry.digest == self.digest(0)) {
                    Some(entry) => change.restore(&entry, false, conflict).await,
                    None => self.is_visible(0),
                }
            }
            Action::Policy => {
                policy::run(&self.world, &process).await;
                !self.is_visible(3)
            }
            Action::Collect => {
                collect(&self.world, &process).await;
                let gone = sha256(&self.world.content.items[4].blobs[0]);
                let files = self.world.medium.files();
                !invariants::blobs(&files).any(|digest| digest == gone)
            }
            Action::Import => self.import().await,
            Action::Mount => self.mount().await,
            Action::Promise => self.rely_on_a_promise().await,
            Action::DeleteRepository => self.delete_all().await,
            Action::RestoreGroup => match self.entry().await {
                Ok(Some(entry)) => change.restore_group(&entry, Conflict::Fail).await,
                Ok(None) => self.is_visible(0) && self.is_visible(2),
                Err(NoAnswer) => false,
            },
            Action::Purge => match self.entry().await {
                Ok(Some(entry)) => change.purge(&entry).await,
                Ok(None) => true,
                Err(NoAnswer) => false,
            },
            Action::Repair => self.repair().await,
        }
    }

    /// Everybody says what was answered.
    async fn look(&self) {
        let all: Vec<Arc<Process>> = self.world.living();
        for process in &all {
            let pull = Pull { world: &self.world, process, repository: &self.name };
            for item in 0..6 {
                pull.reference(&Reference::Digest(self.digest(item))).await;
            }
            for text in TAGS {
                pull.reference(&Reference::Tag(tag(text))).await;
            }
            pull.tags().await;
        }
    }

    async fn play(&self, action: Action, point: Point) {
        let world = &self.world;
        Process::start_surely(world, HERE).await.catalog.joined().await;
        if world.profile.is_shared {
            Process::start_surely(world, THERE).await.catalog.joined().await;
        }
        self.prepare(action).await;
        world.note("WORLD", "goes wrong", "", &format_args!("{point:?}"));
        world.trap.set(Some(point));
        self.act(action).await;
        if world.trap.is_set() {
            return;
        }
        self.look().await;
        let until = world.time.now() + LONGEST;
        while !self.act(action).await {
            if world.time.now() > until {
                world.fail(&format!("{action:?} does not succeed again"));
                return;
            }
            world.time.sleep(Duration::from_secs(5)).await;
        }
        if !world.profile.is_shared {
            self.here().kill(world);
            Process::start_surely(world, HERE).await;
        }
        ending::await_rest(world).await;
        self.look().await;
    }
}

/// Plays with one fault; whether it came, and what was wrong then.
fn play(job: Job, after: u32, is_traced: bool) -> (bool, Option<String>, String) {
    seeded::set(Some(1));
    let world = World::quiet(job.is_shared, is_traced);
    let point = Point { address: HERE.to_owned(), is_read: job.is_read, path: "", after, fate: job.fate };
    let scene = Scene { world: Arc::clone(&world), name: repository(REPOSITORIES[0]) };
    world.time.run(scene.play(job.action, point), || world.failure().is_some());
    seeded::set(None);
    let came = !world.trap.is_set();
    (came, world.failure().clone(), world.trace.text())
}

fn wrong(job: Job, stride: u32, first: u32) -> (u32, Option<String>) {
    let (mut points, mut after) = (0, first);
    loop {
        assert!(after < MOST, "{job:?} makes {after} requests");
        let (came, failure, _) = play(job, after, false);
        if let Some(failure) = failure {
            let text = play(job, after, true).2;
            return (points, Some(format!("{text}\n{job:?}, after {after} requests: {failure}")));
        }
        if !came {
            return (points, None);
        }
        points += 1;
        after += stride;
    }
}

#[test]
fn what_is_asked_for_again_succeeds_whichever_request_to_the_store_went_wrong() {
    let all = std::env::var("LAGAN_FAULT_POINTS").is_ok_and(|which| which == "all");
    let stride = if all { 1 } else { STRIDE };
    let (jobs, next) = (jobs(), AtomicUsize::new(0));
    let found = Mutex::new((0, Vec::new()));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(number) else { return };
                    let first = u32::try_from(number).unwrap() % stride;
                    let (points, failure) = wrong(*job, stride, first);
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    found.0 += points;
                    if let Some(failure) = failure {
                        eprintln!("{}", failure.lines().last().unwrap_or_default());
                        found.1.push(failure);
                    }
                }
            });
        }
    });
    let (points, failures) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{points} fault points of {} kinds", jobs.len());
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), jobs.len(), failures[0]);
    assert!(points > 100);
}
