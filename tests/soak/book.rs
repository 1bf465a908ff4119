//! What a client knows of a repository that is its own: the oracle.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use rand::{Rng as _, rngs::StdRng};

use crate::image::Image;

/// What is known of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Present,
    Absent,
    /// Since an operation that was not answered, which may happen yet.
    Unsettled {
        since: Instant,
        /// Nobody has asked to delete it.
        must_be_there: bool,
    },
}

#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) image: Image,
    pub(crate) state: State,
}

/// Where a tag may point to: one place, where it is known.
#[derive(Debug, Default)]
pub(crate) struct Pointer {
    pub(crate) candidates: BTreeSet<Option<String>>,
    /// Since when it is not known.
    pub(crate) since: Option<Instant>,
}

/// What lies in the trash and can be restored.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) digest: String,
    pub(crate) tags: Vec<String>,
    /// Whether the tag alone was deleted.
    pub(crate) is_tag: bool,
    /// When the request was sent: the restore window began later.
    pub(crate) deleted: Instant,
}

#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) name: String,
    pub(crate) images: BTreeMap<String, Known>,
    pub(crate) tags: BTreeMap<String, Pointer>,
    pub(crate) trash: Vec<Entry>,
}

impl Book {
    pub(crate) fn new(name: String) -> Self {
        Self { name, images: BTreeMap::new(), tags: BTreeMap::new(), trash: Vec::new() }
    }

    /// All images that are there.
    pub(crate) fn present(&self) -> Vec<Image> {
        let present = self.images.values().filter(|known| known.state == State::Present);
        present.map(|known| known.image.clone()).collect()
    }

    /// How many images are there.
    pub(crate) fn present_count(&self) -> usize {
        self.images.values().filter(|known| known.state == State::Present).count()
    }

    /// Any image of a state.
    pub(crate) fn any(&self, state: State, rng: &mut StdRng) -> Option<Image> {
        let of_it: Vec<&Known> = self.images.values().filter(|known| known.state == state).collect();
        (!of_it.is_empty()).then(|| of_it[rng.random_range(0..of_it.len())].image.clone())
    }

    pub(crate) fn put(&mut self, image: &Image, state: State) {
        self.images.insert(image.digest.clone(), Known { image: image.clone(), state });
    }

    pub(crate) fn state(&self, digest: &str) -> Option<State> {
        self.images.get(digest).map(|known| known.state)
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.images.values().all(|known| !matches!(known.state, State::Unsettled { .. }))
            && self.tags.values().all(|pointer| pointer.since.is_none())
    }

    /// An operation on an image was not answered.
    pub(crate) fn unsettle(&mut self, image: &Image, is_delete: bool, since: Instant) {
        let must_be_there = match self.state(&image.digest) {
            Some(State::Present) => !is_delete,
            Some(State::Unsettled { must_be_there, .. }) => must_be_there && !is_delete,
            Some(State::Absent) | None => false,
        };
        self.put(image, State::Unsettled { since, must_be_there });
        self.trash.retain(|entry| entry.digest != image.digest);
    }

    /// A tag points here now, surely.
    pub(crate) fn point(&mut self, tag: &str, to: Option<&str>) {
        let candidates = BTreeSet::from([to.map(str::to_owned)]);
        self.tags.insert(tag.to_owned(), Pointer { candidates, since: None });
    }

    /// A tag may point here by now, or as before.
    pub(crate) fn may_point(&mut self, tag: &str, to: Option<&str>, since: Instant) {
        let pointer = self.tags.entry(tag.to_owned()).or_default();
        if pointer.candidates.is_empty() {
            pointer.candidates.insert(None);
        }
        pointer.candidates.insert(to.map(str::to_owned));
        pointer.since = Some(since);
    }

    /// Where a tag surely points to; `Some(None)`: there is no such tag.
    #[allow(clippy::option_option, reason = "not known, known not to be there, and where it points to")]
    pub(crate) fn target(&self, tag: &str) -> Option<Option<&str>> {
        match self.tags.get(tag) {
            None => Some(None),
            Some(pointer) if pointer.since.is_some() => None,
            Some(pointer) => pointer.candidates.first().map(Option::as_deref),
        }
    }

    /// The tags that surely point to an image.
    pub(crate) fn tags_of(&self, digest: &str) -> Vec<String> {
        self.tags.keys().filter(|tag| self.target(tag) == Some(Some(digest))).cloned().collect()
    }

    /// An image was deleted, and its tags with it.
    pub(crate) fn deleted(&mut self, digest: &str) {
        if let Some(known) = self.images.get_mut(digest) {
            known.state = State::Absent;
        }
        self.trash.retain(|entry| entry.digest != digest);
        self.untag(digest);
    }

    /// Tags that point to an image are gone; those that may point to it may be.
    pub(crate) fn untag(&mut self, digest: &str) {
        for pointer in self.tags.values_mut() {
            if pointer.candidates.contains(&Some(digest.to_owned())) {
                match pointer.since {
                    None => pointer.candidates = BTreeSet::from([None]),
                    Some(_) => drop(pointer.candidates.insert(None)),
                }
            }
        }
    }

    /// Tags that point to an image may be gone.
    pub(crate) fn may_untag(&mut self, digest: &str, since: Instant) {
        let tags: Vec<String> = self
            .tags
            .iter()
            .filter(|(_, pointer)| pointer.candidates.contains(&Some(digest.to_owned())))
            .map(|(tag, _)| tag.clone())
            .collect();
        for tag in tags {
            self.may_point(&tag, None, since);
        }
    }

    /// Forgets what is not there, so that this does not grow.
    pub(crate) fn forget(&mut self, rng: &mut StdRng) {
        let absent: Vec<String> = self
            .images
            .iter()
            .filter(|(_, known)| known.state == State::Absent)
            .map(|(digest, _)| digest.clone())
            .collect();
        if absent.len() > 15 {
            let digest = &absent[rng.random_range(0..absent.len())];
            self.images.remove(digest);
            self.trash.retain(|entry| entry.digest != *digest);
        }
    }
}
