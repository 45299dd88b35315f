//! The state folder: private to its owner, locked by one agent, and files in it replaced whole or not at all. Identity
//! and journal write through it. What must hold: two agents never share a folder, and no file in it is readable by
//! others.

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be made or its rights cannot be set.
    #[error("the state folder {} cannot be used", path.display())]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another agent runs with it.
    #[error("another agent runs with the state folder {}", path.display())]
    Locked {
        /// Which folder.
        path: PathBuf,
    },
}

/// A state folder that this agent alone uses, for as long as this value lives.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// The kernel frees the lock with the file, also after kill -9.
    _lock: File,
}

impl StateDir {
    /// Makes the folder if need be (0700) and locks it.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let failed = |source| StateError::Folder { path: path.to_owned(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let metadata = std::fs::metadata(path).map_err(failed)?;
        if metadata.mode() & 0o077 != 0 {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).map_err(failed)?;
        }
        let lock = open_private(&path.join("lock")).map_err(failed)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(Errno::WOULDBLOCK) => Err(StateError::Locked { path: path.to_owned() }),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Opens a file for reading and writing, made with mode 0600 if it is not there.
pub fn open_private(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Puts a file in the place of another at once, mode 0600: after a crash the old or the new one is there, whole.
/// Answers the new file.
pub fn replace_file(path: &Path, bytes: &[u8]) -> std::io::Result<File> {
    let next = path.with_extension("next");
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&next, path)?;
    sync_folder(path)?;
    Ok(file)
}

/// Makes the names in a file's folder durable.
pub fn sync_folder(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_private_and_belongs_to_one_agent() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        let first = StateDir::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        assert!(matches!(StateDir::open(&path), Err(StateError::Locked { .. })));
        drop(first);
        StateDir::open(&path).unwrap();
    }

    #[test]
    fn a_replaced_file_is_private_and_has_the_new_bytes() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("key.pem");
        replace_file(&path, b"one").unwrap();
        replace_file(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
