//! The end of the appending.

use crate::storage::driver::{Error, Sealed, StagedFile as _, StoragePath, object::fault::broken};

use super::{
    StagedObject, Tail,
    state::{Folder, in_folder, new_name},
};

/// Where what was sealed is.
#[derive(Debug)]
pub(super) enum Seal {
    /// In the buffer.
    InMemory,
    /// Here.
    Object(StoragePath),
}

impl StagedObject {
    pub(super) async fn seal_all(&mut self) -> Result<Sealed, Error> {
        if self.is_broken {
            return Err(broken("seal", &self.at.folder, "a part of a chunk was lost"));
        }
        if self.seal.is_some() {
            return Ok(Sealed::AsAppended);
        }
        self.settle().await?;
        if !self.state.is_sealed {
            self.recall().await?;
            if self.state.parts.is_none() {
                self.seal = Some(Seal::InMemory);
                return Ok(Sealed::AsAppended);
            }
            self.join().await?;
        }
        let path = self.data_path()?;
        let folder = Folder { names: self.bucket().tree(&self.at.folder).await? };
        if !folder.has_others(&self.state) {
            self.seal = Some(Seal::Object(path));
            return Ok(Sealed::AsAppended);
        }
        let own = in_folder(&self.at, &format!("data/{}", new_name()))?;
        self.transfer(&path, &own).await?;
        self.seal = Some(Seal::Object(own));
        Ok(Sealed::MaybeMixed)
    }

    /// Joins the parts, and says so.
    async fn join(&mut self) -> Result<(), Error> {
        if matches!(&self.tail, Tail::Here(buffer) if buffer.length() > 0) {
            self.send_part().await?;
            self.settle().await?;
        }
        self.begin().await?;
        let (path, length) = (self.data_path()?, self.length());
        let Some(parts) = &self.state.parts else { return Ok(()) };
        if let Err(error) = self.bucket().join_parts(&path, &parts.id, &parts.sent).await {
            // The answer to an attempt before this one may have been lost.
            match self.bucket().head(&path).await {
                Ok(found) if found.size == length => {}
                _ => return Err(error),
            }
        }
        self.check_size(&path, length).await?;
        self.state.is_sealed = true;
        let sealed = self.write_state(&[]).await;
        self.state.is_sealed = sealed.is_ok();
        sealed
    }

    pub(super) async fn check_size(&self, path: &StoragePath, expected: u64) -> Result<(), Error> {
        let found = self.bucket().head(path).await?.size;
        if found == expected {
            return Ok(());
        }
        Err(broken("join the parts of", path, format!("{found} bytes are there, and not {expected}")))
    }
}
