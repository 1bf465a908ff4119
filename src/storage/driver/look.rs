//! Many small looks in one call.

use bytes::Bytes;

use super::{Error, Metadata, StorageDriver, StoragePath};

/// What is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// What a file holds.
    Content {
        /// The file.
        path: StoragePath,
        /// It is not read where it is longer than this, in bytes.
        max_size: u64,
    },
    /// What is known of a file without reading it.
    Metadata(StoragePath),
    /// The first name in a folder, in the order of bytes.
    FirstName(StoragePath),
}

impl Look {
    /// Where it looks.
    #[must_use]
    pub fn path(&self) -> &StoragePath {
        match self {
            Self::Content { path, .. } | Self::Metadata(path) | Self::FirstName(path) => path,
        }
    }
}

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing: no such file, or no name in such a folder.
    Absent,
    /// What the file holds.
    Content(Bytes),
    /// The file is longer than it may be: how long.
    TooLong(u64),
    /// What is known of the file.
    Metadata(Metadata),
    /// The name.
    Name(String),
}

impl Seen {
    /// The content, where it is one.
    #[must_use]
    pub fn content(self) -> Option<Bytes> {
        match self {
            Self::Content(content) => Some(content),
            Self::Absent | Self::TooLong(_) | Self::Metadata(_) | Self::Name(_) => None,
        }
    }

    /// What is known of the file, where that was asked.
    #[must_use]
    pub fn metadata(&self) -> Option<Metadata> {
        match self {
            Self::Metadata(metadata) => Some(*metadata),
            Self::Absent | Self::Content(_) | Self::TooLong(_) | Self::Name(_) => None,
        }
    }
}

/// One look, by the calls that every driver has.
pub(super) async fn look_once(driver: &(impl StorageDriver + ?Sized), look: &Look) -> Result<Seen, Error> {
    let seen = match look {
        Look::Metadata(path) => driver.stat(path).await.map(Seen::Metadata),
        Look::FirstName(path) => driver.list(path, None, 1).await.map(|entries| first_name(entries.into_iter().next())),
        Look::Content { path, max_size } => match driver.stat(path).await {
            Ok(metadata) if metadata.size > *max_size => Ok(Seen::TooLong(metadata.size)),
            Ok(_) => driver.get(path).await.map(Seen::Content),
            Err(error) => Err(error),
        },
    };
    or_absent(seen)
}

fn first_name(entry: Option<super::Entry>) -> Seen {
    entry.map_or(Seen::Absent, |entry| Seen::Name(entry.name))
}

/// What is not there was looked at all the same.
pub(super) fn or_absent(seen: Result<Seen, Error>) -> Result<Seen, Error> {
    match seen {
        Err(Error::NotFound { .. }) => Ok(Seen::Absent),
        seen => seen,
    }
}

/// What every driver must do.
#[cfg(test)]
pub(super) mod suite {
    use crate::storage::driver::{
        StorageDriver,
        suite::{path, put},
    };

    use super::{Look, Seen};

    pub(in crate::storage::driver) async fn many_looks_see_what_single_ones_do(driver: &dyn StorageDriver) {
        for name in ["b/link", "a/link", "a/x/y/z/deep"] {
            put(driver, &format!("looks/{name}"), name).await;
        }
        let content = |name: &str, max_size| Look::Content { path: path(&format!("looks/{name}")), max_size };
        let looks = [
            content("a/link", 6),
            content("b/link", 5),
            content("a/absent", 100),
            content("a/x/y/z/deep", 100),
            content("absent/x/y/z/deep", 100),
            Look::Metadata(path("looks/b/link")),
            Look::Metadata(path("looks/b/absent")),
            Look::FirstName(path("looks")),
            Look::FirstName(path("looks/a/x/y/z")),
            Look::FirstName(path("looks/absent")),
        ];
        let metadata = driver.stat(&path("looks/b/link")).await.unwrap();
        let expected = [
            Seen::Content("a/link".into()),
            Seen::TooLong(6),
            Seen::Absent,
            Seen::Content("a/x/y/z/deep".into()),
            Seen::Absent,
            Seen::Metadata(metadata),
            Seen::Absent,
            Seen::Name("a".into()),
            Seen::Name("deep".into()),
            Seen::Absent,
        ];
        assert_eq!(driver.look(&looks).await.unwrap(), expected);
        assert_eq!(driver.look(&[]).await.unwrap(), []);
    }
}
