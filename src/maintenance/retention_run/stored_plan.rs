//! A whole plan on the medium, in pages: a plan of a million lines is neither written nor read at once.

use serde::{Deserialize, Serialize};

use crate::api::v1alpha1::PlanDecision;
use crate::api::wire::{PlanLine, PlanPage};
use crate::oci::{Reference, RepositoryName};
use crate::retention::{Action, Decision, Deletion, RepositoryPlan};
use crate::storage::Catalog;

use super::records::{self, Record};
use super::{Error, RunId};

/// How many lines a page has, but for the last: some 200 KiB.
const PAGE_LINES: usize = 1000;

/// Why a line of a plan stays that the run's first plan did not name.
const NOT_NAMED: &str = "it was not to go when the run began";

/// What a page begins with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    repository: RepositoryName,
    reference: Reference,
}

/// What each page begins with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PlanIndex {
    pages: Vec<Place>,
}

/// A decision for people.
pub(super) fn line(repository: &RepositoryName, decision: &Decision) -> PlanLine {
    PlanLine {
        reference: decision.name_in(repository),
        decision: match decision.action {
            Action::Delete => PlanDecision::Delete,
            Action::Keep => PlanDecision::Keep,
        },
        rule: decision.rule.clone(),
        reason: decision.reason.to_string(),
    }
}

/// Every line of a repository's plan, in order. `held_back` would go by now, and was not to when the run began.
pub(super) fn lines(plan: &RepositoryPlan, held_back: &[Deletion]) -> Vec<(Reference, PlanLine)> {
    let named = |decision: &Decision| (decision.reference.clone(), line(&plan.repository, decision));
    let going = plan.deletions.iter().flat_map(|deletion| &deletion.decisions);
    let mut lines: Vec<(Reference, PlanLine)> = plan.kept.iter().chain(going).map(named).collect();
    lines.extend(held_back.iter().flat_map(|deletion| &deletion.decisions).map(|decision| {
        let (reference, line) = named(decision);
        (reference, PlanLine { decision: PlanDecision::Keep, rule: None, reason: NOT_NAMED.to_owned(), ..line })
    }));
    lines.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    lines
}

/// Writes the plan of a run, a repository after the other, in the order of their names.
#[derive(Debug)]
pub(super) struct PlanWriter<'a> {
    catalog: &'a Catalog,
    run: &'a RunId,
    index: PlanIndex,
    page: Vec<PlanLine>,
    count: u64,
}

impl<'a> PlanWriter<'a> {
    /// Of this run.
    pub(super) fn new(catalog: &'a Catalog, run: &'a RunId) -> Self {
        Self { catalog, run, index: PlanIndex::default(), page: Vec::new(), count: 0 }
    }

    /// Adds a repository, which comes after all that were added before.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub(super) async fn add(&mut self, plan: &RepositoryPlan, held_back: &[Deletion]) -> Result<(), Error> {
        for (reference, line) in lines(plan, held_back) {
            if self.page.is_empty() {
                self.index.pages.push(Place { repository: plan.repository.clone(), reference });
            }
            self.page.push(line);
            self.count += 1;
            if self.page.len() == PAGE_LINES {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let number = (self.index.pages.len() as u64).saturating_sub(1);
        records::write(self.catalog, self.run, Record::PlanPage(number), &self.page).await?;
        self.page.clear();
        Ok(())
    }

    /// Writes the rest, and answers how many lines there are.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub(super) async fn finish(mut self) -> Result<u64, Error> {
        if !self.page.is_empty() {
            self.flush().await?;
        }
        records::write(self.catalog, self.run, Record::PlanIndex, &self.index).await?;
        Ok(self.count)
    }
}

/// The plan of a run, as it is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoredPlan<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) run: &'a RunId,
    /// How many lines it has.
    pub(super) lines: u64,
}

impl StoredPlan<'_> {
    /// At most `limit` lines after the one of number `after`, of one page; with `only`, those of this decision.
    ///
    /// # Errors
    /// [`Error::Storage`], [`Error::Corrupt`], [`Error::PlanUnknown`] where it has been replaced meanwhile.
    pub(super) async fn page(
        &self,
        after: Option<u64>,
        limit: usize,
        only: Option<PlanDecision>,
    ) -> Result<PlanPage, Error> {
        let first = after.map_or(0, |after| after.saturating_add(1));
        if first >= self.lines {
            return Ok(PlanPage { lines: Vec::new(), next: None });
        }
        let length = PAGE_LINES as u64;
        let page = self.read(first / length).await?;
        let mut last = first;
        let mut lines = Vec::new();
        for (number, line) in (first / length * length..).zip(page).filter(|(number, _)| *number >= first) {
            last = number;
            if only.is_none_or(|only| only == line.decision) {
                lines.push(line);
            }
            if lines.len() >= limit {
                break;
            }
        }
        Ok(PlanPage { lines, next: (last.saturating_add(1) < self.lines).then_some(last) })
    }

    /// What it says of a tag or of a manifest that no tag points to.
    ///
    /// # Errors
    /// [`Error::Storage`], [`Error::Corrupt`], [`Error::PlanUnknown`] where it has been replaced meanwhile.
    pub(super) async fn find(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<PlanLine>, Error> {
        let index: Option<PlanIndex> = records::read(self.catalog, self.run, Record::PlanIndex).await?;
        let index = index.ok_or_else(|| Error::PlanUnknown { run: self.run.clone() })?;
        let wanted = Place { repository: repository.clone(), reference: reference.clone() };
        let Some(page) = index.pages.partition_point(|place| *place <= wanted).checked_sub(1) else { return Ok(None) };
        let name = reference.name_in(repository);
        Ok(self.read(page as u64).await?.into_iter().find(|line| line.reference == name))
    }

    async fn read(&self, page: u64) -> Result<Vec<PlanLine>, Error> {
        let lines = records::read(self.catalog, self.run, Record::PlanPage(page)).await?;
        lines.ok_or_else(|| Error::PlanUnknown { run: self.run.clone() })
    }

    /// Forgets it.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub(super) async fn remove(&self) -> Result<(), Error> {
        records::remove_one(self.catalog, self.run, Record::PlanIndex).await?;
        for page in 0..self.lines.div_ceil(PAGE_LINES as u64) {
            records::remove_one(self.catalog, self.run, Record::PlanPage(page)).await?;
        }
        Ok(())
    }
}
