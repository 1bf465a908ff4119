//! What a registry serves.

use lagan::oci::Digest;

use super::image::Image;

/// Some registry, this one or another.
pub(crate) trait Content: Sync {
    /// A manifest's bytes; `None` where there is none.
    fn manifest(
        &self,
        repository: &str,
        reference: &str,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, String>> + Send;

    /// A blob's bytes; `None` where there is none.
    fn blob(&self, repository: &str, digest: &Digest) -> impl Future<Output = Result<Option<Vec<u8>>, String>> + Send;
}

/// Why an image is not served as it is; with all that it needs.
pub(crate) async fn check_image(
    of: &impl Content,
    repository: &str,
    references: &[String],
    image: &Image,
) -> Result<(), String> {
    for reference in references {
        match of.manifest(repository, reference).await? {
            Some(bytes) if bytes == image.manifest => {}
            Some(_) => return Err(format!("{repository} {reference} is another manifest")),
            None => return Err(format!("{repository} {reference} is not there")),
        }
    }
    for (digest, bytes) in &image.blobs {
        check_blob(of, repository, digest, bytes).await?;
    }
    for child in &image.children {
        Box::pin(check_image(of, repository, &[child.digest().to_string()], child)).await?;
    }
    Ok(())
}

pub(crate) async fn check_blob(
    of: &impl Content,
    repository: &str,
    digest: &Digest,
    bytes: &[u8],
) -> Result<(), String> {
    match of.blob(repository, digest).await? {
        Some(found) if found == bytes => Ok(()),
        Some(_) => Err(format!("blob {repository} {digest} has other bytes")),
        None => Err(format!("blob {repository} {digest} is not there")),
    }
}

/// Why something that is gone is not.
pub(crate) async fn check_gone(of: &impl Content, repository: &str, references: &[String]) -> Result<(), String> {
    for reference in references {
        if of.manifest(repository, reference).await?.is_some() {
            return Err(format!("{repository} {reference} was deleted, and is served"));
        }
    }
    Ok(())
}

/// Why a blob that is gone is not.
pub(crate) async fn check_no_blob(of: &impl Content, repository: &str, digest: &Digest) -> Result<(), String> {
    match of.blob(repository, digest).await? {
        Some(_) => Err(format!("blob {repository} {digest} was deleted, and is served")),
        None => Ok(()),
    }
}
