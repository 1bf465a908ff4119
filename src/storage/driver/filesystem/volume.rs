//! The folder of a store while its lock is held: what reads and writes have in common.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, atomic::AtomicU64},
};

use rustix::{fs as sys, io::Errno};

use crate::storage::driver::{Error, StoragePath};

use super::{
    barriers::OpenBarriers,
    health::Health,
    lock::DirectoryLock,
    root::{FOLDER_MODE, Root},
    unsynced_folders::UnsyncedFolders,
};

/// A store's folder. All methods block; they run on threads that may.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) root: Root,
    pub(super) health: Health,
    pub(super) folders: UnsyncedFolders,
    pub(super) barriers: OpenBarriers,
    /// The name of the next file in the staging folder.
    pub(super) next_staged: AtomicU64,
    /// Shared with every stream that is open, which counts them.
    pub(super) streams: Arc<()>,
    /// Last, so that it is given up when everything else is gone.
    #[expect(dead_code, reason = "held for its drop")]
    pub(super) lock: DirectoryLock,
}

impl Volume {
    /// Opens a folder, creating it and those above it where they are absent.
    pub(super) fn ensure_folder(&self, path: &StoragePath) -> Result<OwnedFd, Errno> {
        match self.root.open_folder(path) {
            Err(Errno::NOENT) => {}
            opened => return opened,
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::NOENT) };
        let parent = self.ensure_folder(&parent)?;
        self.folders.create(path);
        match sys::mkdirat(&parent, name, FOLDER_MODE) {
            Ok(()) | Err(Errno::EXIST) => self.root.open_folder(path),
            Err(errno) => Err(errno),
        }
    }

    /// Makes what `folder` names durable, and its own name, and those of the folders above it, up to the first that
    /// is known to be.
    pub(super) fn sync_folder(&self, path: &StoragePath, folder: &OwnedFd) -> Result<(), Error> {
        // Looked up first: a folder that is created anew meanwhile is not this writer's.
        let unsynced = self.folders.on_the_way_to(path);
        self.health.after_sync(path, retry(|| sys::fsync(folder)))?;
        for parent in unsynced.folders().filter_map(StoragePath::parent) {
            let folder = match self.root.open_folder(&parent) {
                // Whoever removed it removed the file as well.
                Err(Errno::NOENT) => continue,
                opened => opened.map_err(|errno| write_fault("open", &parent, errno))?,
            };
            self.health.after_sync(&parent, retry(|| sys::fsync(&folder)))?;
        }
        self.folders.forget(&unsynced);
        Ok(())
    }

    /// Makes a file's content durable.
    pub(super) fn sync_file(&self, path: &StoragePath, file: &OwnedFd) -> Result<(), Error> {
        self.health.after_sync(path, retry(|| sys::fdatasync(file)))
    }
}

/// A call that a signal interrupted did not fail.
pub(super) fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// The folder and the name of a file. The root is neither.
pub(super) fn split(path: &StoragePath) -> Result<(StoragePath, &str), Error> {
    path.parent().zip(path.file_name()).ok_or_else(|| fault("write", path, Errno::ISDIR))
}

/// What a call on something that ought to be there came to.
pub(super) fn fault(action: &'static str, path: &StoragePath, errno: Errno) -> Error {
    match errno {
        Errno::NOENT | Errno::NOTDIR => Error::NotFound { path: path.clone() },
        errno => write_fault(action, path, errno),
    }
}

/// What a call that creates came to.
pub(super) fn write_fault(action: &'static str, path: &StoragePath, errno: Errno) -> Error {
    let path = path.clone();
    match errno {
        Errno::NOSPC | Errno::DQUOT => Error::NoSpace { path },
        Errno::ROFS => Error::ReadOnly { path },
        errno => Error::Io { action, path, source: io::Error::from(errno) },
    }
}
