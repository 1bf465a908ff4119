//! Finding files below the root, and nowhere else.

use std::{
    fs, io,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    fs::{self as sys, Mode, OFlags, ResolveFlags},
    io::Errno,
};

use crate::storage::driver::StoragePath;

/// What a new file may be used for; the process's umask narrows it, as it does for distribution.
pub(super) const FILE_MODE: Mode = Mode::from_raw_mode(0o666);
/// The same of a new folder.
pub(super) const FOLDER_MODE: Mode = Mode::from_raw_mode(0o777);

/// No way out of the root: neither a link, nor a magic one of `/proc`.
const CONFINED: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// The folder that everything lies in. It may itself be reached through a link; nothing below it is.
#[derive(Debug)]
pub(super) struct Root {
    folder: OwnedFd,
    /// Whether the kernel has `openat2`. Sandboxes such as gVisor do not; there the path is walked.
    has_openat2: AtomicBool,
}

impl Root {
    /// Opens the root, and creates it first, durably, where it is absent.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        create_durably(path)?;
        let folder = sys::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { folder, has_openat2: AtomicBool::new(true) })
    }

    /// Everything on the file system of the root reaches the medium.
    pub(super) fn sync_all(&self) -> io::Result<()> {
        Ok(sys::syncfs(&self.folder)?)
    }

    /// Opens a file or folder. In a root that somebody removed nothing is absent, for nothing is known any more.
    pub(super) fn open_at(&self, path: &StoragePath, flags: OFlags) -> Result<OwnedFd, Errno> {
        match self.open_below(path, flags) {
            Err(Errno::NOENT) if sys::fstat(&self.folder).is_ok_and(|root| root.st_nlink == 0) => Err(Errno::STALE),
            opened => opened,
        }
    }

    /// Opens `own` below a folder that is open already; `path` is the whole of it. A folder that was removed since is found
    /// again, for somebody may have created it anew.
    pub(super) fn open_in(
        &self,
        folder: &OwnedFd,
        own: &str,
        path: &StoragePath,
        flags: OFlags,
    ) -> Result<OwnedFd, Errno> {
        if !self.has_openat2.load(Ordering::Relaxed) {
            return self.open_at(path, flags);
        }
        let all = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match sys::openat2(folder, own, all, Mode::empty(), CONFINED) {
            Err(Errno::NOENT) if sys::fstat(folder).is_ok_and(|folder| folder.st_nlink > 0) => Err(Errno::NOENT),
            Err(_) => self.open_at(path, flags),
            opened => opened,
        }
    }

    fn open_below(&self, path: &StoragePath, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if path.is_root() {
            return sys::openat(&self.folder, ".", flags, Mode::empty());
        }
        // The kernel refuses a mode for a file that is not to be created.
        let mode = if flags.contains(OFlags::CREATE) { FILE_MODE } else { Mode::empty() };
        if self.has_openat2.load(Ordering::Relaxed) {
            match sys::openat2(&self.folder, path.as_str(), flags, mode, CONFINED) {
                Err(Errno::NOSYS | Errno::PERM) => self.has_openat2.store(false, Ordering::Relaxed),
                opened => return opened,
            }
        }
        self.walk(path, flags, mode)
    }

    /// Opens a folder, to list, to sync, or to name files in.
    pub(super) fn open_folder(&self, path: &StoragePath) -> Result<OwnedFd, Errno> {
        self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    fn walk(&self, path: &StoragePath, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut names = path.components().peekable();
        let mut folder: Option<OwnedFd> = None;
        while let Some(name) = names.next() {
            let from = folder.as_ref().map_or(self.folder.as_fd(), |folder| folder.as_fd());
            if names.peek().is_none() {
                return sys::openat(from, name, flags, mode);
            }
            folder = Some(sys::openat(from, name, step, Mode::empty())?);
        }
        Err(Errno::NOENT)
    }
}

/// How often a folder is made again that somebody took away while what is to be in it was made.
const ATTEMPTS: usize = 8;

