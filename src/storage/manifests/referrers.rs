//! Which manifests refer to which.

use std::collections::BTreeSet;

use futures::future;

use crate::oci::{Descriptor, Digest, Manifest, RepositoryName};

use crate::storage::{
    Error, Page, Repository, concurrent::concurrently, driver::Durability, layout::PathSpec, records::record::Lenient,
    store::Store,
};

/// How many referrers are looked at together.
const BATCH: usize = 256;

/// Which referrers of a manifest to list.
#[derive(Debug, Clone, Copy)]
pub struct ReferrerFilter<'a> {
    /// Of this type only.
    pub artifact_type: Option<&'a str>,
    /// Those whose digests, as texts, sort after this.
    pub after: Option<&'a str>,
    /// As many as have no more bytes than this together, as JSON; one at least.
    pub page_bytes: usize,
    /// Whether what had to be read for the answer may be noted for the next one.
    pub may_note: bool,
}

impl Repository {
    /// The descriptors of the visible manifests whose subject is `subject`, in the order of their digests.
    ///
    /// # Guarantees
    /// It holds about two pages in memory, however many there are and whatever they say.
    /// In a repository that another registry wrote, the first call reads every manifest once. That goes on when nobody
    /// waits for it any more.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn referrers(&self, subject: &Digest, filter: ReferrerFilter<'_>) -> Result<Page<Descriptor>, Error> {
        let unlisted = self.store.complete_referrers(&self.name, filter.may_note).await?;
        let mut names: BTreeSet<Digest> = unlisted.get(subject).cloned().unwrap_or_default();
        names.retain(|digest| filter.after.is_none_or(|after| digest.to_string().as_str() > after));
        let listed = self.store.names_after(PathSpec::Referrers(&self.name, subject), filter.after, usize::MAX).await?;
        names.extend(listed.iter().filter_map(|text| text.parse::<Digest>().ok()));
        let mut digests: Vec<Digest> = names.into_iter().collect();
        digests.sort_by_cached_key(ToString::to_string);
        self.page_of_referrers(subject, &digests, filter).await
    }

    async fn page_of_referrers(
        &self,
        subject: &Digest,
        digests: &[Digest],
        filter: ReferrerFilter<'_>,
    ) -> Result<Page<Descriptor>, Error> {
        let mut page = DescriptorPage { entries: Vec::new(), room: filter.page_bytes };
        for batch in digests.chunks(BATCH) {
            let sizes = batch.iter().map(|digest| self.store.referrer_size(&self.name, subject, digest));
            let sizes: Vec<_> = concurrently(sizes).await?;
            let visible = batch.iter().zip(sizes).filter_map(|(digest, size)| Some((digest, size?)));
            for run in runs(visible, filter.page_bytes) {
                let reads = run.into_iter().map(|digest| self.store.visible_referrer(&self.name, subject, digest));
                for descriptor in concurrently(reads).await?.into_iter().flatten() {
                    let is_wanted =
                        filter.artifact_type.is_none_or(|wanted| descriptor.artifact_type.as_deref() == Some(wanted));
                    if is_wanted && !page.takes(descriptor) {
                        return Ok(Page { entries: page.entries, more: true });
                    }
                }
            }
        }
        Ok(Page { entries: page.entries, more: false })
    }
}

/// A page that is being filled.
struct DescriptorPage {
    entries: Vec<Descriptor>,
    /// How many bytes still fit.
    room: usize,
}

impl DescriptorPage {
    /// Adds a descriptor, if it fits; the first one does, so that every page gets further.
    fn takes(&mut self, descriptor: Descriptor) -> bool {
        let size = serde_json::to_vec(&descriptor).map_or(0, |json| json.len());
        if size > self.room && !self.entries.is_empty() {
            return false;
        }
        self.room = self.room.saturating_sub(size);
        self.entries.push(descriptor);
        true
    }
}

/// Parts that have at most so many bytes each, or one entry.
fn runs<'a>(sizes: impl Iterator<Item = (&'a Digest, u64)>, bytes: usize) -> Vec<Vec<&'a Digest>> {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    let mut runs: Vec<Vec<&Digest>> = Vec::new();
    let mut room = 0;
    for (digest, size) in sizes {
        if let Some(run) = runs.last_mut().filter(|_| size <= room) {
            room -= size;
            run.push(digest);
        } else {
            room = bytes.saturating_sub(size);
            runs.push(vec![digest]);
        }
    }
    runs
}

