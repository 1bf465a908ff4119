//! Tags of a repository.

use crate::oci::Tag;

use super::{Error, Page, Repository};

impl Repository {
    /// At most `limit` visible tags in order, after `after` (any text).
    ///
    /// # Errors
    /// [`Error::RepositoryUnknown`], [`Error::Driver`].
    pub async fn tags(&self, after: Option<&str>, limit: usize) -> Result<Page<Tag>, Error> {
        todo!("{after:?} {limit}")
    }
}
