//! Who this agent is: the key that was made on this host and never leaves it, the certificate the coordinator gave for
//! it, and the CA that the coordinator must prove to be. `Agent::run` loads or enrols it; the session renews it; dialling
//! uses it. What must hold: key and certificate change together or not at all, and every file is readable by its owner
//! alone.
//!
//! Files in the state folder: `key.pem` (an enrolment's key, until it is answered), `credentials.pem` (key and
//! certificate), `ca.pem`, `identity.json` (written last: its presence means enrolled), `renewal.pem` (a renewal's key,
//! until it is answered), `revoked` (the coordinator said so).

pub mod enrol;
mod pin;

use crate::state::replace_file;
use dockerforge_protocol::enrolment::{Enrolled, server_name};
use dockerforge_protocol::ids::{ClusterId, HostId, InstanceId, JoinTokenId};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

const CREDENTIALS: &str = "credentials.pem";
const CA: &str = "ca.pem";
const IDENTITY: &str = "identity.json";
const KEY: &str = "key.pem";
const RENEWAL: &str = "renewal.pem";
const REVOKED: &str = "revoked";

/// Why an identity cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file of it cannot be read or written.
    #[error("{} cannot be used", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file of it is damaged.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A key could not be made or used.
    #[error("a key could not be made")]
    Key(#[source] rcgen::Error),
    /// The coordinator sent a certificate that does not fit.
    #[error("the coordinator's certificate for this host does not fit: {0}")]
    Unfit(String),
}

/// What `identity.json` holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Names {
    cluster: ClusterId,
    host: HostId,
    instance: InstanceId,
    /// The token it was enrolled with; not secret.
    joined_with: JoinTokenId,
}

/// The identity of an enrolled agent. Certificates are renewed in place.
pub struct Identity {
    folder: PathBuf,
    names: Names,
    current: Mutex<Current>,
}

struct Current {
    tls: Arc<ClientConfig>,
    /// Life of the certificate, seconds since 1970-01-01 UTC.
    not_before: i64,
    not_after: i64,
}

fn read(path: &Path) -> Result<Option<String>, IdentityError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(IdentityError::File { path: path.to_owned(), source }),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), IdentityError> {
    replace_file(path, bytes).map(drop).map_err(|source| IdentityError::File { path: path.to_owned(), source })
}

/// A key that is on the disk before anybody hears of it: the one in the file, or a fresh one.
fn kept_key(path: &Path) -> Result<KeyPair, IdentityError> {
    if let Some(key) = read(path)?.and_then(|pem| KeyPair::from_pem(&pem).ok()) {
        return Ok(key);
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IdentityError::Key)?;
    write(path, key.serialize_pem().as_bytes())?;
    Ok(key)
}

fn signing_request(key: &KeyPair) -> Result<String, IdentityError> {
    let request = CertificateParams::default().serialize_request(key).map_err(IdentityError::Key)?;
    request.pem().map_err(IdentityError::Key)
}

/// Checks that a certificate is for that key.
fn fits(certificate: &str, key: &KeyPair) -> Result<(), IdentityError> {
    let unfit = |reason: &str| IdentityError::Unfit(reason.to_owned());
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(|_| unfit("it is not a certificate"))?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).map_err(|_| unfit("it is not a certificate"))?;
    if parsed.public_key().raw == key.subject_public_key_info() { Ok(()) } else { Err(unfit("it is for another key")) }
}

impl Identity {
    /// The identity in that folder, if there is one.
    pub fn load(folder: &Path) -> Result<Option<Self>, IdentityError> {
        let path = folder.join(IDENTITY);
        let Some(text) = read(&path)? else { return Ok(None) };
        let damaged = |path: PathBuf, reason: String| IdentityError::Damaged { path, reason };
        let names: Names = serde_json::from_str(&text).map_err(|e| damaged(path, e.to_string()))?;
        let path = folder.join(CREDENTIALS);
        let credentials = read(&path)?.ok_or_else(|| damaged(path.clone(), "it is missing".to_owned()))?;
        let ca_path = folder.join(CA);
        let ca = read(&ca_path)?.ok_or_else(|| damaged(ca_path, "it is missing".to_owned()))?;
        let current = Current::new(&ca, &credentials).map_err(|reason| damaged(path, reason))?;
        Ok(Some(Self { folder: folder.to_owned(), names, current: Mutex::new(current) }))
    }

