//! Whether a store keeps what docs/protocol.md relies on (assumption A1): what was written, overwritten or removed is
//! read and listed so at once, by every client, through the address that is configured.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::storage::entropy;

use super::{Durability, Error, PathComponent, StorageDriver, StoragePath};

/// How many keys are tried, all at once: enough to meet several servers behind one address.
const KEYS: usize = 16;

/// How many names are asked for at once when the list is read in pages: so few that there are some.
const PAGE: usize = 3;

/// How often each key is written and removed again.
const ROUNDS: usize = 3;

/// Something that was read or listed in another way than it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The key.
    pub path: StoragePath,
    /// What was seen, as a sentence about the store.
    pub seen: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.seen)
    }
}

/// Writes, reads, lists and removes some small files in a folder that nobody else uses, with the ordinary client and
/// the fenced one. What is found is empty where the store keeps the assumption.
///
/// # Errors
/// Where the store could not be asked.
pub async fn self_test(driver: Arc<dyn StorageDriver>, folder: &StoragePath) -> Result<Vec<Violation>, Error> {
    let own = component(&format!("{:032x}", entropy::bits()), folder)?;
    let folder = folder.child(&own);
    let test = Test { fenced: Arc::clone(&driver).fenced(), driver, folder };
    let found = stream::iter((0..KEYS).map(|number| test.key(number))).buffer_unordered(KEYS);
    let found = found.try_collect::<Vec<_>>().await;
    let in_pages = test.pages().await;
    let removed = test.driver.delete_directory(&test.folder).await;
    let mut found: Vec<Violation> = found?.into_iter().flatten().chain(in_pages?).collect();
    removed?;
    match test.driver.list(&test.folder, None, 1).await {
        Err(Error::NotFound { .. }) => {}
        Ok(_) => found.push(Violation { path: test.folder, seen: "a removed folder was listed" }),
        Err(error) => return Err(error),
    }
    Ok(found)
}

fn component(name: &str, folder: &StoragePath) -> Result<PathComponent, Error> {
    name.parse().map_err(|error| Error::Io {
        action: "name a file in",
        path: folder.clone(),
        source: std::io::Error::other(error),
    })
}

fn key_name(number: usize) -> String {
    format!("key-{number:03}")
}

struct Test {
    driver: Arc<dyn StorageDriver>,
    fenced: Arc<dyn StorageDriver>,
    folder: StoragePath,
}

impl Test {
    /// One key, through its life.
    async fn key(&self, number: usize) -> Result<Vec<Violation>, Error> {
        let name = component(&key_name(number), &self.folder)?;
        let path = self.folder.child(&name);
        let mut found = Vec::new();
        let mut note = |seen| found.push(Violation { path: path.clone(), seen });
        for round in 0..ROUNDS {
            // A store may remember that it was asked for what was not there.
            if self.read(&path).await?.is_some() {
                note("what is absent was read");
            }
            for content in [format!("{round}: first"), format!("{round}: second, and longer")] {
                let content = Bytes::from(content);
                self.driver.put(&path, content.clone(), Durability::Durable).await?;
                if self.read(&path).await?.as_ref() != Some(&content) {
                    note("a read did not see the last write");
                }
                if self.fenced.stat(&path).await.is_ok_and(|found| found.size != content.len() as u64) {
                    note("a look did not see the last write");
                }
                if !self.is_listed(&name).await? {
                    note("a list did not see what was written");
                }
            }
            self.fenced.delete(&path).await?;
            if self.read(&path).await?.is_some() {
                note("a read saw what was removed");
            }
            if self.is_listed(&name).await? {
                note("a list saw what was removed");
            }
        }
        Ok(found)
    }

    /// All keys at once, listed in pages: a store may end a list early, or go on at another place than it was told.
    async fn pages(&self) -> Result<Vec<Violation>, Error> {
        let names = (0..KEYS).map(|number| component(&key_name(number), &self.folder));
        let names = names.collect::<Result<Vec<_>, _>>()?;
        let put = async |name: &PathComponent| {
            self.driver.put(&self.folder.child(name), Bytes::from_static(b"listed"), Durability::Durable).await
        };
        stream::iter(names.iter().map(put)).buffer_unordered(KEYS).try_collect::<()>().await?;
        let mut listed: Vec<String> = Vec::new();
        // One more than there are ends also what never ends.
        while listed.len() <= KEYS {
            let page = self.driver.list(&self.folder, listed.last().map(String::as_str), PAGE).await?;
            let is_last = page.len() < PAGE;
            listed.extend(page.into_iter().map(|entry| entry.name));
            if is_last {
                break;
            }
        }
        let is_whole = listed.iter().eq(names.iter().map(PathComponent::as_str));
        let seen = "a list in pages was not the whole list";
        Ok(if is_whole { Vec::new() } else { vec![Violation { path: self.folder.clone(), seen }] })
    }

