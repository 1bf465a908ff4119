//! Links: that they name what they should, and that it is there.

use std::collections::BTreeSet;

use crate::oci::{Algorithm, Digest, RepositoryName};
use crate::storage::{Error, blobs::link::Link, guard::keys::Key, layout::PathSpec};

use super::{Finding, FindingKind, Inspection};

/// What is wrong with a link.
pub(super) enum LinkDamage {
    /// It holds no digest.
    Torn,
    /// It names this, which is other content.
    Names(Digest),
}

impl Inspection {
    /// Looks at what the link of each blob holds; the blobs.
    pub(super) async fn layers(&self, name: &RepositoryName) -> Result<Vec<Digest>, Error> {
        let mut layers = Vec::new();
        for algorithm in Algorithm::ALL {
            let names = self.store.names(PathSpec::Layers(name, algorithm)).await?;
            layers.extend(names.iter().filter_map(|hex| format!("{algorithm}:{hex}").parse::<Digest>().ok()));
        }
        self.each(&layers, |digest| self.layer_link(name, digest.clone())).await?;
        Ok(layers)
    }

    async fn layer_link(&self, name: &RepositoryName, digest: Digest) -> Result<(), Error> {
        let keys = [Key::Revision(name.clone(), digest.clone())];
        self.link(PathSpec::LayerLink(name, &digest), name, &digest, keys).await
    }

    /// Looks for links to bytes that are gone. Those that a visible manifest needs are looked at with it.
    pub(super) async fn stale_layers(
        &self,
        name: &RepositoryName,
        layers: &[Digest],
        needed: &BTreeSet<Digest>,
    ) -> Result<(), Error> {
        let others: Vec<Digest> = layers.iter().filter(|digest| !needed.contains(digest)).cloned().collect();
        self.each(&others, |digest| self.stale_layer(name, digest.clone())).await
    }

    async fn stale_layer(&self, name: &RepositoryName, digest: Digest) -> Result<(), Error> {
        let digest = &digest;
        let spec = PathSpec::LayerLink(name, digest);
        let keys = [Key::Revision(name.clone(), digest.clone()), Key::Blob(digest.clone())];
        let found = self.steady(keys, || self.lost_content(spec, digest)).await?;
        let Some((target, held)) = found else { return Ok(()) };
        let finding = Finding::new(FindingKind::StaleLink, spec.path()).of(name).about(digest);
        let finding = finding.saying(format!("the bytes of {target} are gone, and no manifest here needs them"));
        self.mend(finding, async {
            held.store.remove_link(spec).await?;
            held.store.clear_everywhere(name, digest).await
        })
        .await
    }

    /// What a link names, where that is not there.
    async fn lost_content(&self, spec: PathSpec<'_>, digest: &Digest) -> Result<Option<Digest>, Error> {
        let Some(target) = self.store.link(spec, digest).await? else { return Ok(None) };
        Ok(self.store.stored_size(&target).await?.is_none().then_some(target))
    }

    /// Looks at what one link holds, and mends it: a link belongs to the digest in its own path.
    pub(super) async fn link(
        &self,
        spec: PathSpec<'_>,
        name: &RepositoryName,
        own: &Digest,
        keys: impl IntoIterator<Item = Key> + Send,
    ) -> Result<(), Error> {
        let Some((damage, held)) = self.steady(keys, || self.link_damage(spec, own)).await? else { return Ok(()) };
        let (kind, detail) = match damage {
            LinkDamage::Torn => (FindingKind::TornLink, "it holds no digest".to_owned()),
            LinkDamage::Names(other) => (FindingKind::WrongLink, format!("it names {other}, which is other content")),
        };
        let finding = Finding::new(kind, spec.path()).of(name).about(own).saying(detail);
        self.mend(finding, async {
            held.store.put_link(spec, own).await?;
            held.store.clear_everywhere(name, own).await
        })
        .await
    }

    async fn link_damage(&self, spec: PathSpec<'_>, own: &Digest) -> Result<Option<LinkDamage>, Error> {
        let target = match self.store.raw_link(spec).await? {
            None => return Ok(None),
            Some(Link::Torn) => return Ok(Some(LinkDamage::Torn)),
            Some(Link::To(target)) => target,
        };
        if target == *own {
            return Ok(None);
        }
        // Stock distribution's SHA-512 links name SHA-256 content, which then has both digests.
        let is_alias = target.algorithm() != own.algorithm()
            && self.hash_of(&target, own.algorithm()).await?.is_none_or(|(actual, _)| actual == *own);
        Ok((!is_alias).then_some(LinkDamage::Names(target)))
    }
}
