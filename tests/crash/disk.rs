//! A file system that promises no more than it must.
//!
//! What a file holds is durable after a sync of that file; that a name exists, or does not, after a sync of its folder.
//! A rename within the file system is atomic: its old name never goes without the new one, but both may be there. Ages
//! are durable after a full sync only.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    step::{Step, Sync},
    tree::{Node, Tree},
};

type Id = usize;

const ROOT: Id = 0;

/// The files as they can be seen, and what of them would survive.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    inodes: Vec<Inode>,
    /// Changes of names that are not durable, oldest first.
    pub(super) names: Vec<NameChange>,
    /// Counts what was done, so that a sync knows what came before it.
    now: usize,
    syncing: HashMap<u32, (usize, Id, Sync)>,
}

#[derive(Debug, Clone)]
pub(super) enum Inode {
    Folder { durable: BTreeMap<String, Id>, seen: BTreeMap<String, Id> },
    File(File),
}

#[derive(Debug, Clone, Default)]
pub(super) struct File {
    durable: Arc<Vec<u8>>,
    durable_age: Option<u64>,
    /// Changes of its content that are not durable, oldest first.
    pub(super) pending: Vec<(usize, Change)>,
    age: Option<(usize, Option<u64>)>,
}

#[derive(Debug, Clone)]
pub(super) enum Change {
    Write { offset: u64, bytes: Arc<Vec<u8>> },
    Truncate { length: u64 },
}

/// A name that came, one that went, or both: a rename.
#[derive(Debug, Clone)]
pub(super) struct NameChange {
    at: usize,
    came: Option<(Id, String, Id)>,
    went: Option<(Id, String)>,
}

/// What survives of one change of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Survives {
    Nothing,
    /// Of a rename: both names are there.
    NewName,
    All,
}

/// What survives of what a file was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Nothing,
    /// So many changes.
    First(usize),
    /// All, but half of the last.
    Torn,
    /// As long as it would be, and zeros.
    Zeros,
    All,
}

impl Disk {
    /// Everything in a tree is durable.
    pub(crate) fn new(tree: &Tree) -> Self {
        let folder = || Inode::Folder { durable: BTreeMap::new(), seen: BTreeMap::new() };
        let mut disk = Self { inodes: vec![folder()], names: Vec::new(), now: 0, syncing: HashMap::new() };
        for (path, node) in &tree.0 {
            let (parent, name) = disk.place(path);
            let inode = match node {
                Node::Folder => folder(),
                Node::File { bytes, modified } => {
                    Inode::File(File { durable: bytes.clone(), durable_age: *modified, ..File::default() })
                }
            };
            disk.inodes.push(inode);
            let id = disk.inodes.len() - 1;
            if let Inode::Folder { durable, seen } = &mut disk.inodes[parent] {
                durable.insert(name.clone(), id);
                seen.insert(name, id);
            }
        }
        disk
    }

    /// Does what a step did. A step that `is_left_out` has no effect on what survives.
    pub(crate) fn apply(&mut self, step: &Step, is_left_out: bool) {
        self.now += 1;
        match step {
            Step::Create { path } => {
                if self.find(path).is_none() {
                    self.create(path, Inode::File(File::default()));
                }
            }
            Step::Mkdir { path } => {
                self.create(path, Inode::Folder { durable: BTreeMap::new(), seen: BTreeMap::new() });
            }
            Step::Write { path, offset, bytes } => {
                self.change(path, Change::Write { offset: *offset, bytes: Arc::new(bytes.clone()) });
            }
            Step::Append { path, bytes } => {
                let file = self.file(path);
                let offset = file.content(file.pending.len()).len() as u64;
                self.change(path, Change::Write { offset, bytes: Arc::new(bytes.clone()) });
            }
            Step::Truncate { path, length } => self.change(path, Change::Truncate { length: *length }),
            Step::Rename { from, to } => self.rename(from, to),
            Step::Remove { path } => self.remove(path),
            Step::Touch { path, seconds } => {
                let now = self.now;
                self.file(path).age = Some((now, *seconds));
            }
            Step::SyncBegin { thread, path, kind } => {
                if let Some(id) = self.find(path).filter(|_| !is_left_out) {
                    self.syncing.insert(*thread, (self.now, id, *kind));
                }
            }
            Step::SyncEnd { thread } => {
                if let Some((until, id, kind)) = self.syncing.remove(thread) {
                    self.sync(until, id, kind);
                }
            }
            Step::Mark(_) => {}
        }
    }

