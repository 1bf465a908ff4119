//! Bringing back what is in the trash, and giving it up.

use rand::Rng as _;
use serde_json::{Value, json};

use crate::book::{Entry, State};
use crate::caller::Answer;
use crate::life::Life;
use crate::tally::Invariant;

/// How a restore is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The entry, with all of its tags or not at all.
    Fail,
    /// The entry, and tags that point elsewhere move back.
    Replace,
    /// The newest entry of a digest; tags that point elsewhere stay.
    Digest,
}

impl Life {
    /// Brings back what was deleted, and pulls it.
    pub(crate) async fn restore(&mut self, book: usize) {
        let Some(entry) = self.any_entry(book) else { return };
        // A digest whose manifest is there names nothing in the trash but tags.
        let ways = if entry.is_tag { 2 } else { 3 };
        let way = [Way::Fail, Way::Replace, Way::Digest][self.rng.random_range(0..ways)];
        let taken: Vec<String> =
            entry.tags.iter().filter(|tag| self.is_taken(book, tag, &entry.digest)).cloned().collect();
        let answer = self.ask_for(book, &entry, way).await;
        match answer.status {
            200 if way == Way::Fail && !taken.is_empty() => {
                self.site.violation(Invariant::I4, &format!("{taken:?} pointed elsewhere, and {answer}"));
            }
            200 => {
                self.site.count("restores");
                self.note_restored(book, &entry, way, &taken);
                self.pull_image(book, &entry.digest).await;
            }
            409 if way == Way::Fail
                && !taken.is_empty()
                && answer.json()["errors"][0]["detail"]["tag"] != Value::Null =>
            {
                self.site.count("restores refused, as they must be");
            }
            _ if answer.is_evasive() => self.unsettle_restored(book, &entry, &answer),
            _ if self.is_expiring(entry.deleted) => {
                self.books[book].trash.retain(|other| other.id != entry.id);
            }
            _ => self.site.violation(Invariant::I3, &format!("{entry:?} is not restored: {answer}")),
        }
    }

    async fn ask_for(&mut self, book: usize, entry: &Entry, way: Way) -> Answer {
        let at = self.replica();
        let of_entry = format!("/v2/_lagan/trash/{}/restore", entry.id);
        match way {
            Way::Fail => self.caller.post(at, &of_entry, &json!({"conflict": "Fail"})).await,
            Way::Replace => self.caller.post(at, &of_entry, &json!({"conflict": "Replace"})).await,
            Way::Digest => {
                let wanted = json!({"repository": self.books[book].name, "reference": entry.digest});
                self.caller.post(at, "/v2/_lagan/restore", &wanted).await
            }
        }
    }

    /// What can be restored for a while yet, and whose tags are known.
    fn any_entry(&mut self, book: usize) -> Option<Entry> {
        let alive = |entry: &&Entry| !self.is_expiring(entry.deleted);
        let known = |entry: &&Entry| entry.tags.iter().all(|tag| self.books[book].target(tag).is_some());
        let entries: Vec<Entry> = self.books[book].trash.iter().filter(alive).filter(known).cloned().collect();
        (!entries.is_empty()).then(|| entries[self.rng.random_range(0..entries.len())].clone())
    }

    /// Whether a tag points elsewhere.
    fn is_taken(&self, book: usize, tag: &str, digest: &str) -> bool {
        matches!(self.books[book].target(tag), Some(Some(target)) if target != digest)
    }

    fn note_restored(&mut self, book: usize, entry: &Entry, way: Way, taken: &[String]) {
        let book = &mut self.books[book];
        if let Some(known) = book.images.get_mut(&entry.digest) {
            known.state = State::Present;
        }
        for tag in entry.tags.iter().filter(|tag| way == Way::Replace || !taken.contains(tag)) {
            book.point(tag, Some(&entry.digest));
        }
        book.trash.retain(|other| other.id != entry.id);
    }

    fn unsettle_restored(&mut self, book: usize, entry: &Entry, answer: &Answer) {
        let book = &mut self.books[book];
        for tag in &entry.tags {
            book.may_point(tag, Some(&entry.digest), answer.ended);
            // A restore that replaces deletes first.
            book.may_point(tag, None, answer.ended);
        }
        if let Some(image) = book.images.get(&entry.digest).map(|known| known.image.clone()) {
            book.unsettle(&image, false, answer.ended);
        }
        book.trash.retain(|other| other.id != entry.id);
    }

    /// Gives up an entry, and asks for it again in vain.
    pub(crate) async fn purge(&mut self, book: usize) {
        let Some(entry) = self.any_entry(book) else { return };
        let at = self.replica();
        let answer = self.caller.delete(at, &format!("/v2/_lagan/trash/{}", entry.id)).await;
        self.books[book].trash.retain(|other| other.id != entry.id);
        match answer.status {
            200 => {
                self.site.count("purges");
                let again = self.ask_for(book, &entry, Way::Fail).await;
                if !again.is_evasive() && again.status != 404 {
                    self.site.violation(Invariant::I5, &format!("after its purge: {again}"));
                }
            }
            _ if answer.is_evasive() || self.is_expiring(entry.deleted) => {}
            _ => self.site.violation(Invariant::I3, &format!("{entry:?} is not purged: {answer}")),
        }
    }
}
