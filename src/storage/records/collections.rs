//! Records of collections.

use bytes::Bytes;
use ulid::Ulid;

use crate::storage::{Catalog, Error, driver::Durability, layout::PathSpec};

impl Catalog {
    /// A name for a collection.
    #[must_use]
    pub fn name_collection(&self) -> Ulid {
        self.store.ids.next(self.store.clock.now())
    }

    /// Keeps the record of a collection, in place of what it said before.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn put_collection(&self, id: Ulid, content: Bytes, durability: Durability) -> Result<(), Error> {
        let written = self.store.driver.put(&PathSpec::CollectionRecord(id).path(), content, durability).await;
        written.map_err(|source| Error::driver("write a collection's record", source))
    }

    /// The record of a collection; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn collection(&self, id: Ulid) -> Result<Option<Bytes>, Error> {
        self.store.file(PathSpec::CollectionRecord(id), "read a collection's record").await
    }

    /// The names of the collections that have records, oldest first.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn collections(&self) -> Result<Vec<Ulid>, Error> {
        self.store.ids_in(PathSpec::CollectionRecords).await
    }

    /// Forgets a collection. One that is not there is no error.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn remove_collection(&self, id: Ulid) -> Result<(), Error> {
        self.store.remove_record(PathSpec::CollectionRecord(id)).await.map(drop)
    }
}
