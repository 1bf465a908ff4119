//! Bringing content in.

use std::{io, os::fd::OwnedFd, sync::atomic::Ordering};

use jiff::Timestamp;
use rustix::{
    fs::{self as sys, AtFlags, OFlags, Timespec, Timestamps, UTIME_OMIT},
    io::Errno,
};

use crate::storage::driver::{Durability, Error, PathComponent, StoragePath};

use super::{
    lock::staging,
    root::FILE_MODE,
    volume::{Volume, fault, retry, split, write_fault},
};

/// How often a write creates its folder again that somebody who found it empty removed. Each time somebody else got
/// something done, so this is never reached but by a file system that is broken.
const FOLDER_ATTEMPTS: u32 = 100;

/// In a second.
const NANOSECONDS: i128 = 1_000_000_000;

impl Volume {
    pub(super) fn put(&self, path: &StoragePath, content: &[u8], durability: Durability) -> Result<(), Error> {
        let _writing = self.health.begin(path)?;
        let staged = Staged::new(self)?;
        write_all(&staged.file, content, 0).map_err(|errno| write_fault("write", path, errno))?;
        if durability == Durability::Durable {
            self.sync_file(path, &staged.file)?;
        }
        self.move_file(&staged.folder, &staged.path, path, durability)
    }

    pub(super) fn append(&self, path: &StoragePath, offset: u64, chunk: &[u8]) -> Result<(), Error> {
        let _writing = self.health.begin(path)?;
        let file = if offset == 0 { self.open_or_create(path)? } else { self.open_to_write(path)? };
        let size = sys::fstat(&file).map_err(|errno| fault("append to", path, errno))?.st_size;
        match u64::try_from(size).unwrap_or_default() {
            size if size < offset => {
                let source = io::Error::new(io::ErrorKind::InvalidInput, "the offset is behind the end");
                return Err(Error::Io { action: "append to", path: path.clone(), source });
            }
            size if size > offset => {
                retry(|| sys::ftruncate(&file, offset)).map_err(|errno| fault("cut", path, errno))?;
            }
            _ => {}
        }
        write_all(&file, chunk, offset).map_err(|errno| write_fault("append to", path, errno))
    }

    pub(super) fn sync(&self, path: &StoragePath) -> Result<(), Error> {
        let _writing = self.health.begin(path)?;
        self.sync_file(path, &self.open_to_write(path)?)
    }

    pub(super) fn publish(&self, staged: &StoragePath, target: &StoragePath) -> Result<(), Error> {
        let _writing = self.health.begin(target)?;
        let (folder, _) = split(staged)?;
        let folder = self.root.open_folder(&folder).map_err(|errno| fault("move", staged, errno))?;
        self.move_file(&folder, staged, target, Durability::Durable)
    }

    pub(super) fn touch(&self, path: &StoragePath, modified: Timestamp) -> Result<(), Error> {
        let _writing = self.health.begin(path)?;
        let (folder, name) = split(path)?;
        let folder = self.root.open_folder(&folder).map_err(|errno| fault("touch", path, errno))?;
        let nanoseconds = modified.as_nanosecond();
        let out_of_range = |_| fault("touch", path, Errno::INVAL);
        let last_modification = Timespec {
            tv_sec: i64::try_from(nanoseconds.div_euclid(NANOSECONDS)).map_err(out_of_range)?,
            tv_nsec: i64::try_from(nanoseconds.rem_euclid(NANOSECONDS)).map_err(out_of_range)?,
        };
        let times = Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification };
        sys::utimensat(&folder, name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| fault("touch", path, errno))
    }

    /// Moves a file out of `folder` to its place.
    fn move_file(
        &self,
        folder: &OwnedFd,
        from: &StoragePath,
        target: &StoragePath,
        durability: Durability,
    ) -> Result<(), Error> {
        let (_, from_name) = split(from)?;
        let (target_folder, target_name) = split(target)?;
        let _barrier = (durability == Durability::Durable).then(|| self.barriers.open(target));
        let moved_into = self.in_folder(target, &target_folder, |into| {
            match retry(|| sys::renameat(folder, from_name, into, target_name)) {
                // Which of the two names is missing?
                Err(Errno::NOENT) => sys::statat(folder, from_name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_or_else(|errno| Err(fault("move", from, errno)), |_| Ok(None)),
                Err(errno) => Err(write_fault("move", target, errno)),
                Ok(()) => Ok(Some(())),
            }
        })?;
        match durability {
            Durability::Durable => self.sync_folder(&target_folder, &moved_into),
            Durability::Visible => Ok(()),
        }
    }

    fn open_or_create(&self, path: &StoragePath) -> Result<OwnedFd, Error> {
        let (folder, name) = split(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let mut opened = None;
        self.in_folder(path, &folder, |folder| match sys::openat(folder, name, flags, FILE_MODE) {
            Ok(file) => {
                opened = Some(file);
                Ok(Some(()))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(write_fault("create", path, errno)),
        })?;
        opened.ok_or_else(|| fault("create", path, Errno::NOENT))
    }

    fn open_to_write(&self, path: &StoragePath) -> Result<OwnedFd, Error> {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK;
        self.root.open_at(path, flags).map_err(|errno| match errno {
            Errno::ISDIR => fault("open", path, Errno::NOENT),
            errno => fault("open", path, errno),
        })
    }

    /// Does something in a folder that is created where it is absent, and created again where it vanished meanwhile,
    /// which `step` says by `None`.
    fn in_folder(
        &self,
        path: &StoragePath,
        folder: &StoragePath,
        mut step: impl FnMut(&OwnedFd) -> Result<Option<()>, Error>,
    ) -> Result<OwnedFd, Error> {
        for _ in 0..FOLDER_ATTEMPTS {
            match self.ensure_folder(folder) {
                Ok(opened) => {
                    if step(&opened)?.is_some() {
                        return Ok(opened);
                    }
                }
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(write_fault("create the folder of", path, errno)),
            }
        }
        Err(write_fault("create the folder of", path, Errno::NOENT))
    }
}

/// A file in the staging folder. What is not moved to its place goes with this.
struct Staged {
    folder: OwnedFd,
    file: OwnedFd,
    path: StoragePath,
}

impl Staged {
    fn new(volume: &Volume) -> Result<Self, Error> {
        let number = volume.next_staged.fetch_add(1, Ordering::Relaxed);
        let folder_path = staging();
        let create = || {
            let name: PathComponent = number.to_string().parse().map_err(|_| Errno::INVAL)?;
            let folder = volume.ensure_folder(&folder_path)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = sys::openat(&folder, name.as_str(), flags, FILE_MODE)?;
            Ok(Self { folder, file, path: folder_path.child(&name) })
        };
        create().map_err(|errno| write_fault("stage in", &folder_path, errno))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(name) = self.path.file_name() {
            // Absent when it was moved; any other failure leaves it to the next start.
            let _ = sys::unlinkat(&self.folder, name, AtFlags::empty());
        }
    }
}

fn write_all(file: &OwnedFd, mut content: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !content.is_empty() {
        let written = retry(|| rustix::io::pwrite(file, content, offset))?;
        content = content.get(written..).unwrap_or_default();
        offset += written as u64;
    }
    Ok(())
}
