//! One process, one directory.
//!
//! ```text
//! lagan/v1/local/
//! ├── lock            locked by the process that serves the directory
//! ├── control         a socket, by which commands reach that process
//! ├── clean           there while nobody does, if the last one stopped in order
//! ├── boot            see [`boot`](super::boot), as of `ages-lost`
//! └── staging/        files on their way to their place; emptied at every start
//! ```

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use jiff::Timestamp;
use rustix::{
    fs::{self as sys, AtFlags, FlockOperation, OFlags},
    io::Errno,
};
use tokio::{task::spawn_blocking, time::sleep};
use tracing::info;

use crate::storage::driver::StoragePath;

use super::{
    FilesystemDriver,
    barriers::OpenBarriers,
    boot::note_boot,
    health::Health,
    remove::remove_tree,
    root::{FILE_MODE, Root},
    unsynced_folders::UnsyncedFolders,
    volume::{Volume, retry},
};

const LOCAL: &str = "lagan/v1/local";
const LOCK: &str = "lock";
const CLEAN: &str = "clean";
const CONTROL: &str = "control";
const STAGING: &str = "staging";

impl FilesystemDriver {
    /// Where, in a folder, the process that serves it listens for commands.
    #[must_use]
    pub fn control_socket(directory: &Path) -> PathBuf {
        directory.join(LOCAL).join(CONTROL)
    }
}

/// How often a process that waits for the lock looks again. The wait is for another process to stop, which takes
/// seconds; a quarter of one is not noticed in it.
const LOCK_POLL: Duration = Duration::from_millis(250);

/// A lock that is held, until this is dropped or the process ends in any way.
#[derive(Debug)]
pub(super) struct DirectoryLock(#[expect(dead_code, reason = "held for its drop")] OwnedFd);

/// A folder whose lock is not held yet. Whoever serves it is alive, and not ready.
#[derive(Debug)]
pub struct UnlockedDirectory {
    path: PathBuf,
    root: Root,
    lock_file: OwnedFd,
}

pub(super) fn staging() -> StoragePath {
    StoragePath::from_layout(format!("{LOCAL}/{STAGING}"))
}

fn local() -> StoragePath {
    StoragePath::from_layout(LOCAL.into())
}

impl UnlockedDirectory {
    /// Opens a folder, creating it where it is absent. Nothing that another process relies on is touched.
    pub(super) async fn prepare(path: &Path) -> io::Result<Self> {
        let path = path.to_owned();
        blocking(move || {
            let root = Root::open(&path)?;
            std::fs::create_dir_all(path.join(LOCAL))?;
            let lock_path = StoragePath::from_layout(format!("{LOCAL}/{LOCK}"));
            let lock_file = root.open_at(&lock_path, OFlags::RDWR | OFlags::CREATE)?;
            Ok(Self { path, root, lock_file })
        })
        .await
    }

    /// Takes the lock if nobody holds it; whether it is held by this process now.
    ///
    /// # Errors
    /// Where the file system cannot lock.
    pub fn try_lock(&self) -> io::Result<bool> {
        match retry(|| sys::flock(&self.lock_file, FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits for the lock, for as long as another process holds it, and then makes the store ready.
    ///
    /// # Errors
    /// As [`Self::try_lock`], or where what an earlier process left cannot be synced or cleaned up.
    ///
    /// # Cancel safety
    /// The lock is given up with the future.
    pub async fn lock(self) -> io::Result<FilesystemDriver> {
        if !self.try_lock()? {
            info!(directory = %self.path.display(), "waiting for another process to give up the directory");
            while !self.try_lock()? {
                sleep(LOCK_POLL).await;
            }
        }
        let (volume, was_clean, ages_lost_at) = blocking(move || self.start()).await?;
        Ok(FilesystemDriver { volume: Arc::new(volume), was_clean, ages_lost_at })
    }

    fn start(self) -> io::Result<(Volume, bool, Option<Timestamp>)> {
        let was_clean = forget_clean_stop(&self.root)?;
        let ages_lost_at = note_boot(&self.root, was_clean);
        if !was_clean {
            // A process that died may have renamed files whose folders were never synced. Readers see them, so they
            // must be durable before anything is promised that relies on them.
            self.root.sync_all()?;
        }
        let volume = Volume {
            root: self.root,
            health: Health::default(),
            folders: UnsyncedFolders::default(),
            barriers: OpenBarriers::default(),
            next_staged: AtomicU64::default(),
            streams: Arc::default(),
            lock: DirectoryLock(self.lock_file),
        };
        let staging = volume.ensure_folder(&staging())?;
        remove_tree(&staging)?;
        Ok((volume, was_clean, ages_lost_at))
    }
}

/// Removes the marker of a clean stop, durably; whether it was there.
fn forget_clean_stop(root: &Root) -> io::Result<bool> {
    let folder = root.open_folder(&local())?;
    match sys::unlinkat(&folder, CLEAN, AtFlags::empty()) {
        Ok(()) => sys::fsync(&folder)?,
        Err(Errno::NOENT) => return Ok(false),
        Err(errno) => return Err(errno.into()),
    }
    Ok(true)
}

impl Volume {
    /// Waits for the writes in progress, refuses others, and leaves the marker of a clean stop if all is durable.
    pub(super) fn close(&self) -> io::Result<()> {
        let last = || {
            // Not even what nobody asked to be durable gets lost in a stop that is in order.
            self.root.sync_all()?;
            let folder = self.root.open_folder(&local())?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let marker = sys::openat(&folder, CLEAN, flags, FILE_MODE)?;
            sys::fsync(&marker)?;
            sys::fsync(&folder)?;
            Ok(())
        };
        self.health.close(last).map(Option::unwrap_or_default)
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}
