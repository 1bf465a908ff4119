//! What is written down of pulls.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::oci::{Reference, RepositoryName};

use crate::storage::{
    Error, concurrent::concurrently, driver::Durability, layout::PathSpec, records::record::Lenient, store::Store,
};

use super::PullHistory;

/// Of which time a process has written down what was pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Coverage {
    /// Under which id other replicas knew the process when it wrote this; absent where there are none.
    pub(super) replica: Option<Ulid>,
    /// Everything that it was asked for until then is written down.
    pub(super) until: Timestamp,
    /// Whether it has stopped in order: there is nothing after that.
    pub(super) ended: bool,
}

/// What a process has written down.
pub(super) struct ProcessRecords {
    pub(super) coverage: Lenient<Coverage>,
    pub(super) records: Vec<Ulid>,
    pub(super) history: PullHistory,
}

impl ProcessRecords {
    /// Whether there is nothing: somebody has taken it over meanwhile.
    pub(super) fn are_gone(&self) -> bool {
        self.coverage == Lenient::Absent && self.records.is_empty()
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.coverage, Lenient::Read(coverage) if coverage.ended)
    }

    /// Under which id other replicas know the process.
    pub(super) fn replica(&self) -> Option<Ulid> {
        match self.coverage {
            Lenient::Read(coverage) => coverage.replica,
            Lenient::Absent | Lenient::Unreadable => None,
        }
    }
}

impl Store {
    /// The processes that have written down pulls.
    pub(super) async fn pulling_processes(&self) -> Result<Vec<Ulid>, Error> {
        self.ids_in(PathSpec::PullFolders).await
    }

    pub(super) async fn put_pulls(&self, process: Ulid, id: Ulid, history: &PullHistory) -> Result<(), Error> {
        self.put_record(PathSpec::PullRecord(process, id), history, Durability::Durable).await
    }

    pub(super) async fn put_coverage(&self, process: Ulid, coverage: Coverage) -> Result<(), Error> {
        self.put_record(PathSpec::PullCoverage(process), &coverage, Durability::Durable).await
    }

    /// What a process has written down; `None` where a part of it went while it was read: somebody has taken it over, and
    /// has written it down before.
    ///
    /// What cannot be read is missing, as of now.
    pub(super) async fn process_records(&self, process: Ulid) -> Result<Option<ProcessRecords>, Error> {
        let coverage = self.lenient_record(PathSpec::PullCoverage(process)).await?;
        let records = self.ids_in(PathSpec::PullFolder(process)).await?;
        let mut history = PullHistory::default();
        for id in &records {
            match self.lenient_record::<PullHistory>(PathSpec::PullRecord(process, *id)).await? {
                Lenient::Read(more) => history.merge(more),
                Lenient::Absent => return Ok(None),
                Lenient::Unreadable => history.note_missing(self.clock.now()),
            }
        }
        Ok(Some(ProcessRecords { coverage, records, history }))
    }

    /// The records that there are, of every process.
    pub(super) async fn pull_records(&self) -> Result<BTreeMap<Ulid, Vec<Ulid>>, Error> {
        let mut all = BTreeMap::new();
        for process in self.pulling_processes().await? {
            all.insert(process, self.ids_in(PathSpec::PullFolder(process)).await?);
        }
        Ok(all)
    }

    /// Removes what a process has written down. What says how far it goes comes last: a folder without it is one whose
    /// process died.
    pub(super) async fn remove_process_records(&self, process: Ulid, records: &[Ulid]) -> Result<(), Error> {
        for id in records {
            self.remove_record(PathSpec::PullRecord(process, *id)).await?;
        }
        self.remove_record(PathSpec::PullCoverage(process)).await?;
        self.remove_folder(PathSpec::PullFolder(process), "remove a process's records of pulls").await
    }

    /// Forgets what was not pulled since `moment` and is not there any more: else everything that ever had a name would
    /// be known for ever.
    pub(super) async fn forget_lost_pulls(&self, history: &mut PullHistory, moment: Timestamp) -> Result<(), Error> {
        let old = history.not_since(moment);
        let checks = old.iter().map(|(name, reference)| self.is_lost(name, reference));
        let lost = concurrently(checks).await?;
        for ((name, reference), _) in old.iter().zip(lost).filter(|(_, is_lost)| *is_lost) {
            history.forget(name, reference);
        }
        Ok(())
    }

    async fn is_lost(&self, name: &RepositoryName, reference: &Reference) -> Result<bool, Error> {
        let spec = match reference {
            Reference::Tag(tag) => PathSpec::TagCurrent(name, tag),
            Reference::Digest(digest) => PathSpec::RevisionLink(name, digest),
        };
        Ok(self.age(spec).await?.is_none())
    }

    /// The ids of the replicas that there may be now, this one too.
    pub(super) async fn pulling_replicas(&self) -> Result<BTreeSet<Ulid>, Error> {
        if self.replicas.is_none() {
            Ok(BTreeSet::new())
        } else {
            self.ids_in(PathSpec::Replicas).await.map(BTreeSet::from_iter)
        }
    }
}
