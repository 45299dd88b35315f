//! The authority's two files, `ca.pem` and `ca.key`: made once at the first start, checked at every start. Called by
//! `app` through [`Authority::load_or_generate`].
//!
//! What must hold: the key is never on disk readable by others, not for a moment; a crash at any point leaves files
//! that the next start can go on from; files that do not fit the database stop the start instead of making agents'
//! certificates worthless.

use super::PkiError;
use super::authority::{Authority, common_name};
use dockerforge_protocol::ids::ClusterId;
use jiff::Timestamp;
use rcgen::{KeyPair, PublicKeyData};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use x509_parser::prelude::{FromDer, X509Certificate};

const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca.key";

impl Authority {
    /// The authority whose files are in a folder; a new one if there are none.
    ///
    /// The key is written before the certificate, so a start that died between the two leaves a key alone; its
    /// certificate is then made anew. The other way round, a certificate without its key, is a loss and an error.
    ///
    /// # Errors
    /// A variant for each way in which the files cannot be read, written or used.
    pub fn load_or_generate(dir: &Path, cluster: ClusterId, now: Timestamp) -> Result<Self, PkiError> {
        let (certificate, key) = (dir.join(CERTIFICATE), dir.join(KEY));
        match (read(&certificate)?, read(&key)?) {
            (Some(pem), Some(key_pem)) => {
                refuse_exposed(&key)?;
                load(&certificate, pem, &key, &key_pem, cluster, now)
            }
            (None, Some(key_pem)) => {
                refuse_exposed(&key)?;
                let authority = Self::from_key(cluster, parse_key(&key, &key_pem)?, now)?;
                write(dir, &certificate, authority.ca_pem(), 0o644)?;
                Ok(authority)
            }
            (Some(_), None) => Err(PkiError::KeyMissing { certificate, key }),
            (None, None) => {
                let authority = Self::generate(cluster, now)?;
                write(dir, &key, &authority.key_pem(), 0o600)?;
                write(dir, &certificate, authority.ca_pem(), 0o644)?;
                tracing::info!(certificate = %certificate.display(), "made the cluster's certificate authority");
                Ok(authority)
            }
        }
    }
}

/// Checks that a certificate and a key belong together, to this cluster and to this time.
fn load(
    path: &Path,
    pem: String,
    key_path: &Path,
    key_pem: &str,
    cluster: ClusterId,
    now: Timestamp,
) -> Result<Authority, PkiError> {
    let not_an_authority = || PkiError::NotAnAuthority { path: path.to_owned() };
    let key = parse_key(key_path, key_pem)?;
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| not_an_authority())?;
    let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| not_an_authority())?;
    if !parsed.is_ca() {
        return Err(not_an_authority());
    }
    let named = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    if named != Some(common_name(cluster).as_str()) {
        return Err(PkiError::ForeignCluster { path: path.to_owned(), subject: parsed.subject().to_string() });
    }
    if parsed.public_key().raw != key.subject_public_key_info() {
        return Err(PkiError::KeyMismatch { certificate: path.to_owned(), key: key_path.to_owned() });
    }
    let validity = parsed.validity();
    if !(validity.not_before.timestamp()..validity.not_after.timestamp()).contains(&now.as_second()) {
        return Err(PkiError::NotValidNow { path: path.to_owned() });
    }
    Authority::from_parts(cluster, key, der.clone(), pem)
}

pub(super) fn parse_key(path: &Path, pem: &str) -> Result<KeyPair, PkiError> {
    KeyPair::from_pem(pem).map_err(|source| PkiError::KeyUnusable { path: path.to_owned(), source })
}

fn failed<'a>(step: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> PkiError + use<'a> {
    move |source| PkiError::File { step, path: path.to_owned(), source }
}

pub(super) fn read(path: &Path) -> Result<Option<String>, PkiError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

pub(super) fn refuse_exposed(path: &Path) -> Result<(), PkiError> {
    let mode = std::fs::metadata(path).map_err(failed("read", path))?.permissions().mode() & 0o777;
    let open_to_others = mode & 0o077 != 0;
    if open_to_others { Err(PkiError::KeyExposed { path: path.to_owned(), mode }) } else { Ok(()) }
}

/// Writes a file whole or not at all, durably.
pub(super) fn write(dir: &Path, path: &Path, text: &str, mode: u32) -> Result<(), PkiError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    // Left by a start that died; the mode of a file is set only where it is created.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed("replace", &new)(error)),
        _ => {}
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&new).map_err(failed("create", &new))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed("write", &new))?;
    std::fs::rename(&new, path).map_err(failed("rename", &new))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::now()
    }

    fn chmod(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_second_start_has_the_authority_of_the_first() {
        let (dir, cluster) = (tempfile::tempdir().unwrap(), ClusterId::new());
        let first = Authority::load_or_generate(dir.path(), cluster, now()).unwrap();
        let second = Authority::load_or_generate(dir.path(), cluster, now()).unwrap();
        assert_eq!((first.pin(), first.ca_pem()), (second.pin(), second.ca_pem()));
        let mode = std::fs::metadata(dir.path().join(KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing else is left behind");
    }

    #[test]
    fn a_start_that_died_between_key_and_certificate_goes_on_with_the_key() {
        let (dir, cluster) = (tempfile::tempdir().unwrap(), ClusterId::new());
        let first = Authority::load_or_generate(dir.path(), cluster, now()).unwrap();
        std::fs::remove_file(dir.path().join(CERTIFICATE)).unwrap();
        std::fs::write(dir.path().join("ca.pem.new"), "cut off").unwrap();
        let second = Authority::load_or_generate(dir.path(), cluster, now()).unwrap();
        assert_eq!(first.pin(), second.pin());
        assert!(Authority::load_or_generate(dir.path(), cluster, now()).is_ok());
    }

    #[test]
    fn files_that_do_not_fit_stop_the_start() {
        let (dir, cluster) = (tempfile::tempdir().unwrap(), ClusterId::new());
        let load = |cluster, now| Authority::load_or_generate(dir.path(), cluster, now).map(|_| ());
        load(cluster, now()).unwrap();
        let key = dir.path().join(KEY);

        assert!(matches!(load(ClusterId::new(), now()), Err(PkiError::ForeignCluster { .. })));
        let later = now() + jiff::SignedDuration::from_hours(24 * 3651);
        assert!(matches!(load(cluster, later), Err(PkiError::NotValidNow { .. })));
        for mode in [0o640, 0o604, 0o620] {
            chmod(&key, mode);
            assert!(matches!(load(cluster, now()), Err(PkiError::KeyExposed { .. })), "{mode:o}");
        }
        chmod(&key, 0o600);

        let own = std::fs::read_to_string(&key).unwrap();
        std::fs::write(&key, Authority::generate(cluster, now()).unwrap().key_pem()).unwrap();
        assert!(matches!(load(cluster, now()), Err(PkiError::KeyMismatch { .. })));
        std::fs::write(&key, "no key").unwrap();
        assert!(matches!(load(cluster, now()), Err(PkiError::KeyUnusable { .. })));
        std::fs::write(&key, own).unwrap();
        load(cluster, now()).unwrap();

        std::fs::remove_file(&key).unwrap();
        assert!(matches!(load(cluster, now()), Err(PkiError::KeyMissing { .. })));
    }
}
