//! Which manifests refer to which.

use crate::oci::{Descriptor, Digest};

use super::{Error, Repository};

impl Repository {
    /// The descriptors of the visible manifests whose subject is `subject`.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, Error> {
        todo!("{subject}")
    }
}
