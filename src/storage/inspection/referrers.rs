//! The lists of what refers to what: complete, and no longer than that.

use crate::oci::{Digest, Manifest, RepositoryName};
use crate::storage::{Error, guard::keys::Key, layout::PathSpec, records::record::Lenient};

use super::{Finding, FindingKind, Inspection};

impl Inspection {
    /// Looks whether a manifest is in the list of its subject. A repository whose lists were never asked for has none.
    pub(super) async fn referrer_entry(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        manifest: &Manifest,
        size: u64,
    ) -> Result<(), Error> {
        let Some(subject) = &manifest.subject else { return Ok(()) };
        let subject = &subject.digest;
        let keys = [Key::Revision(name.clone(), digest.clone())];
        let found = self.steady(keys, || self.is_unlisted(name, subject, digest)).await?;
        let Some(((), held)) = found else { return Ok(()) };
        let spec = PathSpec::Referrer(name, subject, digest);
        let finding = Finding::new(FindingKind::MissingReferrer, spec.path()).of(name).about(digest);
        let finding = finding.saying(format!("the list of {subject} does not have it"));
        self.mend(finding, held.store.put_referrer(name, digest, manifest, size)).await
    }

    async fn is_unlisted(&self, name: &RepositoryName, subject: &Digest, digest: &Digest) -> Result<Option<()>, Error> {
        let store = &self.store;
        if store.age(PathSpec::ReferrersBuilt(name)).await?.is_none() || !store.is_visible(name, digest).await? {
            return Ok(None);
        }
        let entry: Lenient<serde_json::Value> = store.lenient_record(PathSpec::Referrer(name, subject, digest)).await?;
        Ok((!matches!(entry, Lenient::Read(_))).then_some(()))
    }

    /// Looks whether each entry of the lists is of a manifest that refers there.
    pub(super) async fn referrers(&self, name: &RepositoryName) -> Result<(), Error> {
        for text in self.store.names(PathSpec::Subjects(name)).await? {
            let Ok(subject) = text.parse::<Digest>() else { continue };
            let digests = self.store.referrer_names(name, &subject).await?;
            self.each(&digests, |digest| self.listed_referrer(name, subject.clone(), digest.clone())).await?;
        }
        Ok(())
    }

    async fn listed_referrer(&self, name: &RepositoryName, subject: Digest, digest: Digest) -> Result<(), Error> {
        let (subject, digest) = (&subject, &digest);
        let keys = [Key::Revision(name.clone(), digest.clone())];
        let found = self.steady(keys, || self.refers_elsewhere(name, subject, digest)).await?;
        let Some((detail, held)) = found else { return Ok(()) };
        let spec = PathSpec::Referrer(name, subject, digest);
        let finding = Finding::new(FindingKind::StaleReferrer, spec.path()).of(name).about(digest).saying(detail);
        self.mend(finding, held.store.remove_record(spec)).await
    }

    async fn refers_elsewhere(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<Option<&'static str>, Error> {
        if self.store.is_visible(name, digest).await? {
            let parsed = self.store.parsed(name, digest).await?;
            let elsewhere = parsed.is_some_and(|(manifest, _)| manifest.subject.is_none_or(|to| to.digest != *subject));
            return Ok(elsewhere.then_some("it does not refer there"));
        }
        // What is in the trash keeps its entry: a restore needs it.
        let is_trashed = !self.store.names(PathSpec::Tombstones(name, digest)).await?.is_empty();
        Ok((!is_trashed).then_some("it is neither in the repository nor in the trash"))
    }
}
