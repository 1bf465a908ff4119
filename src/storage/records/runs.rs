//! Records of retention runs.

use bytes::Bytes;

use crate::storage::{
    Catalog, Error,
    driver::{Durability, PathComponent},
    layout::PathSpec,
};

impl Catalog {
    /// Keeps a record of a run, in place of one of the same name; durable when answered.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn put_run(&self, run: &PathComponent, record: &PathComponent, content: Bytes) -> Result<(), Error> {
        let path = PathSpec::RunRecord(run, record).path();
        let written = self.store.driver.put(&path, content, Durability::Durable).await;
        written.map_err(|source| Error::driver("write a run's record", source))
    }

    /// A record of a run; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn run(&self, run: &PathComponent, record: &PathComponent) -> Result<Option<Bytes>, Error> {
        self.store.file(PathSpec::RunRecord(run, record), "read a run's record").await
    }

    /// The ids of the runs that have records, in order.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn runs(&self) -> Result<Vec<PathComponent>, Error> {
        let names = self.store.names(PathSpec::Runs).await?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Forgets one record of a run. One that is not there is no error.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn remove_run_record(&self, run: &PathComponent, record: &PathComponent) -> Result<(), Error> {
        self.store.remove_record(PathSpec::RunRecord(run, record)).await.map(drop)
    }

    /// Forgets a run with all of its records. One that is not there is no error.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub async fn remove_run(&self, run: &PathComponent) -> Result<(), Error> {
        self.store.remove_folder(PathSpec::Run(run), "remove a run's records").await
    }
}