    /// The process is gone; what it did can be seen.
    pub(crate) fn kill(&mut self) {
        self.syncing.clear();
    }

    /// Everything as it can be seen.
    pub(crate) fn seen_tree(&self) -> Tree {
        self.after_cut(|_, _| Survives::All, |_, _| Content::All)
    }

    fn create(&mut self, path: &str, inode: Inode) {
        self.inodes.push(inode);
        let id = self.inodes.len() - 1;
        let (parent, name) = self.place(path);
        self.names.push(NameChange { at: self.now, came: Some((parent, name.clone(), id)), went: None });
        self.seen(parent).insert(name, id);
    }

    fn change(&mut self, path: &str, change: Change) {
        let now = self.now;
        let file = self.file(path);
        file.pending.push((now, change));
        file.age = Some((now, None));
    }

    fn rename(&mut self, from: &str, to: &str) {
        let id = self.find(from).unwrap_or_else(|| panic!("nobody knows {from}"));
        let ((old, old_name), (new, new_name)) = (self.place(from), self.place(to));
        self.seen(old).remove(&old_name);
        self.seen(new).insert(new_name.clone(), id);
        self.names.push(NameChange { at: self.now, came: Some((new, new_name, id)), went: Some((old, old_name)) });
    }

    fn remove(&mut self, path: &str) {
        let (parent, name) = self.place(path);
        // A socket is no part of this.
        if self.seen(parent).remove(&name).is_some() {
            self.names.push(NameChange { at: self.now, came: None, went: Some((parent, name)) });
        }
    }

    fn sync(&mut self, until: usize, id: Id, kind: Sync) {
        if kind == Sync::FileSystem {
            for id in 0..self.inodes.len() {
                self.sync_one(until, id, true);
            }
        } else {
            self.sync_one(until, id, kind == Sync::Everything);
        }
    }

    fn sync_one(&mut self, until: usize, id: Id, with_age: bool) {
        match &mut self.inodes[id] {
            Inode::File(file) => file.sync(until, with_age),
            Inode::Folder { .. } => self.sync_folder(until, id),
        }
    }

    fn sync_folder(&mut self, until: usize, folder: Id) {
        for mut change in std::mem::take(&mut self.names) {
            let is_late = change.at >= until;
            let goes_here = change.went.as_ref().is_some_and(|(parent, _)| *parent == folder);
            let comes_here = change.came.as_ref().is_some_and(|(parent, ..)| *parent == folder);
            // That the old name is gone for good implies that the new one is there.
            if !is_late
                && (comes_here || goes_here)
                && let Some((parent, name, id)) = change.came.take()
            {
                for earlier in &mut self.names {
                    earlier.forget(parent, &name);
                }
                self.durable(parent).insert(name, id);
            }
            if !is_late
                && goes_here
                && let Some((parent, name)) = change.went.take()
            {
                self.durable(parent).remove(&name);
            }
            if change.came.is_some() || change.went.is_some() {
                self.names.push(change);
            }
        }
    }

    /// What is found after a power cut, if of each change of names, and of what each file was given, that much survives.
    pub(super) fn after_cut(
        &self,
        mut names: impl FnMut(usize, &NameChange) -> Survives,
        mut content: impl FnMut(Id, &File) -> Content,
    ) -> Tree {
        let mut folders: HashMap<Id, BTreeMap<String, Id>> = HashMap::new();
        for (id, inode) in self.inodes.iter().enumerate() {
            if let Inode::Folder { durable, .. } = inode {
                folders.insert(id, durable.clone());
            }
        }
        for (at, change) in self.names.iter().enumerate() {
            let survives = names(at, change);
            if survives == Survives::Nothing {
                continue;
            }
            if let Some((parent, name, id)) = &change.came {
                folders.entry(*parent).or_default().insert(name.clone(), *id);
            }
            if let Some((parent, name)) = change.went.as_ref().filter(|_| survives == Survives::All) {
                folders.entry(*parent).or_default().remove(name);
            }
        }
        let mut tree = Tree::default();
        self.collect(ROOT, "", &folders, &mut content, &mut tree);
        tree
    }

    fn collect(
        &self,
        folder: Id,
        below: &str,
        folders: &HashMap<Id, BTreeMap<String, Id>>,
        content: &mut impl FnMut(Id, &File) -> Content,
        tree: &mut Tree,
    ) {
        for (name, id) in &folders[&folder] {
            let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
            match &self.inodes[*id] {
                Inode::Folder { .. } => {
                    tree.0.insert(path.clone(), Node::Folder);
                    self.collect(*id, &path, folders, content, tree);
                }
                Inode::File(file) => {
                    tree.0.insert(path, file.survivor(content(*id, file)));
                }
            }
        }
    }