fn create_durably(path: &Path) -> io::Result<()> {
    for attempt in 1.. {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt == 1 => return Ok(()),
            // Somebody made it just now, and may not have synced it yet.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS => {
                create_durably(path.parent().ok_or(error)?)?;
            }
            created => {
                created?;
                break;
            }
        }
    }
    // The parent of a relative path of one component is the empty path.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_walk_finds_what_the_kernel_finds() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/file"), "x").unwrap();
        std::os::unix::fs::symlink("b", folder.path().join("a/link")).unwrap();
        let root = Root::open(folder.path()).unwrap();
        for has_openat2 in [true, false] {
            root.has_openat2.store(has_openat2, Ordering::Relaxed);
            let open = |text: &str| root.open_at(&text.parse().unwrap(), OFlags::RDONLY);
            assert!(open("a").is_ok());
            assert!(open("a/b/file").is_ok());
            assert_eq!(open("a/c").unwrap_err(), Errno::NOENT);
            assert_eq!(open("a/b/file/x").unwrap_err(), Errno::NOTDIR);
            assert_eq!(open("a/link").unwrap_err(), Errno::LOOP);
            assert!(open("a/link/file").is_err());
        }
    }

    #[test]
    fn folders_beside_each_other_are_made_at_the_same_time() {
        for _ in 0..50 {
            let folder = tempfile::tempdir().unwrap();
            let start = std::sync::Barrier::new(4);
            std::thread::scope(|scope| {
                let made = ["a", "b", "c", "d"].map(|name| {
                    let (path, start) = (folder.path().join("new/namespace").join(name), &start);
                    scope.spawn(move || {
                        start.wait();
                        create_durably(&path)
                    })
                });
                for made in made {
                    made.join().unwrap().unwrap();
                }
            });
        }
    }

    #[test]
    fn what_lies_below_an_open_folder_is_found_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/file"), "x").unwrap();
        fs::write(folder.path().join("other"), "x").unwrap();
        std::os::unix::fs::symlink("../../other", folder.path().join("a/b/link")).unwrap();
        let root = Root::open(folder.path()).unwrap();
        let opened = root.open_at(&"a".parse().unwrap(), OFlags::PATH).unwrap();
        let open = |own: &str| root.open_in(&opened, own, &format!("a/{own}").parse().unwrap(), OFlags::RDONLY);
        for has_openat2 in [true, false] {
            root.has_openat2.store(has_openat2, Ordering::Relaxed);
            assert!(open("b/file").is_ok());
            assert_eq!(open("b/absent").unwrap_err(), Errno::NOENT);
            assert_eq!(open("b/link").unwrap_err(), Errno::LOOP);
        }
        root.has_openat2.store(true, Ordering::Relaxed);
        fs::remove_dir_all(folder.path().join("a")).unwrap();
        assert_eq!(open("b/file").unwrap_err(), Errno::NOENT);
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/file"), "x").unwrap();
        assert!(open("b/file").is_ok(), "the folder was created anew");
        fs::remove_dir_all(folder.path()).unwrap();
        assert_eq!(open("b/file").unwrap_err(), Errno::STALE, "nothing is absent from a root that is gone");
    }

    #[test]
    fn nothing_is_absent_from_a_root_that_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(&folder.path().join("data")).unwrap();
        assert_eq!(root.open_at(&"a".parse().unwrap(), OFlags::RDONLY).unwrap_err(), Errno::NOENT);
        fs::remove_dir(folder.path().join("data")).unwrap();
        for path in ["a", "a/b"] {
            assert_eq!(root.open_at(&path.parse().unwrap(), OFlags::RDONLY).unwrap_err(), Errno::STALE);
        }
    }

    #[test]
    fn a_root_that_is_absent_is_created() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("x/y/z");
        Root::open(&deep).unwrap();
        Root::open(&deep).unwrap();
        assert!(deep.is_dir());
    }
}
