//! Who is at the other end of a connection, as its certificate says. The listener makes a [`Peer`] of each certificate
//! that TLS verified; handlers take it from the request's extensions.
//!
//! What must hold: a [`Peer`] is only ever made of a certificate that chains to our authority. Whether that certificate
//! was revoked since is for the database to say.

use dockerforge_protocol::enrolment::parse_agent_uri;
use dockerforge_protocol::ids::{ClusterId, HostId};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// An agent, by its verified certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// The host it is.
    pub host: HostId,
    /// The certificate's serial number: 32 lower-case hex digits.
    pub serial: String,
    /// Until when the certificate is valid, microseconds since 1970-01-01 UTC.
    pub not_after: i64,
}

/// Why a certificate of our authority does not name an agent.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It is not X.509.
    #[error("the client certificate cannot be read")]
    Unreadable,
    /// It does not hold exactly one name, of the form that agents' certificates have.
    #[error("the client certificate does not name an agent")]
    NotAnAgent,
}

impl Peer {
    /// Reads a certificate that TLS verified.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, PeerError> {
        let (rest, parsed) = X509Certificate::from_der(certificate).map_err(|_| PeerError::Unreadable)?;
        if !rest.is_empty() {
            return Err(PeerError::Unreadable);
        }
        let names = parsed.subject_alternative_name().map_err(|_| PeerError::Unreadable)?;
        let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
        let [GeneralName::URI(uri)] = names else { return Err(PeerError::NotAnAgent) };
        let (cluster, host) = parse_agent_uri(uri).ok_or(PeerError::NotAnAgent)?;
        Ok(Self {
            cluster,
            host,
            serial: hex::encode(parsed.raw_serial()),
            not_after: parsed.validity().not_after.timestamp().saturating_mul(1_000_000),
        })
    }
}
