//! Secrets as files: what a folder has, as a mounted Secret has it, or the environment.

use std::{env, fs, io, path::Path};

use super::exit::InvalidUsage;

/// The content of a file of a folder, without the line's end that editors add; none if there is no such file.
///
/// # Errors
/// Names the file where it is there and cannot be read; never what it holds.
pub(super) fn in_folder(folder: &Path, name: &str) -> Result<Option<String>, InvalidUsage> {
    match whole(&folder.join(name)) {
        Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()).filter(|text| !text.is_empty())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(&folder.join(name), &error)),
    }
}

/// The content of a file of a folder.
///
/// # Errors
/// As [`in_folder`], and where there is no such file.
pub(super) fn needed_in_folder(folder: &Path, name: &str) -> Result<String, InvalidUsage> {
    let found = in_folder(folder, name)?;
    found.ok_or_else(|| InvalidUsage(format!("{}: there is no file {name}, or it is empty", folder.display())))
}

/// A whole file.
///
/// # Errors
/// Names the file; never what it holds.
pub(super) fn file(file: &Path) -> Result<String, InvalidUsage> {
    whole(file).map_err(|error| unreadable(file, &error))
}

/// A variable of the environment, if it says something.
pub(super) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|text| !text.is_empty())
}

fn whole(file: &Path) -> io::Result<String> {
    // The error of a file that is no text would quote nothing, but it is said in our words anyway.
    String::from_utf8(fs::read(file)?).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no text"))
}

fn unreadable(file: &Path, error: &io::Error) -> InvalidUsage {
    InvalidUsage(format!("{}: could not be read: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_read_without_the_end_of_its_line() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("password"), "hush hush\n").unwrap();
        fs::write(folder.path().join("empty"), "\n").unwrap();
        fs::write(folder.path().join("bytes"), [0xff]).unwrap();
        assert_eq!(in_folder(folder.path(), "password").unwrap().as_deref(), Some("hush hush"));
        assert_eq!(in_folder(folder.path(), "empty").unwrap(), None);
        assert_eq!(in_folder(folder.path(), "username").unwrap(), None);
        let InvalidUsage(missing) = needed_in_folder(folder.path(), "empty").unwrap_err();
        assert!(missing.contains("no file empty"), "{missing}");
        let InvalidUsage(unreadable) = in_folder(folder.path(), "bytes").unwrap_err();
        assert!(unreadable.contains("bytes: could not be read"), "{unreadable}");
    }
}
