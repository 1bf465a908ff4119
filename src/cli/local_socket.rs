//! The socket in a registry's folder, by which commands reach the process that holds it.

use std::{
    fs::{self, File, Permissions},
    io,
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixStream};

use crate::storage::driver::FilesystemDriver;

/// Only who owns the folder.
const MODE: u32 = 0o600;

/// A path to the socket that is short enough for the system, which takes 107 bytes; good for as long as this lives.
#[derive(Debug)]
pub(super) struct SocketPath {
    _folder: File,
    path: PathBuf,
}

impl SocketPath {
    /// Of the registry in a folder.
    ///
    /// # Errors
    /// Where the folder is not there.
    pub(super) fn of(directory: &Path) -> io::Result<Self> {
        let socket = FilesystemDriver::control_socket(directory);
        let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let folder = File::open(folder)?;
        let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        Ok(Self { _folder: folder, path })
    }

    /// The path.
    pub(super) fn as_path(&self) -> &Path {
        &self.path
    }
}

/// The socket of this process, which goes with this value. It must go before the folder is given back: it would be the
/// next process's.
#[derive(Debug)]
pub(super) struct OwnSocket(SocketPath);

impl Drop for OwnSocket {
    fn drop(&mut self) {
        // The next process replaces what is left.
        let _ = fs::remove_file(self.0.as_path());
    }
}

/// The id of the process that takes commands in a folder; `None` where nobody does whom this one may ask.
pub(super) async fn holder(directory: &Path) -> Option<i32> {
    let socket = SocketPath::of(directory).ok()?;
    let asked = UnixStream::connect(socket.as_path()).await.ok()?;
    // One of another container has no id here.
    asked.peer_cred().ok()?.pid().filter(|process| *process > 0)
}

/// Listens in a folder that this process holds. What an earlier process left there is replaced.
///
/// # Errors
/// Where the file system has no sockets.
pub(super) fn bind(directory: &Path) -> io::Result<(UnixListener, OwnSocket)> {
    let socket = SocketPath::of(directory)?;
    match fs::remove_file(socket.as_path()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket.as_path())?;
    let socket = OwnSocket(socket);
    // Who connects before this is asked for its user anyway.
    fs::set_permissions(socket.0.as_path(), Permissions::from_mode(MODE))?;
    Ok((listener, socket))
}
