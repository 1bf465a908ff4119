//! Files in memory, for tests; a crash loses what was not made durable.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream;
use jiff::Timestamp;

use crate::storage::Clock;

use super::{
    ByteStream, Durability, Entry, Error, Metadata, Purge, StagedFile, Staging, StorageDriver, StoragePath,
    appended_file::{self, AppendedFile, Appending},
};

/// How much of a file a stream yields at once: little, so that tests see several chunks.
const CHUNK_BYTES: usize = 1024;

type Files = BTreeMap<StoragePath, File>;

#[derive(Debug, Clone)]
struct File {
    content: Bytes,
    modified: Timestamp,
}

#[derive(Debug, Default)]
struct Images {
    /// What every reader sees.
    visible: Files,
    /// What is left after a crash.
    durable: Files,
}

/// A store in memory.
#[derive(Debug, Clone)]
pub(in crate::storage) struct MemoryDriver {
    images: Arc<Mutex<Images>>,
    clock: Arc<dyn Clock>,
}

impl MemoryDriver {
    pub(in crate::storage) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { images: Arc::default(), clock }
    }

    /// Forgets everything that was not durable.
    pub(in crate::storage) fn crash(&self) {
        let mut images = self.images();
        images.visible = images.durable.clone();
    }

    /// The paths of all files that readers see.
    pub(in crate::storage) fn paths(&self) -> Vec<StoragePath> {
        self.images().visible.keys().cloned().collect()
    }

    /// Puts a file there as another program would.
    pub(in crate::storage) fn put_now(&self, path: &StoragePath, content: &str) {
        let file = File { content: Bytes::copy_from_slice(content.as_bytes()), modified: self.clock.now() };
        let mut images = self.images();
        images.durable.insert(path.clone(), file.clone());
        images.visible.insert(path.clone(), file);
    }

    /// Removes a file as another program would.
    pub(in crate::storage) fn remove_now(&self, path: &StoragePath) {
        let mut images = self.images();
        images.durable.remove(path);
        images.visible.remove(path);
    }

    fn images(&self) -> MutexGuard<'_, Images> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, path: &StoragePath) -> Result<File, Error> {
        self.images().visible.get(path).cloned().ok_or_else(|| not_found(path))
    }
}

#[async_trait]
impl StorageDriver for MemoryDriver {
    async fn get(&self, path: &StoragePath) -> Result<Bytes, Error> {
        self.file(path).map(|file| file.content)
    }

    async fn read(&self, path: &StoragePath, range: Range<u64>) -> Result<ByteStream, Error> {
        let content = self.file(path)?.content;
        let range = to_usize(range.start)..to_usize(range.end);
        if range.start > range.end || range.end > content.len() {
            return Err(invalid(path, "read", "the range is not within the file"));
        }
        let wanted = content.slice(range);
        let chunks: Vec<_> = wanted.chunks(CHUNK_BYTES).map(|chunk| Ok(wanted.slice_ref(chunk))).collect();
        Ok(Box::pin(stream::iter(chunks)))
    }

    async fn stat(&self, path: &StoragePath) -> Result<Metadata, Error> {
        let File { content, modified } = self.file(path)?;
        Ok(Metadata { size: content.len() as u64, modified })
    }

