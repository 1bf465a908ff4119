//! A folder with all that is in it, in memory.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    fs,
    hash::{Hash as _, Hasher as _},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

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
                    fs::write(&path, bytes.as_slice()).unwrap();
                    if let Some(seconds) = modified {
                        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(*seconds);
                        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
                    }
                }
            }
        }
    }

    /// The same without what every start removes.
    pub(crate) fn without_staging(&self) -> Self {
        let is_kept = |path: &str| !path.contains("lagan/v1/local/staging");
        Self(self.0.iter().filter(|(path, _)| is_kept(path)).map(|(path, node)| (path.clone(), node.clone())).collect())
    }

    /// The same for trees that are equal.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }
}