    fn find(&self, path: &str) -> Option<Id> {
        path.split('/').filter(|name| !name.is_empty()).try_fold(ROOT, |at, name| match &self.inodes[at] {
            Inode::Folder { seen, .. } => seen.get(name).copied(),
            Inode::File(_) => None,
        })
    }

    fn place(&self, path: &str) -> (Id, String) {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        (self.find(parent).unwrap_or_else(|| panic!("nobody knows the folder of {path}")), name.to_owned())
    }

    fn file(&mut self, path: &str) -> &mut File {
        let id = self.find(path).unwrap_or_else(|| panic!("nobody knows {path}"));
        match &mut self.inodes[id] {
            Inode::File(file) => file,
            Inode::Folder { .. } => panic!("{path} is a folder"),
        }
    }

    fn seen(&mut self, id: Id) -> &mut BTreeMap<String, Id> {
        match &mut self.inodes[id] {
            Inode::Folder { seen, .. } => seen,
            Inode::File(_) => panic!("a file holds no names"),
        }
    }

    fn durable(&mut self, id: Id) -> &mut BTreeMap<String, Id> {
        match &mut self.inodes[id] {
            Inode::Folder { durable, .. } => durable,
            Inode::File(_) => panic!("a file holds no names"),
        }
    }
}

impl NameChange {
    /// Whether it gives a file another name, and takes the one that it had.
    pub(super) fn is_rename(&self) -> bool {
        self.came.is_some() && self.went.is_some()
    }

    /// A later change of the same name is durable.
    fn forget(&mut self, parent: Id, name: &str) {
        if self.came.as_ref().is_some_and(|(at, called, _)| *at == parent && called == name) {
            self.came = None;
        }
        if self.went.as_ref().is_some_and(|(at, called)| *at == parent && called == name) {
            self.went = None;
        }
    }
}

impl File {
    fn sync(&mut self, until: usize, with_age: bool) {
        let covered = self.pending.iter().take_while(|(at, _)| *at < until).count();
        if covered > 0 {
            self.durable = Arc::new(self.content(covered));
            self.pending.drain(..covered);
        }
        if with_age && let Some((_, age)) = self.age.filter(|(at, _)| *at < until) {
            self.durable_age = age;
            self.age = None;
        }
    }

    /// Its content after so many changes.
    fn content(&self, changes: usize) -> Vec<u8> {
        let mut content = self.durable.as_ref().clone();
        for (_, change) in self.pending.iter().take(changes) {
            change.apply(&mut content);
        }
        content
    }

    fn survivor(&self, survives: Content) -> Node {
        let all = self.pending.len();
        let bytes = match survives {
            _ if all == 0 => self.durable.clone(),
            Content::Nothing => self.durable.clone(),
            Content::First(changes) => Arc::new(self.content(changes.min(all))),
            Content::Torn => Arc::new(self.torn()),
            Content::Zeros => Arc::new(self.zeros()),
            Content::All => Arc::new(self.content(all)),
        };
        let modified = match (survives, self.age) {
            (Content::Nothing, _) | (_, None) => self.durable_age,
            (_, Some((_, age))) => age,
        };
        Node::File { bytes, modified }
    }

    /// As long as it would be, but nothing that was written has arrived.
    fn zeros(&self) -> Vec<u8> {
        let mut content = self.durable.as_ref().clone();
        for (_, change) in &self.pending {
            match change {
                Change::Write { offset, bytes } => {
                    let bytes = Arc::new(vec![0; bytes.len()]);
                    Change::Write { offset: *offset, bytes }.apply(&mut content);
                }
                Change::Truncate { .. } => change.apply(&mut content),
            }
        }
        content
    }

    fn torn(&self) -> Vec<u8> {
        let mut content = self.content(self.pending.len() - 1);
        match self.pending.last() {
            Some((_, Change::Write { offset, bytes })) => {
                let half = Arc::new(bytes[..bytes.len() / 2].to_vec());
                Change::Write { offset: *offset, bytes: half }.apply(&mut content);
            }
            Some((_, change)) => change.apply(&mut content),
            None => {}
        }
        content
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                let begin = usize::try_from(*offset).unwrap();
                let end = begin + bytes.len();
                content.resize(content.len().max(end), 0);
                content[begin..end].copy_from_slice(bytes);
            }
            Self::Truncate { length } => content.resize(usize::try_from(*length).unwrap(), 0),
        }
    }
}
