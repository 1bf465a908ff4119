//! Records of retention runs.

use bytes::Bytes;

use super::{Catalog, Error, driver::PathComponent};

impl Catalog {
    /// Keeps a record of a run.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn put_run(&self, run: &PathComponent, record: &PathComponent, content: Bytes) -> Result<(), Error> {
        todo!("{run} {record} {}", content.len())
    }

    /// A record of a run; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn run(&self, run: &PathComponent, record: &PathComponent) -> Result<Option<Bytes>, Error> {
        todo!("{run} {record}")
    }
}
