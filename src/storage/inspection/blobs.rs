//! The bytes: each blob is hashed.

use crate::oci::{Algorithm, Digest};
use crate::storage::{
    Error,
    driver::{self, PathComponent},
    error::with_causes,
    guard::keys::Key,
    layout::PathSpec,
};

use super::{Finding, FindingKind, Inspection, Treatment};

/// What is wrong with a blob.
enum BlobDamage {
    /// It hashes to something else.
    Corrupt { actual: Digest, size: u64 },
    /// The medium does not give it back.
    Unreadable(driver::Error),
}

impl Inspection {
    pub(super) async fn blobs(&self) -> Result<(), Error> {
        for algorithm in Algorithm::ALL {
            let folders = self.store.names(PathSpec::BlobFanOuts(algorithm)).await?;
            self.progress.folders.add(folders.len() as u64);
            for folder in folders {
                if let Ok(folder) = folder.parse::<PathComponent>() {
                    let names = self.store.names(PathSpec::BlobFanOut(algorithm, &folder)).await?;
                    let digests = names.iter().filter_map(|hex| format!("{algorithm}:{hex}").parse().ok());
                    let digests: Vec<Digest> = digests.collect();
                    self.each(&digests, |digest| self.blob(digest.clone())).await?;
                }
                self.progress.folders_done.add(1);
            }
        }
        Ok(())
    }

    async fn blob(&self, digest: Digest) -> Result<(), Error> {
        let digest = &digest;
        let keys = [Key::Blob(digest.clone())];
        let found = self.steady(keys, || self.blob_damage(digest)).await?;
        self.progress.blobs.add(1);
        let Some((damage, held)) = found else { return Ok(()) };
        let finding = Finding::new(FindingKind::CorruptBlob, PathSpec::BlobData(digest).path()).about(digest);
        match damage {
            BlobDamage::Unreadable(error) => {
                let finding = Finding { kind: FindingKind::Unreadable, ..finding.saying(with_causes(&error)) };
                self.report(finding, Treatment::Beyond).await;
            }
            BlobDamage::Corrupt { actual, size } => {
                let what = if size == 0 { "it is empty".to_owned() } else { format!("it hashes to {actual}") };
                if !self.is_repairing() {
                    self.report(finding.saying(what), Treatment::Reported).await;
                    return Ok(());
                }
                let place = held.put_aside(digest, size).await?;
                let finding = finding.saying(format!("{what}; moved to {place}, so that it can be pushed again"));
                self.report(finding, Treatment::Repaired).await;
            }
        }
        Ok(())
    }

    async fn blob_damage(&self, digest: &Digest) -> Result<Option<BlobDamage>, Error> {
        match self.hash_of(digest, digest.algorithm()).await {
            Ok(Some((actual, _))) if actual == *digest => Ok(None),
            Ok(Some((actual, size))) => Ok(Some(BlobDamage::Corrupt { actual, size })),
            Ok(None) => Ok(None),
            Err(Error::Driver { source, .. }) => Ok(Some(BlobDamage::Unreadable(source))),
            Err(error) => Err(error),
        }
    }

    /// What the bytes stored under a digest hash to, and how many they are; `None` where there are none.
    pub(super) async fn hash_of(&self, digest: &Digest, algorithm: Algorithm) -> Result<Option<(Digest, u64)>, Error> {
        let _turn = self.hashing.acquire().await;
        self.store.hash_of(digest, algorithm, |bytes| self.progress.bytes.add(bytes)).await
    }
}