    /// By both clients, which have connections of their own; the first answer that is not the other's is no answer.
    async fn read(&self, path: &StoragePath) -> Result<Option<Bytes>, Error> {
        let mut seen = Vec::new();
        for client in [&self.driver, &self.fenced] {
            seen.push(match client.get(path).await {
                Ok(content) => Some(content),
                Err(Error::NotFound { .. }) => None,
                Err(error) => return Err(error),
            });
        }
        let second = seen.pop().flatten();
        let first = seen.pop().flatten();
        Ok(if first == second { first } else { Some(Bytes::from_static(b"two answers")) })
    }

    async fn is_listed(&self, name: &PathComponent) -> Result<bool, Error> {
        match self.driver.list(&self.folder, None, usize::MAX).await {
            Ok(entries) => Ok(entries.iter().any(|entry| entry.name == name.as_str())),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        ops::Range,
        sync::{Mutex, atomic::AtomicUsize},
        time::Duration,
    };

    use async_trait::async_trait;
    use jiff::Timestamp;

    use crate::storage::{
        driver::{ByteStream, Entry, Metadata, Purge, StagedFile, Staging, memory::MemoryDriver},
        fixtures::ManualClock,
    };

    use super::*;

    /// How a store is late.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Late {
        Never,
        /// Every seventh read answers what the same read answered before.
        Reads,
        /// Every seventh list does.
        Lists,
        /// A list that goes on behind a name ends after one more.
        CutShort,
    }

    #[derive(Debug)]
    struct LateStore {
        inner: MemoryDriver,
        late: Late,
        calls: AtomicUsize,
        reads: Mutex<std::collections::HashMap<StoragePath, Option<Bytes>>>,
        list: Mutex<Vec<Entry>>,
    }

    impl LateStore {
        fn is_late(&self, late: Late) -> bool {
            self.late == late && self.calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) % 7 == 6
        }
    }

    #[async_trait]
    impl StorageDriver for LateStore {
        async fn get(&self, path: &StoragePath) -> Result<Bytes, Error> {
            let now = self.inner.get(path).await.ok();
            let before = self.reads.lock().unwrap().insert(path.clone(), now.clone()).flatten();
            let seen = if self.is_late(Late::Reads) { before } else { now };
            seen.ok_or_else(|| Error::NotFound { path: path.clone() })
        }

        async fn read(&self, path: &StoragePath, range: Range<u64>) -> Result<ByteStream, Error> {
            self.inner.read(path, range).await
        }

        async fn stat(&self, path: &StoragePath) -> Result<Metadata, Error> {
            self.inner.stat(path).await
        }

        async fn list(&self, folder: &StoragePath, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, Error> {
            let mut now = self.inner.list(folder, after, limit).await?;
            if self.late == Late::CutShort && after.is_some() {
                now.truncate(1);
            }
            let before = std::mem::replace(&mut *self.list.lock().unwrap(), now.clone());
            Ok(if self.is_late(Late::Lists) { before } else { now })
        }

        async fn put(&self, path: &StoragePath, content: Bytes, durability: Durability) -> Result<(), Error> {
            self.inner.put(path, content, durability).await
        }

        async fn stage(&self, at: &Staging, started_at: Bytes) -> Result<Box<dyn StagedFile>, Error> {
            self.inner.stage(at, started_at).await
        }

        async fn resume(&self, at: &Staging) -> Result<Box<dyn StagedFile>, Error> {
            self.inner.resume(at).await
        }

        async fn last_use(&self, at: &Staging) -> Result<Timestamp, Error> {
            self.inner.last_use(at).await
        }

        async fn purge(&self, at: &Staging, unused_since: Timestamp) -> Result<Purge, Error> {
            self.inner.purge(at, unused_since).await
        }

        async fn touch(&self, path: &StoragePath, modified: Timestamp) -> Result<(), Error> {
            self.inner.touch(path, modified).await
        }

        async fn delete(&self, path: &StoragePath) -> Result<(), Error> {
            self.inner.delete(path).await
        }

        async fn delete_directory(&self, path: &StoragePath) -> Result<(), Error> {
            self.inner.delete_directory(path).await
        }

        async fn signed_url(&self, path: &StoragePath, expires: Duration) -> Result<Option<String>, Error> {
            self.inner.signed_url(path, expires).await
        }

        fn is_shared(&self) -> bool {
            true
        }

        fn fenced(self: Arc<Self>) -> Arc<dyn StorageDriver> {
            self
        }
    }

    async fn violations(late: Late) -> Vec<Violation> {
        let inner = MemoryDriver::new(Arc::new(ManualClock::new()));
        let store = LateStore {
            inner: inner.clone(),
            late,
            calls: AtomicUsize::default(),
            reads: Mutex::default(),
            list: Mutex::default(),
        };
        let found = self_test(Arc::new(store), &"lagan/v1/self-test".parse().unwrap()).await.unwrap();
        assert_eq!(inner.paths(), [], "it leaves nothing behind");
        found
    }

    #[tokio::test]
    async fn a_store_that_keeps_the_assumption_passes_and_a_late_one_does_not() {
        assert_eq!(violations(Late::Never).await, []);
        for late in [Late::Reads, Late::Lists, Late::CutShort] {
            assert_ne!(violations(late).await, [], "{late:?}");
        }
    }
}
