//! A hundred uploads of a gibibyte on a disk that holds less.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::fs::{FallocateFlags, fallocate};

/// How often the files are visited; a disk takes in no more than some gibibytes meanwhile.
const PAUSE: Duration = Duration::from_millis(500);

/// Larger than any of a registry's own records.
const SMALL: u64 = 1 << 20;

/// Gives back the space of the files in a folder, again and again until it is dropped.
///
/// All that these tests upload is zeros, and zeros are what a hole reads as: no file's content changes.
pub(crate) struct Holes {
    stop: Option<Sender<()>>,
    digger: Option<JoinHandle<()>>,
}

impl Holes {
    pub(crate) fn dug_in(folder: &Path) -> Self {
        let folder = folder.to_owned();
        let (stop, stopped) = channel::<()>();
        let digger = thread::spawn(move || {
            while stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                dig(&folder);
            }
        });
        Self { stop: Some(stop), digger: Some(digger) }
    }
}

impl Drop for Holes {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(digger) = self.digger.take() {
            let _ = digger.join();
        }
    }
}

/// Files come and go meanwhile: what cannot be opened is left alone. So is what is small: the registry keeps notes too.
fn dig(folder: &Path) {
    for path in entries(folder) {
        if path.is_dir() {
            dig(&path);
        } else if let Ok(file) = fs::OpenOptions::new().write(true).open(&path) {
            let length = file.metadata().map_or(0, |metadata| metadata.len());
            if length > SMALL {
                let _ = fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, length);
            }
        }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
}