    async fn list(&self, directory: &StoragePath, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, Error> {
        let images = self.images();
        let depth = directory.components().count();
        let mut names = BTreeMap::new();
        for path in images.visible.keys().filter(|path| path.starts_with(directory) && *path != directory) {
            let mut rest = path.components().skip(depth);
            if let Some(name) = rest.next() {
                names.insert(name, rest.next().is_some());
            }
        }
        if names.is_empty() {
            return Err(not_found(directory));
        }
        let wanted = names.into_iter().filter(|(name, _)| after.is_none_or(|after| *name > after));
        Ok(wanted.take(limit).map(|(name, is_directory)| Entry { name: name.into(), is_directory }).collect())
    }

    async fn put(&self, path: &StoragePath, content: Bytes, durability: Durability) -> Result<(), Error> {
        let file = File { content, modified: self.clock.now() };
        let mut images = self.images();
        if durability == Durability::Durable {
            images.durable.insert(path.clone(), file.clone());
        }
        images.visible.insert(path.clone(), file);
        Ok(())
    }

    async fn stage(&self, at: &Staging, started_at: Bytes) -> Result<Box<dyn StagedFile>, Error> {
        Ok(Box::new(AppendedFile::stage(self.clone(), at, started_at).await?))
    }

    async fn resume(&self, at: &Staging) -> Result<Box<dyn StagedFile>, Error> {
        Ok(Box::new(AppendedFile::resume(self.clone(), at).await?))
    }

    async fn last_use(&self, at: &Staging) -> Result<Timestamp, Error> {
        let images = self.images();
        let files = images.visible.iter().filter(|(path, _)| path.starts_with(&at.folder));
        files.map(|(_, file)| file.modified).max().ok_or_else(|| not_found(&at.folder))
    }

    async fn purge(&self, at: &Staging, unused_since: Timestamp) -> Result<Purge, Error> {
        appended_file::purge(self, at, unused_since).await
    }

    async fn touch(&self, path: &StoragePath, modified: Timestamp) -> Result<(), Error> {
        let mut images = self.images();
        images.visible.get_mut(path).ok_or_else(|| not_found(path))?.modified = modified;
        Ok(())
    }

    async fn delete(&self, path: &StoragePath) -> Result<(), Error> {
        let mut images = self.images();
        images.durable.remove(path);
        images.visible.remove(path).map(drop).ok_or_else(|| not_found(path))
    }

    async fn delete_directory(&self, path: &StoragePath) -> Result<(), Error> {
        let mut images = self.images();
        images.durable.retain(|at, _| !at.starts_with(path));
        images.visible.retain(|at, _| !at.starts_with(path));
        Ok(())
    }

    async fn signed_url(&self, _path: &StoragePath, _expires: Duration) -> Result<Option<String>, Error> {
        Ok(None)
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn was_interrupted(&self) -> bool {
        // Nobody says when its process ends.
        true
    }

    fn fenced(self: Arc<Self>) -> Arc<dyn StorageDriver> {
        self
    }
}

#[async_trait]
impl Appending for MemoryDriver {
    async fn append(&self, path: &StoragePath, offset: u64, chunk: Bytes) -> Result<(), Error> {
        let mut images = self.images();
        let before = images.visible.get(path).map(|file| file.content.clone()).unwrap_or_default();
        if !images.visible.contains_key(path) && offset > 0 {
            return Err(not_found(path));
        }
        let Some(kept) = before.get(..to_usize(offset)) else {
            return Err(invalid(path, "append to", "the offset is behind the end"));
        };
        let content = [kept, &chunk].concat().into();
        images.visible.insert(path.clone(), File { content, modified: self.clock.now() });
        Ok(())
    }

    async fn sync(&self, path: &StoragePath) -> Result<(), Error> {
        let file = self.file(path)?;
        self.images().durable.insert(path.clone(), file);
        Ok(())
    }

    async fn rename(&self, from: &StoragePath, target: &StoragePath) -> Result<(), Error> {
        let mut images = self.images();
        let file = images.visible.remove(from).ok_or_else(|| not_found(from))?;
        let synced = images.durable.remove(from);
        assert_eq!(synced.map(|file| file.content), Some(file.content.clone()), "{from} is published unsynced");
        images.durable.insert(target.clone(), file.clone());
        images.visible.insert(target.clone(), file);
        Ok(())
    }
}

fn not_found(path: &StoragePath) -> Error {
    Error::NotFound { path: path.clone() }
}

fn invalid(path: &StoragePath, action: &'static str, reason: &'static str) -> Error {
    Error::Io { action, path: path.clone(), source: io::Error::new(io::ErrorKind::InvalidInput, reason) }
}

fn to_usize(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

mod tests {
    use crate::storage::{driver::suite, fixtures::ManualClock};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_suite_passes() {
        suite::run(suite::Subject::alone(Arc::new(MemoryDriver::new(Arc::new(ManualClock::new()))))).await;
    }

    #[tokio::test]
    async fn a_crash_loses_what_was_only_visible() {
        let driver = MemoryDriver::new(Arc::new(ManualClock::new()));
        let (durable, visible) = ("durable".parse().unwrap(), "visible".parse().unwrap());
        driver.put(&durable, Bytes::from("x"), Durability::Durable).await.unwrap();
        driver.put(&visible, Bytes::from("x"), Durability::Visible).await.unwrap();
        driver.crash();
        assert_eq!(driver.paths(), [durable]);
    }
}
