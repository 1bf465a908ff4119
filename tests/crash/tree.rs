//! A folder with all that is in it, in memory.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    fs,
    hash::{Hash as _, Hasher as _},
    io::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Says which start of the machine served a folder last.
const BOOT: &str = "data/lagan/v1/local/boot";

const STAGING: &str = "data/lagan/v1/local/staging/";

/// What has a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Node {
    Folder,
    File {
        bytes: Arc<Vec<u8>>,
        /// Seconds since 1970; `None` is the time at which it is written out.
        modified: Option<u64>,
    },
}

/// Everything below a folder, by path. A folder comes before what is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tree(pub(crate) BTreeMap<String, Node>);

impl Tree {
    /// Everything below a folder on disk. What is neither a file nor a folder is passed over.
    pub(crate) fn read(root: &Path) -> Self {
        let mut tree = Self::default();
        tree.read_folder(root, "");
        tree
    }

    fn read_folder(&mut self, root: &Path, below: &str) {
        for entry in fs::read_dir(root.join(below)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                self.0.insert(path.clone(), Node::Folder);
                self.read_folder(root, &path);
            } else if metadata.is_file() {
                let since = metadata.modified().unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
                let bytes = Arc::new(fs::read(entry.path()).unwrap());
                self.0.insert(path, Node::File { bytes, modified: Some(since.as_secs()) });
            }
        }
    }

    /// Writes it into an empty folder.
    pub(crate) fn write(&self, root: &Path) {
        for (path, node) in &self.0 {
            let path = root.join(path);
            match node {
                Node::Folder => fs::create_dir(&path).unwrap(),
                Node::File { bytes, modified } => {
                    let mut file = fs::File::create(&path).unwrap();
                    file.write_all(bytes).unwrap();
                    if let Some(seconds) = modified {
                        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(*seconds)).unwrap();
                    }
                }
            }
        }
    }

    /// The same after another start of the machine than the one that wrote it.
    pub(crate) fn restarted(mut self) -> Self {
        if let Some(Node::File { bytes, .. }) = self.0.get_mut(BOOT) {
            *bytes = Arc::new(b"another start of the machine".to_vec());
        }
        self
    }

    /// The same for trees that a registry cannot tell apart: each start empties the staging folder.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (path, node) in self.0.iter().filter(|(path, _)| !path.starts_with(STAGING)) {
            (path, node).hash(&mut hasher);
        }
        hasher.finish()
    }
}
