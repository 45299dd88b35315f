//! The cluster's own certificate authority, the TLS of the agent port, and the key of tokens for the registry. `app` loads the [`Authority`] at start and
//! hands [`ServerTls`] to the hub's listener; enrolment and renewal call [`Authority::issue_agent`].
//!
//! What must hold: a certificate says only what the coordinator wrote (nothing of a signing request but its public
//! key), a connection is never resumed (a resumed one would not be asked for its certificate again), and TLS 1.3 with
//! the `ring` provider is all that is spoken. Revocation is not in here: certificates are checked against the database
//! when a session begins, because a list handed to TLS would bind new handshakes only.

mod authority;
mod files;
mod peer;
mod tls;
mod tokens;

pub use authority::{Authority, IssuedCertificate, csr_public_key_sha256};
pub use peer::{Peer, PeerError};
pub use tls::{Conversation, ServerTls};
pub use tokens::{CERTIFICATE as TOKEN_CERTIFICATE, TokenKey};

use std::path::PathBuf;

/// Why the authority cannot be had, or does not issue.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The signing request is not one, or is not signed by its own key.
    #[error("the certificate signing request cannot be used")]
    Csr(#[source] rcgen::Error),
    /// The signing request is larger than any that this software makes, bytes.
    #[error("the certificate signing request of {0} bytes is too large")]
    CsrTooLarge(usize),
    /// The signing request's key is of a kind that is not accepted.
    #[error("the key of the certificate signing request must be ECDSA P-256, ECDSA P-384 or Ed25519")]
    CsrKey,
    /// A certificate or a key could not be made.
    #[error("a certificate could not be made")]
    Make(#[source] rcgen::Error),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random(#[source] getrandom::Error),
    /// The clock shows a time that a certificate cannot hold.
    #[error("the clock shows a time that a certificate cannot hold")]
    Clock(#[source] time::error::ComponentRange),
    /// A file could not be read or written.
    #[error("cannot {step} {}", path.display())]
    File {
        /// What was tried: `read`, `write`, `rename`.
        step: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Others than its owner may read the key.
    #[error("{} may be read by others (mode {mode:03o}); make it 600 and think about who has read it", path.display())]
    KeyExposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file holds no private key.
    #[error("{} holds no usable private key", path.display())]
    KeyUnusable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: rcgen::Error,
    },
    /// There is a certificate and no key to it.
    #[error("{} is there, but its key {} is not; restore the key from a backup", certificate.display(), key.display())]
    KeyMissing {
        /// The certificate's file.
        certificate: PathBuf,
        /// Where the key should be.
        key: PathBuf,
    },
    /// The key is another than the certificate's.
    #[error("{} and {} do not belong together", certificate.display(), key.display())]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The file is not a CA certificate of this software.
    #[error("{} is not the certificate of a Dockerforge authority", path.display())]
    NotAnAuthority {
        /// Which file.
        path: PathBuf,
    },
    /// The authority is of another cluster.
    #[error("{} is the authority of another cluster than the database's ({subject})", path.display())]
    ForeignCluster {
        /// Which file.
        path: PathBuf,
        /// The subject that it names.
        subject: String,
    },
    /// The authority's certificate is not valid now.
    #[error("{} is not valid at this time; is the clock right?", path.display())]
    NotValidNow {
        /// Which file.
        path: PathBuf,
    },
    /// The key cannot sign tokens: it is of another kind.
    #[error("{} holds no key for ECDSA with P-256", .0.display())]
    TokenKey(PathBuf),
    /// A token could not be signed.
    #[error("a token could not be signed: the system gives no random numbers")]
    Sign,
    /// The TLS library does not take what was made.
    #[error("the TLS configuration of the agent port is refused")]
    Tls(#[source] rustls::Error),
    /// The TLS library does not take the authority as the root of client certificates.
    #[error("the TLS library does not take the authority")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
}
