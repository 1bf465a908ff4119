//! Where a file lies below a driver's root.

use std::{fmt, str::FromStr};

/// One name in a path.
///
/// Invariant: 1 to [`PathComponent::MAX_LEN`] bytes, neither `.` nor `..`, without `/` and NUL.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathComponent(Box<str>);

impl PathComponent {
    /// The longest name, in bytes: `NAME_MAX` of every file system in use.
    pub const MAX_LEN: usize = 255;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PathComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PathComponent {
    type Err = StoragePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check_component(text)?;
        Ok(Self(text.into()))
    }
}

/// A path below a driver's root.
///
/// Invariant: [`PathComponent`]s joined by `/`; or empty, which is the root itself. So no path leaves the root, and
/// two different texts are two different places.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoragePath(Box<str>);

impl StoragePath {
    /// The root.
    #[must_use]
    pub fn root() -> Self {
        Self("".into())
    }

    /// The path that [`layout`](crate::storage) composed of parts that are valid each.
    pub(in crate::storage) fn from_layout(text: String) -> Self {
        debug_assert!(text.parse::<Self>().is_ok(), "{text:?} is no storage path");
        Self(text.into())
    }

    /// The path as text, without a slash at either end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The names on the way from the root.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|name| !name.is_empty())
    }

    /// The last name; `None` for the root.
    #[must_use]
    pub fn file_name(&self) -> Option<&str> {
        self.0.rsplit('/').next().filter(|name| !name.is_empty())
    }

    /// The folder that holds this; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        match self.0.rsplit_once('/') {
            Some((parent, _)) => Some(Self(parent.into())),
            None if self.is_root() => None,
            None => Some(Self::root()),
        }
    }

    /// What lies in this folder under `name`.
    #[must_use]
    pub fn child(&self, name: &PathComponent) -> Self {
        if self.is_root() { Self(name.0.clone()) } else { Self(format!("{self}/{name}").into()) }
    }

    /// Whether this lies in `folder`, at any depth, or is it.
    #[must_use]
    pub fn starts_with(&self, folder: &Self) -> bool {
        folder.is_root()
            || self.0.strip_prefix(folder.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for StoragePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no path below the root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{component:?} cannot be a part of a storage path")]
pub struct StoragePathError {
    /// The first part that is not allowed.
    pub component: String,
}

impl FromStr for StoragePath {
    type Err = StoragePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split('/').try_for_each(check_component)?;
        Ok(Self(text.into()))
    }
}

fn check_component(text: &str) -> Result<(), StoragePathError> {
    let valid = !text.is_empty()
        && text.len() <= PathComponent::MAX_LEN
        && text != "."
        && text != ".."
        && !text.bytes().any(|b| b == b'/' || b == 0);
    if valid { Ok(()) } else { Err(StoragePathError { component: text.into() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_could_leave_the_root_are_refused() {
        let long = "a".repeat(PathComponent::MAX_LEN + 1);
        for text in ["", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a\0b", &long] {
            assert!(text.parse::<StoragePath>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn a_path_knows_its_folder_and_its_name() {
        let path: StoragePath = "a/b..c/d".parse().unwrap();
        assert_eq!(path.file_name(), Some("d"));
        assert_eq!(path.parent().unwrap().as_str(), "a/b..c");
        assert_eq!(path.parent().unwrap().child(&"d".parse().unwrap()), path);
        assert_eq!("a".parse::<StoragePath>().unwrap().parent(), Some(StoragePath::root()));
        assert_eq!(StoragePath::root().parent(), None);
        assert_eq!(StoragePath::root().file_name(), None);
        assert_eq!(StoragePath::root().components().count(), 0);
    }

    #[test]
    fn a_folder_holds_whole_names_only() {
        let folder: StoragePath = "a/b".parse().unwrap();
        assert!("a/b/c".parse::<StoragePath>().unwrap().starts_with(&folder));
        assert!(folder.starts_with(&folder));
        assert!(!"a/bc".parse::<StoragePath>().unwrap().starts_with(&folder));
        assert!(folder.starts_with(&StoragePath::root()));
    }
}