impl Store {
    /// Notes that a manifest refers to another one, if it does.
    pub(in crate::storage) async fn put_referrer(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        manifest: &Manifest,
        size: u64,
    ) -> Result<(), Error> {
        let Some(subject) = &manifest.subject else { return Ok(()) };
        let descriptor = referrer(digest, manifest, size);
        self.put_record(PathSpec::Referrer(name, &subject.digest, digest), &descriptor, Durability::Durable).await
    }

    /// The digests of all manifests that were pushed with a subject, visible or not.
    pub(in crate::storage) async fn referrer_names(
        &self,
        name: &RepositoryName,
        subject: &Digest,
    ) -> Result<Vec<Digest>, Error> {
        let names = self.names(PathSpec::Referrers(name, subject)).await?;
        Ok(names.iter().filter_map(|text| text.parse().ok()).collect())
    }

    /// How much is to be read for a referrer's descriptor, in bytes; `None` of one that is not visible.
    async fn referrer_size(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<Option<u64>, Error> {
        let record = PathSpec::Referrer(name, subject, digest);
        let (is_visible, noted) = future::join(self.is_visible(name, digest), self.file_size(record)).await;
        if !is_visible? {
            return Ok(None);
        }
        // One that is not noted is read from the manifest, as is one whose record is empty.
        match noted?.filter(|size| *size > 0) {
            Some(size) => Ok(Some(size)),
            None => Ok(Some(self.stored_size(digest).await?.unwrap_or_default())),
        }
    }

    async fn visible_referrer(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<Option<Descriptor>, Error> {
        match self.lenient_record(PathSpec::Referrer(name, subject, digest)).await? {
            Lenient::Read(descriptor) => Ok(Some(descriptor)),
            Lenient::Absent | Lenient::Unreadable => self.referrer_from_bytes(name, subject, digest).await,
        }
    }

    async fn referrer_from_bytes(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<Option<Descriptor>, Error> {
        let Some((manifest, size)) = self.parsed(name, digest).await? else { return Ok(None) };
        let refers_there = manifest.subject.as_ref().is_some_and(|to| to.digest == *subject);
        Ok(refers_there.then(|| referrer(digest, &manifest, size)))
    }

    /// A visible manifest, parsed, and its length in bytes; `None` where it is not there or cannot be read.
    pub(in crate::storage) async fn parsed(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<(Manifest, u64)>, Error> {
        let Some(stored) = self.read_revision(name, digest).await? else { return Ok(None) };
        let Some(bytes) = self.manifest_bytes(&stored.digest).await? else { return Ok(None) };
        Ok(Manifest::parse(Some(&stored.media_type), &bytes).ok().map(|manifest| (manifest, stored.size)))
    }
}

fn referrer(digest: &Digest, manifest: &Manifest, size: u64) -> Descriptor {
    Descriptor {
        media_type: manifest.media_type.clone(),
        digest: digest.clone(),
        size,
        artifact_type: manifest.referrer_type(),
        urls: Vec::new(),
        annotations: manifest.annotations.clone(),
        platform: None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::{oci::MediaType, storage::fixtures::sha256};

    use super::*;

    fn descriptor(annotation_bytes: usize) -> Descriptor {
        Descriptor {
            media_type: MediaType::OCI_MANIFEST.parse().unwrap(),
            digest: sha256(b""),
            size: 1,
            artifact_type: None,
            urls: Vec::new(),
            annotations: BTreeMap::from([("a".to_owned(), "x".repeat(annotation_bytes))]),
            platform: None,
        }
    }

    #[test]
    fn a_page_ends_before_it_is_too_large_and_never_empty() {
        let room = 3 << 20;
        for (count, bytes, fitting) in [(0, 10, 0), (100, 10, 100), (5, 1 << 20, 2), (2, 4 << 20, 1)] {
            let mut page = DescriptorPage { entries: Vec::new(), room };
            let taken = (0..count).take_while(|_| page.takes(descriptor(bytes))).count();
            assert_eq!((taken, page.entries.len()), (fitting, fitting), "{count} of {bytes} bytes");
        }
    }

    #[test]
    fn runs_have_a_bound_or_one_entry() {
        let digests: Vec<Digest> = (0..6_u8).map(|n| sha256(&[n])).collect();
        let sizes = [5, 5, 1, 20, 4, 6];
        let runs = runs(digests.iter().zip(sizes), 10);
        assert_eq!(runs.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1, 2]);
        assert!(runs.concat().into_iter().eq(&digests), "all of them, in order");
    }
}
