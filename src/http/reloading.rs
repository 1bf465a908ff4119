//! Values that are made from files, and made again when the files change.
//!
//! A mounted Secret changes by a symbolic link that is put in place of another: no event tells, and modification
//! times may go backwards. So the contents are compared, seldom, when somebody needs the value.

use std::{
    error::Error as StdError,
    fmt, fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};
use tracing::{info, warn};

/// How old a value may be when it is used. Files of a few KiB once a second cost nothing, and nobody who rotates a
/// certificate waits for it.
const MAX_AGE: Duration = Duration::from_secs(1);

/// Why a value could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error("could not read {}", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file's content is not what it should be.
    #[error("could not use {}", path.display())]
    Invalid {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// How to make a value from the contents of its files, in their order.
type Make<T> = dyn Fn(&[Vec<u8>]) -> Result<T, LoadError> + Send + Sync;

struct Held<T> {
    value: Arc<T>,
    fingerprint: [u8; 32],
    checked_at: Instant,
}

/// A value made from files.
///
/// # Guarantees
/// A change that makes no value is logged once, and the value before it stays.
pub(super) struct Reloading<T> {
    paths: Arc<[PathBuf]>,
    make: Arc<Make<T>>,
    held: Mutex<Held<T>>,
}

impl<T> fmt::Debug for Reloading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloading").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> Reloading<T> {
    /// Makes the value for the first time.
    ///
    /// # Errors
    /// Where a file cannot be read or makes no value.
    pub(super) fn load(
        paths: Vec<PathBuf>,
        make: impl Fn(&[Vec<u8>]) -> Result<T, LoadError> + Send + Sync + 'static,
    ) -> Result<Self, LoadError> {
        let contents = read_all(&paths)?;
        let value = Arc::new(make(&contents)?);
        let held = Held { value, fingerprint: fingerprint(&contents), checked_at: Instant::now() };
        Ok(Self { paths: paths.into(), make: Arc::new(make), held: Mutex::new(held) })
    }

    /// The value, made again if the files changed more than [`MAX_AGE`] ago.
    pub(super) async fn current(&self) -> Arc<T> {
        let known = {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            if held.checked_at.elapsed() < MAX_AGE {
                return held.value.clone();
            }
            // Claimed before the files are read: others go on with the old value meanwhile.
            held.checked_at = Instant::now();
            held.fingerprint
        };
        let (paths, make) = (self.paths.clone(), self.make.clone());
        // A panic or a shutdown is no reason to forget the value that works.
        let remade = tokio::task::spawn_blocking(move || remake(&paths, &*make, known)).await;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match remade {
            Ok(Ok(Some((value, fingerprint)))) => {
                info!(paths = ?self.paths, "reloaded");
                held.value = Arc::new(value);
                held.fingerprint = fingerprint;
            }
            Ok(Err((error, fingerprint))) => {
                if fingerprint.is_none_or(|f| f != held.fingerprint) {
                    warn!(error = &error as &(dyn StdError + 'static), paths = ?self.paths, "could not reload");
                }
                held.fingerprint = fingerprint.unwrap_or(held.fingerprint);
            }
            Ok(Ok(None)) | Err(_) => {}
        }
        held.value.clone()
    }
}

type Remade<T> = Result<Option<(T, [u8; 32])>, (LoadError, Option<[u8; 32]>)>;

/// The value of changed files; `None` where they are as `known`.
fn remake<T>(paths: &[PathBuf], make: &Make<T>, known: [u8; 32]) -> Remade<T> {
    let contents = read_all(paths).map_err(|error| (error, None))?;
    let fingerprint = fingerprint(&contents);
    if fingerprint == known {
        return Ok(None);
    }
    make(&contents).map(|value| Some((value, fingerprint))).map_err(|error| (error, Some(fingerprint)))
}

fn read_all(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, LoadError> {
    paths.iter().map(|path| fs::read(path).map_err(|source| LoadError::Read { path: path.clone(), source })).collect()
}

fn fingerprint(contents: &[Vec<u8>]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for content in contents {
        hash.update((content.len() as u64).to_be_bytes());
        hash.update(content);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(contents: &[Vec<u8>]) -> Result<u32, LoadError> {
        String::from_utf8_lossy(&contents[0])
            .trim()
            .parse()
            .map_err(|source| LoadError::Invalid { path: "number".into(), source: Box::new(source) })
    }

    fn age<T>(reloading: &Reloading<T>) {
        reloading.held.lock().unwrap().checked_at -= MAX_AGE;
    }

    #[tokio::test]
    async fn a_change_is_seen_and_a_bad_one_keeps_the_value() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("number");
        fs::write(&file, "1").unwrap();
        let reloading = Reloading::load(vec![file.clone()], number).unwrap();

        fs::write(&file, "2").unwrap();
        assert_eq!(*reloading.current().await, 1, "looked again too soon");
        age(&reloading);
        assert_eq!(*reloading.current().await, 2);

        fs::write(&file, "many").unwrap();
        age(&reloading);
        assert_eq!(*reloading.current().await, 2);
        fs::remove_file(&file).unwrap();
        age(&reloading);
        assert_eq!(*reloading.current().await, 2);

        fs::write(&file, "3").unwrap();
        age(&reloading);
        assert_eq!(*reloading.current().await, 3);
    }

    #[test]
    fn an_absent_file_is_named() {
        let error = Reloading::load(vec!["/nonexistent/number".into()], number).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/number"));
    }
}
