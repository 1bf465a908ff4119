//! Records of scrubs.

use bytes::Bytes;
use ulid::Ulid;

use crate::storage::{
    Catalog, Error,
    driver::{Durability, PathComponent},
    layout::PathSpec,
};

impl Catalog {
    /// Keeps a record of a scrub, in place of one of the same name. It needs to be seen, not to survive.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn put_scrub(&self, scrub: Ulid, record: &PathComponent, content: Bytes) -> Result<(), Error> {
        let path = PathSpec::ScrubRecord(scrub, record).path();
        let written = self.store.driver.put(&path, content, Durability::Visible).await;
        written.map_err(|source| Error::driver("write a scrub's record", source))
    }

    /// A record of a scrub; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn scrub(&self, scrub: Ulid, record: &PathComponent) -> Result<Option<Bytes>, Error> {
        self.store.file(PathSpec::ScrubRecord(scrub, record), "read a scrub's record").await
    }

    /// The ids of the scrubs that have records, in order.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn scrubs(&self) -> Result<Vec<Ulid>, Error> {
        self.store.ids_in(PathSpec::Scrubs).await
    }

    /// Forgets a scrub with all of its records. One that is not there is no error.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn remove_scrub(&self, scrub: Ulid) -> Result<(), Error> {
        self.store.remove_folder(PathSpec::Scrub(scrub), "remove a scrub's records").await
    }
}
