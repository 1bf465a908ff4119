//! A client that pushes: what is missing, then the manifest.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::{
    oci::{Descriptor, Digest, RepositoryName, Tag},
    storage::{Audience, Error, InvalidReference, PutManifest, Repository},
};

use super::{
    asking::{Judged, ask, attempt},
    content::{Item, REPOSITORIES, repository, sha256},
    history::{Kind, Outcome},
    process::Process,
    profile::timing,
    world::World,
};

/// An attempt that came to nothing: the next one may do better.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failed;

/// One attempt at a push, by one process.
pub(super) struct Push<'a> {
    pub(super) world: &'a Arc<World>,
    pub(super) process: &'a Arc<Process>,
    pub(super) repository: &'a RepositoryName,
}

impl Push<'_> {
    /// Pushes a manifest with all that it needs.
    pub(super) fn item<'b>(&'b self, item: &'b Item, tag: Option<&'b Tag>) -> BoxFuture<'b, Result<(), Failed>> {
        Box::pin(async move {
            for child in &item.children {
                self.item(&self.world.content.items[*child], None).await?;
            }
            for blob in &item.blobs {
                self.blob(blob).await?;
            }
            if self.world.chance.hits(self.world.profile.dawdles) {
                // A promise holds for half the grace period.
                self.world.time.sleep(self.world.chance.up_to(timing().grace / 2)).await;
            }
            self.manifest(item, tag).await
        })
    }

    fn place(&self) -> Repository {
        self.process.catalog.repository(self.repository)
    }

    /// Pushes a blob, if it is not promised already.
    pub(super) async fn blob(&self, bytes: &Bytes) -> Result<(), Failed> {
        let (world, digest) = (self.world, sha256(bytes));
        let asked = world.time.now();
        let (place, wanted) = (self.place(), digest.clone());
        let head = ask(world, self.process, async move { place.stat_blob(&wanted, Audience::Pusher).await }).await;
        match head.ok_or(Failed)? {
            Ok(_) => {
                world.history.promised(self.repository, &digest, asked, world.time.now());
                return Ok(());
            }
            Err(Error::BlobUnknown { .. }) => {}
            Err(_) => return Err(Failed),
        }
        if world.chance.hits(world.profile.mounts) {
            let from = repository(world.chance.pick::<&str>(&REPOSITORIES));
            if self.mounted(&digest, from).await? {
                return Ok(());
            }
        }
        self.upload(bytes, &digest).await
    }

    /// Takes a blob over from another repository; whether that worked.
    pub(super) async fn mounted(&self, digest: &Digest, from: RepositoryName) -> Result<bool, Failed> {
        let (world, place, mounted) = (self.world, self.place(), digest.clone());
        let asked = world.time.now();
        let mount = async move { place.mount_blob(&mounted, &from).await };
        let judge = |answer: &Result<Option<Descriptor>, Error>| match answer {
            Ok(Some(_)) => (Outcome::Done, None),
            Ok(None) => (Outcome::NoEffect, None),
            Err(_) => (Outcome::Unknown, None),
        };
        let kind = Kind::Blob { digest: digest.clone() };
        let answer = attempt(world, self.process, Some(self.repository), kind, mount, judge).await;
        let is_mounted = answer.ok_or(Failed)?.map_err(|_| Failed)?.is_some();
        if is_mounted {
            world.history.promised(self.repository, digest, asked, world.time.now());
        }
        Ok(is_mounted)
    }

    async fn upload(&self, bytes: &Bytes, digest: &Digest) -> Result<(), Failed> {
        let (world, place, content) = (self.world, self.place(), bytes.clone());
        let in_two = world.chance.hits(world.profile.in_two);
        let begun = ask(world, self.process, async move {
            let mut upload = place.create_upload().await?;
            let id = upload.id().clone();
            let half = if in_two { content.len() / 2 } else { 0 };
            upload.append(content.slice(..half)).await?;
            upload.suspend().await?;
            Ok::<_, Error>((id, half))
        });
        let (id, half) = begun.await.ok_or(Failed)?.map_err(|_| Failed)?;
        let asked = world.time.now();
        // Another process may go on with it.
        let living = world.living();
        let process = if in_two && !living.is_empty() { world.chance.pick(&living) } else { self.process };
        let (place, rest, expected) =
            (process.catalog.repository(self.repository), bytes.slice(half..), digest.clone());
        let commit = async move {
            let mut upload = place.resume_upload(&id).await?;
            upload.append(rest).await?;
            upload.commit(&expected).await
        };
        let kind = Kind::Blob { digest: digest.clone() };
        let answer = attempt(world, process, Some(self.repository), kind, commit, judged).await;
        answer.ok_or(Failed)?.map_err(|_| Failed)?;
        world.history.promised(self.repository, digest, asked, world.time.now());
        Ok(())
    }

    /// Pushes a manifest, whose blobs are there.
    pub(super) async fn manifest(&self, item: &Item, tag: Option<&Tag>) -> Result<(), Failed> {
        let (world, place) = (self.world, self.place());
        let tags: Vec<Tag> = tag.cloned().into_iter().collect();
        let put = PutManifest {
            digest: tag.is_none().then(|| item.digest.clone()),
            tags: tags.clone(),
            manifest: item.manifest(),
            bytes: item.bytes.clone(),
            immutable: Vec::new(),
            actor: "client".into(),
        };
        let asked = world.time.now();
        let kind = Kind::Put { digest: item.digest.clone(), tags };
        let push = async move { place.put_manifest(put).await };
        let answer = attempt(world, self.process, Some(self.repository), kind, push, judged).await;
        if let Some(Err(Error::InvalidReferences(invalid))) = &answer
            && world.profile.keeps_time()
        {
            let holds = timing().grace / 2;
            for reference in invalid {
                let InvalidReference::BlobUnknown(blob) = reference else { continue };
                let asked = world.since(asked);
                world.expect(world.history.refute_missing(self.repository, &blob.digest, asked, holds));
            }
        }
        answer.ok_or(Failed)?.map(drop).map_err(|_| Failed)
    }
}

fn judged<T>(answer: &Result<T, Error>) -> Judged {
    let outcome = match answer {
        Ok(_) => Outcome::Done,
        Err(Error::InvalidReferences(_) | Error::DigestMismatch { .. } | Error::Frozen { .. }) => Outcome::NoEffect,
        Err(_) => Outcome::Unknown,
    };
    (outcome, None)
}
