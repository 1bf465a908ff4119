//! What images say of themselves.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use tracing::warn;

use crate::oci::{Descriptor, Digest, ImageConfig};

use crate::storage::{
    Error, Repository,
    concurrent::{BATCH, MAX_IN_BATCH, in_batches},
    driver::{self, Look, Seen},
    entropy::on_a_thread,
    layout::PathSpec,
    store::Store,
};

/// The media types of images' configs: OCI's and Docker's.
const IMAGE_CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// The longest config that is read, in bytes. Those of images have some 10 KB; the longest are histories of hundreds of
/// steps, far below this.
const MAX_CONFIG: u64 = 1 << 20;

/// Whether a descriptor is that of an image's config, rather than of another artifact's.
#[must_use]
pub fn is_image_config(descriptor: &Descriptor) -> bool {
    IMAGE_CONFIGS.contains(&descriptor.media_type.as_str())
}

impl Repository {
    /// What configs say, by their digests. One that cannot be read, is damaged or too long is not among them.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn image_configs(
        &self,
        configs: impl Iterator<Item = Descriptor>,
    ) -> Result<HashMap<Digest, ImageConfig>, Error> {
        let wanted: BTreeMap<Digest, u64> = configs.map(|config| (config.digest, config.size)).collect();
        let wanted = wanted.into_iter().filter(|(_, size)| *size <= MAX_CONFIG).map(|(digest, _)| digest);
        let wanted: Vec<Digest> = wanted.collect();
        let read = in_batches(wanted.chunks(BATCH).map(|batch| self.store.some_image_configs(batch))).await?;
        Ok(read.into_iter().collect())
    }
}

fn parse(digest: Digest, bytes: &[u8]) -> Option<(Digest, ImageConfig)> {
    if digest.matches(bytes) {
        return ImageConfig::parse(bytes).map(|config| (digest, config));
    }
    warn!(%digest, "the bytes of a config are damaged");
    None
}

impl Store {
    async fn some_image_configs(&self, digests: &[Digest]) -> Result<Vec<(Digest, ImageConfig)>, Error> {
        let look = |digest| Look::Content { path: PathSpec::BlobData(digest).path(), max_size: MAX_IN_BATCH };
        let looks: Vec<Look> = digests.iter().map(look).collect();
        let seen = digests.iter().cloned().zip(self.look(&looks).await?);
        let (short, long): (Vec<_>, Vec<_>) = seen.partition(|(_, seen)| !matches!(seen, Seen::TooLong(_)));
        let short = short.into_iter().filter_map(|(digest, seen)| Some((digest, seen.content()?)));
        let short: Vec<(Digest, Bytes)> = short.collect();
        let parsed =
            on_a_thread(move || short.into_iter().filter_map(|(digest, bytes)| parse(digest, &bytes)).collect());
        let mut configs: Vec<_> = parsed.await.map_err(|error| Error::interrupted("read configs", error))?;
        for (digest, _) in long {
            configs.extend(self.image_config(digest).await?);
        }
        Ok(configs)
    }

    async fn image_config(&self, digest: Digest) -> Result<Option<(Digest, ImageConfig)>, Error> {
        // A config that was pushed is as long as its manifest says; an older registry may have taken another one.
        if self.stored_size(&digest).await?.is_none_or(|size| size > MAX_CONFIG) {
            return Ok(None);
        }
        match self.driver.get(&PathSpec::BlobData(&digest).path()).await {
            Ok(bytes) => Ok(parse(digest, &bytes)),
            Err(driver::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(Error::driver("read a config", source)),
        }
    }
}
