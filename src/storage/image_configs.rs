//! What images say of themselves.

use std::collections::{BTreeMap, HashMap};

use tracing::warn;

use crate::oci::{Descriptor, Digest, ImageConfig};

use super::{Error, Repository, concurrent::concurrently, driver, layout::PathSpec, store::Store};

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
        let read = concurrently(wanted.map(|digest| self.store.image_config(digest))).await?;
        Ok(read.into_iter().flatten().collect())
    }
}

impl Store {
    async fn image_config(&self, digest: Digest) -> Result<Option<(Digest, ImageConfig)>, Error> {
        // A config that was pushed is as long as its manifest says; an older registry may have taken another one.
        if self.stored_size(&digest).await?.is_none_or(|size| size > MAX_CONFIG) {
            return Ok(None);
        }
        match self.driver.get(&PathSpec::BlobData(&digest).path()).await {
            Ok(bytes) if digest.matches(&bytes) => {
                let config = ImageConfig::parse(&bytes);
                Ok(config.map(|config| (digest, config)))
            }
            Ok(_) => {
                warn!(%digest, "the bytes of a config are damaged");
                Ok(None)
            }
            Err(driver::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(Error::driver("read a config", source)),
        }
    }
}
