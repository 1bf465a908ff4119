//! Records under `lagan/v1/`: versioned JSON with a checksum.
//!
//! ```json
//! {"version":1,"checksum":"sha256:…","body":{…}}
//! ```
//!
//! The checksum is that of the body's text as it stands in the file.

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tracing::warn;

use crate::oci::{Algorithm, Digest};

use crate::storage::{
    Error,
    driver::{self, Durability, Seen, StoragePath},
    layout::PathSpec,
    store::Store,
};

/// The form that this version writes. A reader refuses any other, because what it does not know it cannot keep.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    checksum: Digest,
    body: &'a RawValue,
}

#[derive(Deserialize)]
struct Read<'a> {
    version: u32,
    checksum: Digest,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// The bytes of a record.
pub(in crate::storage) fn encode<T: Serialize>(body: &T) -> Result<Bytes, serde_json::Error> {
    let body = serde_json::value::to_raw_value(body)?;
    let checksum = Digest::of(Algorithm::Sha256, body.get().as_bytes());
    serde_json::to_vec(&Written { version: VERSION, checksum, body: &body }).map(Bytes::from)
}

/// What a record says; otherwise why it cannot be told.
pub(in crate::storage) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let record: Read<'_> = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if record.version != VERSION {
        return Err(format!("its version is {}, and only {VERSION} is known", record.version));
    }
    if !record.checksum.matches(record.body.get().as_bytes()) {
        return Err("its checksum does not match".into());
    }
    serde_json::from_str(record.body.get()).map_err(|e| e.to_string())
}

/// What a look at a record found. One that cannot be understood is reported.
pub(in crate::storage) fn record_in<T: DeserializeOwned>(path: &StoragePath, seen: Seen) -> Lenient<T> {
    let reason = match seen {
        Seen::Content(bytes) => match decode(&bytes) {
            Ok(body) => return Lenient::Read(body),
            Err(reason) => reason,
        },
        Seen::Absent => return Lenient::Absent,
        Seen::TooLong(_) | Seen::Metadata(_) | Seen::Name(_) => "it is too long".to_owned(),
    };
    warn!(%path, reason, "a record could not be read");
    Lenient::Unreadable
}

impl Store {
    /// Writes a record whole.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub(in crate::storage) async fn put_record<T: Serialize>(
        &self,
        spec: PathSpec<'_>,
        body: &T,
        durability: Durability,
    ) -> Result<(), Error> {
        let path = spec.path();
        let bytes = encode(body).map_err(|e| corrupt(&path, e.to_string()))?;
        self.driver.put(&path, bytes, durability).await.map_err(|source| Error::driver("write a record", source))
    }

    /// Reads a record; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where it cannot be understood, [`Error::Driver`].
    pub(in crate::storage) async fn record<T: DeserializeOwned>(&self, spec: PathSpec<'_>) -> Result<Option<T>, Error> {
        let Some(bytes) = self.file(spec, "read a record").await? else { return Ok(None) };
        decode(&bytes).map(Some).map_err(|reason| corrupt(&spec.path(), reason))
    }

    /// Reads a record that a reader can do without: one that cannot be understood is reported and passed over.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub(in crate::storage) async fn lenient_record<T: DeserializeOwned>(
        &self,
        spec: PathSpec<'_>,
    ) -> Result<Lenient<T>, Error> {
        match self.record(spec).await {
            Ok(Some(body)) => Ok(Lenient::Read(body)),
            Ok(None) => Ok(Lenient::Absent),
            Err(Error::Corrupt { path, reason }) => {
                warn!(path, reason, "a record could not be read");
                Ok(Lenient::Unreadable)
            }
            Err(error) => Err(error),
        }
    }

    /// Removes a record; whether it was there.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub(in crate::storage) async fn remove_record(&self, spec: PathSpec<'_>) -> Result<bool, Error> {
        self.remove_file(&spec.path(), "remove a record").await
    }

    /// Removes a file; whether it was there.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub(in crate::storage) async fn remove_file(
        &self,
        path: &StoragePath,
        action: &'static str,
    ) -> Result<bool, Error> {
        match self.driver.delete(path).await {
            Ok(()) => Ok(true),
            Err(driver::Error::NotFound { .. }) => Ok(false),
            Err(source) => Err(Error::driver(action, source)),
        }
    }

    /// What a file holds; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub(in crate::storage) async fn file(
        &self,
        spec: PathSpec<'_>,
        action: &'static str,
    ) -> Result<Option<Bytes>, Error> {
        match self.driver.get(&spec.path()).await {
            Ok(content) => Ok(Some(content)),
            Err(driver::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(Error::driver(action, source)),
        }
    }

    /// Removes a folder with all that is in it. One that is not there is no error.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub(in crate::storage) async fn remove_folder(
        &self,
        spec: PathSpec<'_>,
        action: &'static str,
    ) -> Result<(), Error> {
        self.driver.delete_directory(&spec.path()).await.map_err(|source| Error::driver(action, source))
    }

    /// Whether a folder is there and holds anything.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub(in crate::storage) async fn is_folder(&self, spec: PathSpec<'_>) -> Result<bool, Error> {
        match self.driver.list(&spec.path(), None, 1).await {
            Ok(entries) => Ok(!entries.is_empty()),
            Err(driver::Error::NotFound { .. }) => Ok(false),
            Err(source) => Err(Error::driver("list a folder", source)),
        }
    }

    /// The names in a folder, all of them; none where it is absent.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub(in crate::storage) async fn names(&self, spec: PathSpec<'_>) -> Result<Vec<String>, Error> {
        self.names_after(spec, None, usize::MAX).await
    }

    /// At most `limit` names in a folder that sort after `after`, in the order of their bytes.
    ///
    /// # Errors
    /// [`Error::Driver`].
    pub(in crate::storage) async fn names_after(
        &self,
        spec: PathSpec<'_>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        match self.driver.list(&spec.path(), after, limit).await {
            Ok(entries) => Ok(entries.into_iter().map(|entry| entry.name).collect()),
            Err(driver::Error::NotFound { .. }) => Ok(Vec::new()),
            Err(source) => Err(Error::driver("list a folder", source)),
        }
    }
}

/// What became of reading a record that may be unreadable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::storage) enum Lenient<T> {
    /// It says this.
    Read(T),
    /// There is none.
    Absent,
    /// There is one, and it was reported.
    Unreadable,
}

impl<T> Lenient<T> {
    /// What it says, if that is known.
    pub(in crate::storage) fn read(self) -> Option<T> {
        match self {
            Self::Read(body) => Some(body),
            Self::Absent | Self::Unreadable => None,
        }
    }
}

fn corrupt(path: &StoragePath, reason: String) -> Error {
    Error::Corrupt { path: path.to_string(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_the_way_through_bytes() {
        let bytes = encode(&vec!["a", "b"]).unwrap();
        assert_eq!(decode::<Vec<String>>(&bytes), Ok(vec!["a".into(), "b".into()]));
    }

    #[test]
    fn a_changed_record_is_refused() {
        let text = String::from_utf8(encode(&"flotsam").unwrap().to_vec()).unwrap();
        for (from, to) in [("flotsam", "jetsams"), ("\"version\":1", "\"version\":2"), ("}", "")] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            assert!(decode::<String>(changed.as_bytes()).is_err(), "{changed} was accepted");
        }
    }

    #[test]
    fn every_truncation_of_a_record_is_refused() {
        let bytes = encode(&"flotsam").unwrap();
        for length in 0..bytes.len() {
            assert!(decode::<String>(&bytes[..length]).is_err(), "{length} bytes were accepted");
        }
    }
}
