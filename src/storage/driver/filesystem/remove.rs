//! Taking away.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    sync::atomic::Ordering,
};

use rustix::{
    fs::{self as sys, AtFlags, Dir, FileType, Mode, OFlags},
    io::Errno,
};
use tracing::warn;

use crate::storage::driver::{Error, StoragePath};

use super::{
    lock::staging,
    volume::{Volume, fault, retry, split, write_fault},
};

/// Folders of this depth or less stay when they are empty: those that do not belong to a repository.
const PERMANENT_DEPTH: usize = 4;

impl Volume {
    pub(super) fn delete(&self, path: &StoragePath) -> Result<(), Error> {
        let _writing = self.health.begin(path)?;
        let (parent, name) = split(path)?;
        let folder = self.root.open_folder(&parent).map_err(|errno| fault("delete", path, errno))?;
        match sys::unlinkat(&folder, name, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::ISDIR) => return Err(Error::NotFound { path: path.clone() }),
            Err(errno) => return Err(fault("delete", path, errno)),
        }
        self.health.after_sync(&parent, retry(|| sys::fsync(&folder)))?;
        self.prune(parent);
        Ok(())
    }

    pub(super) fn delete_directory(&self, path: &StoragePath) -> Result<(), Error> {
        let _writing = self.health.begin(path)?;
        let (parent, name) = split(path)?;
        let inside = self.folders.inside(path);
        let folder = match self.root.open_folder(path).and_then(|_| self.root.open_folder(&parent)) {
            Ok(folder) => folder,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(errno) => return Err(fault("delete", path, errno)),
        };
        // Moved away first, so that it vanishes at once and not file by file.
        let aside = self.ensure_folder(&staging()).map_err(|errno| write_fault("delete", path, errno))?;
        let aside_name = self.next_staged.fetch_add(1, Ordering::Relaxed).to_string();
        match sys::renameat(&folder, name, &aside, aside_name.as_str()) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(write_fault("delete", path, errno)),
        }
        self.folders.forget(&inside);
        self.health.after_sync(&parent, retry(|| sys::fsync(&folder)))?;
        self.prune(parent);
        if let Err(errno) = remove_folder(&aside, &aside_name) {
            let error = std::io::Error::from(errno);
            warn!(%path, error = &error as &dyn std::error::Error, "leftovers stay until the next start");
        }
        Ok(())
    }

    /// Removes a folder if it is empty, and those above it that are so then. A failure leaves an empty folder, which
    /// harms nobody.
    fn prune(&self, mut folder: StoragePath) {
        while folder.components().count() > PERMANENT_DEPTH {
            let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else { return };
            let unsynced = self.folders.inside(&folder);
            let removed =
                self.root.open_folder(&parent).and_then(|above| sys::unlinkat(above, name, AtFlags::REMOVEDIR));
            if removed.is_err() {
                return;
            }
            self.folders.forget(&unsynced);
            folder = parent;
        }
    }
}

/// Removes everything in a folder. Links are removed, not followed.
pub(super) fn remove_tree(folder: &OwnedFd) -> Result<(), Errno> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let is_folder = match entry.file_type() {
            FileType::Directory => true,
            FileType::Unknown => {
                let stat = sys::statat(folder.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            }
            _ => false,
        };
        if is_folder {
            remove_folder(folder, name)?;
        } else {
            sys::unlinkat(folder, name, AtFlags::empty())?;
        }
    }
    Ok(())
}

fn remove_folder(parent: &OwnedFd, name: impl rustix::path::Arg + Copy) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    remove_tree(&sys::openat(parent, name, flags, Mode::empty())?)?;
    sys::unlinkat(parent, name, AtFlags::REMOVEDIR)
}
