//! Whether the machine went down with ages that files had been given and that were not on the medium yet.
//!
//! The age of a file is refreshed without a sync (docs/protocol.md, *Promises*): that a link is young protects what it
//! names, and when the machine goes down it may be as old again as it was. A process that dies loses nothing, and
//! neither does one that stops in order, because that syncs everything.
//!
//! ```text
//! lagan/v1/local/
//! ├── boot            which start of the machine served the directory last
//! └── ages-lost       its age: when ages were found to be lost last
//! ```

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
};

use jiff::Timestamp;
use rustix::{
    fs::{OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT},
    io::Errno,
};
use tracing::warn;

use crate::storage::driver::StoragePath;

use super::root::Root;

/// The kernel makes a random one at each start (`random(4)`).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const BOOT: &str = "lagan/v1/local/boot";
const AGES_LOST: &str = "lagan/v1/local/ages-lost";
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
const OMIT: Timespec = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
const REGISTRY: &str = "docker/registry/v2";

/// Notes which start of the machine this is; when ages were found to be lost last. `was_clean`: the last process stopped
/// in order. Where that cannot be noted, the store is served all the same, and they may be lost at any time.
pub(super) fn note_boot(root: &Root, was_clean: bool) -> Option<Timestamp> {
    note(root, was_clean, fs::read_to_string(BOOT_ID).ok().as_deref()).unwrap_or_else(|error| {
        warn!(error = &error as &dyn std::error::Error, "could not note which start of the machine this is");
        Some(Timestamp::MAX)
    })
}

/// `boot`: the name of this start; without one each is another.
fn note(root: &Root, was_clean: bool, boot: Option<&str>) -> io::Result<Option<Timestamp>> {
    let is_same = boot.is_some() && boot == read(root, BOOT)?.as_deref();
    // Where nothing is stored yet, nothing is lost.
    let is_empty = matches!(root.open_folder(&at(REGISTRY)), Err(Errno::NOENT | Errno::NOTDIR));
    if !is_same && !was_clean && !is_empty {
        write(root, AGES_LOST, "")?;
    }
    if !is_same {
        // After it: what is noted here is not found to be lost again. Where there is no room for it, it is found once more.
        match write(root, BOOT, boot.unwrap_or_default()) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
            noted => noted?,
        }
    }
    match root.open_at(&at(AGES_LOST), OFlags::RDONLY) {
        Ok(file) => Timestamp::try_from(File::from(file).metadata()?.modified()?).map(Some).map_err(io::Error::other),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn at(path: &str) -> StoragePath {
    StoragePath::from_layout(path.to_owned())
}

fn read(root: &Root, path: &str) -> io::Result<Option<String>> {
    match root.open_at(&at(path), OFlags::RDONLY) {
        Ok(file) => {
            let mut text = String::new();
            File::from(file).read_to_string(&mut text)?;
            Ok(Some(text))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// What a power cut leaves of it is another name than any start's.
fn write(root: &Root, path: &str, text: &str) -> io::Result<()> {
    let mut file = File::from(root.open_at(&at(path), OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?);
    file.write_all(text.as_bytes())?;
    // To empty what is empty already need not make it younger.
    let times = Timestamps { last_access: OMIT, last_modification: NOW };
    rustix::fs::futimens(&file, &times)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("lagan/v1/local")).unwrap();
        let root = Root::open(folder.path()).unwrap();
        (folder, root)
    }

    #[test]
    fn ages_are_lost_when_the_machine_goes_down_with_the_process() {
        let (folder, root) = folder();
        assert_eq!(note(&root, false, Some("1")).unwrap(), None, "nothing is stored yet");
        fs::create_dir_all(folder.path().join(REGISTRY)).unwrap();
        assert_eq!(note(&root, false, Some("1")).unwrap(), None, "only the process died");
        assert_eq!(note(&root, true, Some("2")).unwrap(), None, "it had stopped in order");
        let lost_at = note(&root, false, Some("3")).unwrap();
        assert!(lost_at.is_some());
        assert_eq!(note(&root, false, Some("3")).unwrap(), lost_at, "it is found once");
        assert_eq!(note(&root, true, Some("4")).unwrap(), lost_at, "and stays known");
        let again = note(&root, false, Some("5")).unwrap();
        assert!(again > lost_at, "{again:?} is not later than {lost_at:?}");
    }

    #[test]
    fn a_machine_that_does_not_name_its_starts_has_always_another() {
        let (folder, root) = folder();
        fs::create_dir_all(folder.path().join(REGISTRY)).unwrap();
        assert!(note(&root, false, None).unwrap().is_some());
        let first = note(&root, true, None).unwrap();
        assert!(note(&root, false, None).unwrap() > first);
    }

    #[test]
    fn a_store_of_another_version_has_lost_what_it_may_have() {
        let (folder, root) = folder();
        fs::create_dir_all(folder.path().join(REGISTRY)).unwrap();
        assert!(note(&root, false, Some("1")).unwrap().is_some());
    }
}
