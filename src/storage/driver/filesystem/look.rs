//! Many small looks on one thread.

use std::os::fd::OwnedFd;

use rustix::{
    fs::{self as sys, OFlags},
    io::Errno,
};

use crate::storage::driver::{Entry, Error, Look, Seen, StoragePath};

use super::read::{entries, metadata, read_up_to};
use super::volume::{Volume, fault};

/// How many of a path's last names are found anew for each look: what a repository has of one manifest, tag or blob lies
/// within three, below a folder that is the same for all of them. To find that takes longer than to read a link.
const OWN_NAMES: usize = 3;

/// The folder that the last look was below.
#[derive(Default)]
struct LastFolder {
    path: String,
    opened: Option<OwnedFd>,
}

impl Volume {
    /// The looks, in their order. What is absent is seen to be; anything else that goes wrong ends them.
    pub(super) fn look(&self, looks: &[Look]) -> Result<Vec<Seen>, Error> {
        let mut last = LastFolder::default();
        looks.iter().map(|look| self.look_below(&mut last, look)).collect()
    }

    fn look_below(&self, last: &mut LastFolder, look: &Look) -> Result<Seen, Error> {
        let path = look.path();
        let seen = match look {
            Look::Metadata(_) => self.metadata_below(last, path),
            Look::FirstName(_) => self.first_name_below(last, path),
            Look::Content { max_size, .. } => self.content_below(last, path, *max_size),
        };
        match seen.map_err(|errno| fault("look at", path, errno)) {
            Err(Error::NotFound { .. }) => Ok(Seen::Absent),
            seen => seen,
        }
    }

    fn metadata_below(&self, last: &mut LastFolder, path: &StoragePath) -> Result<Seen, Errno> {
        let stat = sys::fstat(self.open_below(last, path, OFlags::PATH)?)?;
        Ok(metadata(&stat).map_or(Seen::Absent, Seen::Metadata))
    }

    fn first_name_below(&self, last: &mut LastFolder, path: &StoragePath) -> Result<Seen, Errno> {
        let folder = self.open_below(last, path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let first = entries(folder, None)?.into_iter().map(|Entry { name, .. }| name).min();
        Ok(first.map_or(Seen::Absent, Seen::Name))
    }

    fn content_below(&self, last: &mut LastFolder, path: &StoragePath, max_size: u64) -> Result<Seen, Errno> {
        let file = self.open_below(last, path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        let Some(found) = metadata(&sys::fstat(&file)?) else { return Ok(Seen::Absent) };
        if found.size > max_size {
            return Ok(Seen::TooLong(found.size));
        }
        read_up_to(&file, 0, found.size).map(|content| Seen::Content(content.into()))
    }

    /// Opens what lies below the same folder as the last one, without finding that folder again.
    fn open_below(&self, last: &mut LastFolder, path: &StoragePath, flags: OFlags) -> Result<OwnedFd, Errno> {
        let Some((folder, own)) = split(path.as_str()) else { return self.root.open_at(path, flags) };
        if last.opened.is_none() || last.path != folder {
            let found: StoragePath = folder.parse().map_err(|_| Errno::INVAL)?;
            last.opened = Some(self.root.open_at(&found, OFlags::PATH | OFlags::DIRECTORY)?);
            folder.clone_into(&mut last.path);
        }
        match &last.opened {
            Some(opened) => self.root.open_in(opened, own, path, flags),
            None => self.root.open_at(path, flags),
        }
    }
}

/// The folder that others lie below as well, and the rest; `None` where there is none but the root.
fn split(path: &str) -> Option<(&str, &str)> {
    let (at, _) = path.rmatch_indices('/').nth(OWN_NAMES - 1)?;
    let (folder, own) = path.split_at_checked(at)?;
    Some((folder, own.strip_prefix('/')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_three_names_are_a_files_own() {
        assert_eq!(split("a/b/c/d/e"), Some(("a/b", "c/d/e")));
        assert_eq!(split("a/b/c/d"), Some(("a", "b/c/d")));
        assert_eq!(split("b/c/d"), None);
        assert_eq!(split("d"), None);
    }
}