    /// Stores what an enrolment gave, and loads it.
    fn store(folder: &Path, key: &KeyPair, enrolled: &Enrolled, token: JoinTokenId) -> Result<Self, IdentityError> {
        fits(&enrolled.certificate, key)?;
        let credentials = format!("{}{}", key.serialize_pem(), enrolled.certificate);
        Current::new(&enrolled.ca, &credentials).map_err(IdentityError::Unfit)?;
        let names =
            Names { cluster: enrolled.cluster, host: enrolled.host, instance: InstanceId::new(), joined_with: token };
        write(&folder.join(CA), enrolled.ca.as_bytes())?;
        write(&folder.join(CREDENTIALS), credentials.as_bytes())?;
        write(&folder.join(IDENTITY), serde_json::to_string_pretty(&names).unwrap_or_default().as_bytes())?;
        for done in [KEY, REVOKED, RENEWAL] {
            let _ = std::fs::remove_file(folder.join(done));
        }
        Self::load(folder)?.ok_or_else(|| IdentityError::Unfit("it could not be read back".to_owned()))
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.names.cluster
    }

    /// Which host this is.
    #[must_use]
    pub fn host(&self) -> HostId {
        self.names.host
    }

    /// This installation.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.names.instance
    }

    /// The token it was enrolled with.
    #[must_use]
    pub fn joined_with(&self) -> JoinTokenId {
        self.names.joined_with
    }

    /// TLS for dialling, with the certificate of this moment.
    #[must_use]
    pub fn tls(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.current().tls)
    }

    /// The name that the coordinator's certificate must bear, wherever the coordinator is reached.
    pub fn server_name(&self) -> Result<ServerName<'static>, IdentityError> {
        ServerName::try_from(server_name(self.names.cluster)).map_err(|e| IdentityError::Unfit(e.to_string()))
    }

    /// When to ask for a new certificate, seconds since 1970-01-01 UTC: at a random 33 to 50 % of its life, so that
    /// agents that were enrolled together do not renew together.
    #[must_use]
    pub fn renew_at(&self) -> i64 {
        let current = self.current();
        let life = (current.not_after - current.not_before).max(0);
        current.not_before + life * i64::from(330 + crate::jitter::below(171)) / 1000
    }

    /// Makes the key of a renewal (or takes the one that waits for an answer), and answers its signing request, PEM.
    pub fn renewal_request(&self) -> Result<String, IdentityError> {
        signing_request(&kept_key(&self.folder.join(RENEWAL))?)
    }

    /// Takes the certificate for the renewal's key. Used from the next dial on.
    pub fn renew(&self, certificate: &str) -> Result<(), IdentityError> {
        let path = self.folder.join(RENEWAL);
        let pem = read(&path)?.ok_or_else(|| IdentityError::Unfit("none was asked for".to_owned()))?;
        let key = KeyPair::from_pem(&pem).map_err(IdentityError::Key)?;
        fits(certificate, &key)?;
        let ca_path = self.folder.join(CA);
        let ca = read(&ca_path)?.ok_or_else(|| IdentityError::Unfit("the CA's certificate is missing".to_owned()))?;
        let credentials = format!("{}{}", key.serialize_pem(), certificate);
        let current = Current::new(&ca, &credentials).map_err(IdentityError::Unfit)?;
        write(&self.folder.join(CREDENTIALS), credentials.as_bytes())?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = current;
        let _ = std::fs::remove_file(path);
        Ok(())
    }

    /// Whether the coordinator has revoked it, as far as is known here.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.folder.join(REVOKED).exists()
    }

    /// Keeps that the coordinator revoked it. Nothing is wiped: the owner may still want to see who it was.
    pub fn mark_revoked(&self) {
        if let Err(error) = write(&self.folder.join(REVOKED), b"the coordinator revoked this identity\n") {
            tracing::warn!(%error, "the revocation could not be kept");
        }
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    fn new(ca: &str, credentials: &str) -> Result<Self, String> {
        let key = PrivateKeyDer::from_pem_slice(credentials.as_bytes()).map_err(|e| format!("no private key: {e}"))?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(credentials.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|e| format!("no certificate: {e}"))?;
        let leaf = chain.first().ok_or("no certificate")?;
        let (_, parsed) = x509_parser::parse_x509_certificate(leaf).map_err(|e| format!("no certificate: {e}"))?;
        let (not_before, not_after) =
            (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
        let mut roots = rustls::RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            roots.add(root.map_err(|e| e.to_string())?).map_err(|e| format!("the CA's certificate: {e}"))?;
        }
        let tls = pin::session_tls(roots, chain, key).map_err(|e| e.to_string())?;
        Ok(Self { tls: Arc::new(tls), not_before, not_after })
    }
}
