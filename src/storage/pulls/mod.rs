//! When what was pulled last: noted in memory, written down every few minutes, and read by who decides what may go.
//!
//! A pull is a GET of a manifest, by tag or by digest. Clients that resolve a tag with a HEAD and then fetch the digest
//! are seen by the digest; who reads this counts it for the tags that point there.
//!
//! ```text
//! lagan/v1/pulls/<process>/<ulid>      what was pulled in a window; several are merged by maximum
//! lagan/v1/pulls/<process>/covered     until when all is written down, and whether the process stopped in order
//! ```
//!
//! # Guarantees
//! - A request waits for no write. What is held in memory is bounded; past the bound, everything counts as pulled.
//! - Each process writes below its own name only. Who takes over what another one left writes it down below its own name
//!   first and removes it then; a reader that misses a part begins again.
//! - What is not known is never taken for "not pulled": the window that a process did not write down before it died, the
//!   time before the first process that noted pulls, a record that cannot be read, a replica that does not answer. Until
//!   the end of such a window everything counts as pulled ([`PullHistory::missing_until`]).

mod history;
mod records;

use std::{
    collections::BTreeSet,
    mem,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tracing::{info, warn};
use ulid::Ulid;

use crate::oci::{Reference, RepositoryName};

use super::{Catalog, Error, Repository, layout::PathSpec, store::Store};

pub use history::PullHistory;

use history::Noted;
use records::{Coverage, ProcessRecords};

/// How many references one window may name: some 20 MB. Who pulls more in a few minutes reads all of a registry.
const MAX_WINDOW: usize = 200_000;

/// After how many records a process merges the newest of them: more than an hour of them.
const MAX_RECORDS: usize = 16;

/// How many times larger than the ones after it a record may be to be merged with them. Small ones are merged often,
/// large ones seldom, so that each pull is written a few times in all.
const MERGED_RATIO: usize = 4;

/// For how long what is not there any more is remembered at least: it may be restored.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How often a reading begins again because others tidied up meanwhile.
const MAX_READS: usize = 8;

/// What this process knows of pulls and has not written down.
#[derive(Debug, Default)]
pub(super) struct Pulls {
    /// The name under which this process writes; absent before it begins, and then nothing is noted.
    process: OnceLock<Ulid>,
    window: Mutex<Window>,
    written: tokio::sync::Mutex<Written>,
}

#[derive(Debug, Default)]
struct Window {
    pulls: PullHistory,
    references: usize,
}

/// What a process has written down, and what it was about to.
#[derive(Debug, Default)]
struct Written {
    /// Whether what others left was looked at.
    has_begun: bool,
    /// Whether no request is answered any more. Another replica may still ask to write.
    has_ended: bool,
    /// Taken from the window, not on the medium yet. Kept here, because who writes may be dropped.
    unwritten: PullHistory,
    /// The records, and how many references each names; oldest first.
    records: Vec<(Ulid, usize)>,
}

impl Window {
    fn note(&mut self, name: &RepositoryName, reference: &Reference, at: Timestamp) {
        if self.references >= MAX_WINDOW && !self.pulls.knows(name, reference) {
            self.pulls.note_missing(at);
        } else if self.pulls.note(name, reference, at) == Noted::New {
            self.references += 1;
        }
    }

    fn take(&mut self) -> PullHistory {
        self.references = 0;
        mem::take(&mut self.pulls)
    }
}

impl Pulls {
    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many of the newest records to merge into one.
fn to_merge(records: &[(Ulid, usize)]) -> usize {
    let mut sum = 0_usize;
    let mut count = 0;
    for (_, references) in records.iter().rev() {
        if count > MAX_RECORDS / 2 && *references > MERGED_RATIO.saturating_mul(sum) {
            break;
        }
        sum = sum.saturating_add(*references);
        count += 1;
    }
    count
}

impl Repository {
    /// Notes that a client was given a manifest. It is written down later.
    pub fn note_pull(&self, reference: &Reference) {
        let pulls = &self.store.pulls;
        if pulls.process.get().is_some() {
            let now = self.store.clock.now();
            pulls.window().note(&self.name, reference, now);
        }
    }
}

impl Catalog {
    /// Begins to note pulls; to be called before the first request is answered, and once the other replicas are joined.
    ///
    /// # Errors
    /// [`Error::Driver`] where nothing could be written: pulls are noted all the same, and [`Self::keep_pulls`] tries again.
    pub async fn begin_pulls(&self) -> Result<(), Error> {
        let store = &self.store;
        store.pulls.process.get_or_init(|| store.ids.next(store.clock.now()));
        store.keep_pulls().await
    }

    /// Writes down what was pulled, and takes over what processes that are gone have left. To be called every few
    /// minutes: a crash loses what was pulled since, and everything counts as pulled then.
    ///
    /// # Errors
    /// [`Error::Driver`]; what was not written is written with the next call.
    pub async fn keep_pulls(&self) -> Result<(), Error> {
        self.store.keep_pulls().await
    }

    /// Writes down what was pulled, for the last time: no request is being answered any more.
    ///
    /// # Errors
    /// [`Error::Driver`]: the next process takes this one for one that died.
    pub async fn end_pulls(&self) -> Result<(), Error> {
        self.store.pulls.written.lock().await.has_ended = true;
        self.store.write_pulls().await
    }

    /// When what was pulled last, at any replica, up to now.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn pull_history(&self) -> Result<PullHistory, Error> {
        self.store.write_pulls().await?;
        let answered = self.store.write_pulls_elsewhere().await?;
        for _ in 0..MAX_READS {
            if let Some(history) = self.store.read_pulls(&answered).await? {
                return Ok(history);
            }
        }
        warn!("records of pulls change faster than they can be read; everything counts as pulled now");
        let mut history = PullHistory::default();
        history.note_missing(self.store.clock.now());
        Ok(history)
    }
}

impl Store {
    async fn keep_pulls(&self) -> Result<(), Error> {
        self.write_pulls().await?;
        self.take_over_pulls().await
    }

    /// Writes down what was pulled until now. Nothing where this process does not note pulls.
    ///
    /// # Cancel safety
    /// What is not written stays in memory.
    pub(super) async fn write_pulls(&self) -> Result<(), Error> {
        let Some(process) = self.pulls.process.get().copied() else { return Ok(()) };
        let mut written = self.pulls.written.lock().await;
        let until = self.clock.now();
        let taken = self.pulls.window().take();
        written.unwritten.merge(taken);
        if !written.has_begun {
            if self.pulls_were_missed().await? {
                written.unwritten.note_missing(until);
            }
            written.has_begun = true;
        }
        self.write_window(process, &mut written).await?;
        let replica = self.replicas.as_ref().and_then(|replicas| replicas.term()).map(|term| term.id());
        self.put_coverage(process, Coverage { replica, until, ended: written.has_ended }).await?;
        if written.records.len() > MAX_RECORDS {
            self.merge_pulls(process, &mut written).await?;
        }
        Ok(())
    }

    /// Whether there was a time in which this store was served, and nobody noted pulls.
    async fn pulls_were_missed(&self) -> Result<bool, Error> {
        Ok(self.pulling_processes().await?.is_empty() && self.has_any_repository().await?)
    }

    async fn write_window(&self, process: Ulid, written: &mut Written) -> Result<(), Error> {
        if written.unwritten.is_empty() {
            return Ok(());
        }
        let id = self.ids.next(self.clock.now());
        self.put_pulls(process, id, &written.unwritten).await?;
        written.records.push((id, written.unwritten.len()));
        written.unwritten = PullHistory::default();
        Ok(())
    }

    /// Makes one record of the newest ones.
    async fn merge_pulls(&self, process: Ulid, written: &mut Written) -> Result<(), Error> {
        let first = written.records.len().saturating_sub(to_merge(&written.records));
        let merged: Vec<Ulid> = written.records.iter().skip(first).map(|(id, _)| *id).collect();
        let mut history = PullHistory::default();
        for id in &merged {
            // One that is not there was taken over by a replica that took this one for dead.
            if let Some(more) = self.record::<PullHistory>(PathSpec::PullRecord(process, *id)).await? {
                history.merge(more);
            }
        }
        self.forget_lost_pulls(&mut history, self.remembered_since()).await?;
        let id = self.ids.next(self.clock.now());
        self.put_pulls(process, id, &history).await?;
        written.records.truncate(first);
        written.records.push((id, history.len()));
        for id in merged {
            self.remove_record(PathSpec::PullRecord(process, id)).await?;
        }
        Ok(())
    }

    fn remembered_since(&self) -> Timestamp {
        let remembered = REMEMBERED.max(self.options.restore_window.saturating_mul(2));
        let remembered = SignedDuration::try_from(remembered).unwrap_or(SignedDuration::MAX);
        self.clock.now().saturating_sub(remembered).unwrap_or(Timestamp::MIN)
    }

    /// Takes over what processes that are gone have left.
    async fn take_over_pulls(&self) -> Result<(), Error> {
        let Some(own) = self.pulls.process.get().copied() else { return Ok(()) };
        // Listed before the replicas: a process that is there by then has registered before it wrote.
        let processes = self.pulling_processes().await?;
        let replicas = self.pulling_replicas().await?;
        for process in processes.into_iter().filter(|process| *process != own) {
            let Some(left) = self.process_records(process).await? else { continue };
            let lives = left.replica().is_some_and(|replica| replicas.contains(&replica));
            if !left.are_gone() && (!lives || left.has_ended()) {
                self.take_over(own, process, left).await?;
            }
        }
        Ok(())
    }

    async fn take_over(&self, own: Ulid, process: Ulid, mut left: ProcessRecords) -> Result<(), Error> {
        if !left.has_ended() {
            info!(%process, "a process died before it wrote down what was pulled: everything counts as pulled now");
            left.history.note_missing(self.clock.now());
        }
        self.forget_lost_pulls(&mut left.history, self.remembered_since()).await?;
        let mut written = self.pulls.written.lock().await;
        written.unwritten.merge(left.history);
        self.write_window(own, &mut written).await?;
        drop(written);
        self.remove_process_records(process, &left.records).await
    }

    /// Makes the other replicas write down what was pulled; those that have, and this one. One that does not answer is
    /// no reason to wait: what it was asked for counts as pulled.
    async fn write_pulls_elsewhere(&self) -> Result<BTreeSet<Ulid>, Error> {
        if self.replicas.is_some() { self.tell_pulls().await } else { Ok(BTreeSet::new()) }
    }

    /// All that is written down; `None` where somebody tidied up meanwhile: what is taken over is written to a folder that
    /// may have been read before.
    async fn read_pulls(&self, answered: &BTreeSet<Ulid>) -> Result<Option<PullHistory>, Error> {
        let now = self.clock.now();
        let own = self.pulls.process.get().copied();
        let listed = self.pull_records().await?;
        let mut history = PullHistory::default();
        for process in listed.keys() {
            let Some(records) = self.process_records(*process).await? else { return Ok(None) };
            let has_answered = records.replica().is_some_and(|replica| answered.contains(&replica));
            if Some(*process) != own && !records.has_ended() && !has_answered {
                history.note_missing(now);
            }
            history.merge(records.history);
        }
        if listed.is_empty() || self.pulling_replicas().await?.iter().any(|replica| !answered.contains(replica)) {
            history.note_missing(now);
        }
        Ok((self.pull_records().await? == listed).then_some(history))
    }
}
