//! Looking, without changing anything.

use std::{
    io,
    ops::Range,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use rustix::{
    buffer::spare_capacity,
    fs::{self as sys, AtFlags, Dir, FileType, Mode, OFlags, Stat},
    io::Errno,
};
use tokio::task::spawn_blocking;

use crate::storage::driver::{ByteStream, Entry, Error, Metadata, StoragePath};

use super::volume::{Volume, fault, retry};

/// How much a stream reads at once: enough that the hop to another thread costs little (some 15 µs of 64 KiB, which are
/// 4 GiB/s).
const CHUNK_BYTES: u64 = 64 * 1024;

/// How much all streams hold together before new ones read less than [`CHUNK_BYTES`] at once. Those that were there first
/// keep what they hold: a thousand slow readers have 42 MiB.
const STREAMED_BYTES: u64 = 16 << 20;

/// The least that a stream reads at once: two records of TLS.
const LEAST_CHUNK_BYTES: u64 = 32 * 1024;

impl Volume {
    pub(super) fn get(&self, path: &StoragePath) -> Result<Bytes, Error> {
        let (file, size) = self.open_file(path)?;
        read_up_to(&file, 0, size).map(Bytes::from).map_err(|errno| fault("read", path, errno))
    }

    pub(super) fn stat(&self, path: &StoragePath) -> Result<Metadata, Error> {
        let file = self.root.open_at(path, OFlags::PATH).map_err(|errno| fault("look at", path, errno))?;
        let stat = sys::fstat(&file).map_err(|errno| fault("look at", path, errno))?;
        metadata(&stat).ok_or_else(|| Error::NotFound { path: path.clone() })
    }

    pub(super) fn list(&self, path: &StoragePath, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, Error> {
        let folder = self.root.open_folder(path).map_err(|errno| fault("list", path, errno))?;
        let mut entries = entries(folder, after).map_err(|errno| fault("list", path, errno))?;
        if limit < entries.len() {
            entries.select_nth_unstable_by(limit, |a, b| a.name.cmp(&b.name));
            entries.truncate(limit);
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// When a folder, or anything in it, was last written.
    pub(super) fn last_change(&self, path: &StoragePath) -> Result<Timestamp, Error> {
        let folder = self.root.open_folder(path).map_err(|errno| fault("look at", path, errno))?;
        last_change_below(&folder).map_err(|errno| fault("look at", path, errno))
    }

    /// Opens a stream; its first chunk is read at once, so that a small file costs one hop.
    pub(super) fn read(&self, path: &StoragePath, range: Range<u64>) -> Result<Reading, Error> {
        let (file, size) = self.open_file(path)?;
        if range.start > range.end || range.end > size {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "the range is not within the file");
            return Err(Error::Io { action: "read", path: path.clone(), source });
        }
        let mut reading =
            Reading { file: Arc::new(file), path: path.clone(), range, first: None, open: self.streams.clone() };
        reading.first = reading.next_chunk()?;
        Ok(reading)
    }

    /// Opens a file; anything else is not there. A pipe that somebody put there does not make this wait.
    fn open_file(&self, path: &StoragePath) -> Result<(OwnedFd, u64), Error> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let file = self.root.open_at(path, flags).map_err(|errno| fault("open", path, errno))?;
        let stat = sys::fstat(&file).map_err(|errno| fault("open", path, errno))?;
        match metadata(&stat) {
            Some(Metadata { size, .. }) => Ok((file, size)),
            _ => Err(Error::NotFound { path: path.clone() }),
        }
    }
}

/// A file that is being read.
#[derive(Debug)]
pub(super) struct Reading {
    file: Arc<OwnedFd>,
    path: StoragePath,
    /// What is still to be read.
    range: Range<u64>,
    first: Option<Bytes>,
    /// Each stream that is open has one.
    open: Arc<()>,
}

impl Reading {
    /// The chunks, each read when it is asked for.
    pub(super) fn into_stream(mut self) -> ByteStream {
        let first = stream::iter(self.first.take().map(Ok));
        let rest = stream::try_unfold(self, |mut reading| async move {
            if reading.range.is_empty() {
                return Ok(None);
            }
            let path = reading.path.clone();
            let hop = spawn_blocking(move || reading.next_chunk().map(|chunk| chunk.map(|chunk| (chunk, reading))));
            hop.await.map_err(|error| Error::Io { action: "read", path, source: io::Error::other(error) })?
        });
        first.chain(rest).boxed()
    }

    /// Reads on; `None` at the end of the range.
    fn next_chunk(&mut self) -> Result<Option<Bytes>, Error> {
        if self.range.is_empty() {
            return Ok(None);
        }
        let share = STREAMED_BYTES / Arc::strong_count(&self.open) as u64;
        let chunk = share.clamp(LEAST_CHUNK_BYTES, CHUNK_BYTES);
        let wanted = (self.range.end - self.range.start).min(chunk);
        let chunk = read_up_to(&self.file, self.range.start, wanted).map_err(|e| fault("read", &self.path, e))?;
        if (chunk.len() as u64) < wanted {
            let source = io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter");
            return Err(Error::Io { action: "read", path: self.path.clone(), source });
        }
        self.range.start += wanted;
        Ok(Some(chunk.into()))
    }
}

/// Reads `length` bytes at `offset`, fewer only where the file ends before.
pub(super) fn read_up_to(file: &OwnedFd, offset: u64, length: u64) -> Result<Vec<u8>, Errno> {
    let length = usize::try_from(length).map_err(|_| Errno::FBIG)?;
    let mut content = Vec::with_capacity(length);
    while content.len() < length {
        let at = offset + content.len() as u64;
        if retry(|| rustix::io::pread(file, spare_capacity(&mut content), at))? == 0 {
            break;
        }
    }
    // The allocator may have given more room than was asked for.
    content.truncate(length);
    Ok(content)
}

/// What a file is; `None` for anything else.
pub(super) fn metadata(stat: &Stat) -> Option<Metadata> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    Some(Metadata { size: u64::try_from(stat.st_size).ok()?, modified: modified(stat).ok()? })
}

fn modified(stat: &Stat) -> Result<Timestamp, Errno> {
    let nanoseconds = i32::try_from(stat.st_mtime_nsec).map_err(|_| Errno::RANGE)?;
    Timestamp::new(stat.st_mtime, nanoseconds).map_err(|_| Errno::RANGE)
}

/// When a folder, or anything in it at any depth, was last written. Links are not followed.
fn last_change_below(folder: &OwnedFd) -> Result<Timestamp, Errno> {
    let mut last = modified(&sys::fstat(folder)?)?;
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = match sys::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            found => found?,
        };
        last = last.max(modified(&stat)?);
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            last = last.max(last_change_below(&sys::openat(folder, name, flags, Mode::empty())?)?);
        }
    }
    Ok(last)
}

/// The files and folders in a folder, in the order in which they lie. What is neither, or has a name that is no text,
/// was put there by somebody else, and is passed over.
pub(super) fn entries(folder: OwnedFd, after: Option<&str>) -> Result<Vec<Entry>, Errno> {
    let mut found = Vec::new();
    let mut dir = Dir::new(folder)?;
    while let Some(entry) = dir.next() {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if matches!(name, "." | "..") || after.is_some_and(|after| name <= after) {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => match sys::statat(dir.fd()?.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(errno),
            },
            known => known,
        };
        if matches!(kind, FileType::Directory | FileType::RegularFile) {
            found.push(Entry { name: name.into(), is_directory: kind == FileType::Directory });
        }
    }
    Ok(found)
}
