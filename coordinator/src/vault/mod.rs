//! Secrets at rest. Each user has a data key, which the database has only wrapped under the installation's master key; the
//! master key is a file of its own and never in the database. What is a user's cannot be opened once he is deleted.
//! Called by the services and by what uses secrets for a user (`webhooks`).
//!
//! What must hold: a copy of the database alone opens nothing; several replicas on one database share the key file.

pub mod aead;

use crate::store::{self, Conn, StoreError};
use dockerforge_protocol::ids::UserId;
use secrecy::{ExposeSecret, SecretBox, SecretSlice};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a key.
const KEY: usize = 32;

/// The secrets. Cheap to clone.
#[derive(Clone)]
pub struct Vault {
    master: Arc<SecretBox<[u8; KEY]>>,
}

/// Why a secret could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The key file.
    #[error("cannot use the master key {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What is in it.
    #[error("{} is no master key: expected {KEY} bytes, readable by its owner alone", .0.display())]
    BadKey(PathBuf),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Random,
    /// It was sealed under another master key, or damaged.
    #[error("a stored secret does not open under this master key")]
    Sealed,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Vault {
    /// The vault whose master key is in a file; a fresh key where there is no file yet.
    pub fn load_or_generate(path: &Path) -> Result<Self, VaultError> {
        let failed = |source| VaultError::File { path: path.to_owned(), source };
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => generate(path)?,
            Err(error) => return Err(failed(error)),
        };
        let exposed = std::fs::metadata(path).map_err(failed)?.permissions().mode() & 0o077 != 0;
        let key = <[u8; KEY]>::try_from(bytes).ok().filter(|_| !exposed);
        let key = key.ok_or_else(|| VaultError::BadKey(path.to_owned()))?;
        Ok(Self { master: Arc::new(SecretBox::new(Box::new(key))) })
    }

    /// Seals a user's secret; `purpose` says what it is, and must be the same at the opening.
    pub async fn seal(
        &self,
        conn: &mut Conn,
        user: UserId,
        purpose: &str,
        plain: &[u8],
    ) -> Result<Vec<u8>, VaultError> {
        let key = match self.data_key(conn, user).await? {
            Some(key) => key,
            None => self.new_data_key(conn, user).await?,
        };
        aead::seal(key.expose_secret(), purpose.as_bytes(), plain).ok_or(VaultError::Random)
    }

    /// Opens what [`Self::seal`] sealed.
    pub async fn open(
        &self,
        conn: &mut Conn,
        user: UserId,
        purpose: &str,
        sealed: &[u8],
    ) -> Result<SecretSlice<u8>, VaultError> {
        let key = self.data_key(conn, user).await?.ok_or(VaultError::Sealed)?;
        aead::open(key.expose_secret(), purpose.as_bytes(), sealed).ok_or(VaultError::Sealed)
    }

    async fn data_key(&self, conn: &mut Conn, user: UserId) -> Result<Option<SecretBox<[u8; KEY]>>, VaultError> {
        let Some(wrapped) = store::vault::data_key(conn, user).await? else { return Ok(None) };
        let key =
            aead::open(self.master.expose_secret(), user.uuid().as_bytes(), &wrapped).ok_or(VaultError::Sealed)?;
        let key = <[u8; KEY]>::try_from(key.expose_secret()).map_err(|_| VaultError::Sealed)?;
        Ok(Some(SecretBox::new(Box::new(key))))
    }

    async fn new_data_key(&self, conn: &mut Conn, user: UserId) -> Result<SecretBox<[u8; KEY]>, VaultError> {
        let mut key = [0; KEY];
        getrandom::fill(&mut key).map_err(|_| VaultError::Random)?;
        let wrapped =
            aead::seal(self.master.expose_secret(), user.uuid().as_bytes(), &key).ok_or(VaultError::Random)?;
        store::vault::insert_data_key(conn, user, &wrapped).await?;
        // Another request may have been first: what is stored is the key.
        self.data_key(conn, user).await?.ok_or(VaultError::Sealed)
    }
}

fn generate(path: &Path) -> Result<Vec<u8>, VaultError> {
    let failed = |source| VaultError::File { path: path.to_owned(), source };
    let mut key = vec![0; KEY];
    getrandom::fill(&mut key).map_err(|_| VaultError::Random)?;
    let unfinished = path.with_extension("unfinished");
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)
        .and_then(|mut file| file.write_all(&key).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&unfinished, path))
        .map_err(failed)?;
    if let Some(folder) = path.parent() {
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_start_has_the_key_of_the_first_and_a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vault.key");
        let first = Vault::load_or_generate(&path).unwrap();
        let second = Vault::load_or_generate(&path).unwrap();
        assert_eq!(first.master.expose_secret(), second.master.expose_secret());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Vault::load_or_generate(&path), Err(VaultError::BadKey(_))));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "short").unwrap();
        assert!(matches!(Vault::load_or_generate(&path), Err(VaultError::BadKey(_))));
    }
}
