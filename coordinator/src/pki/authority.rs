//! The certificate authority of a cluster: makes itself once, then issues certificates to agents (on enrolment and
//! renewal) and to the coordinator's own agent port. Called by enrolment, renewal and [`super::ServerTls`].
//!
//! What must hold: of a signing request only the public key is used. A request may ask for anything, a CA flag and
//! foreign names included, and a library that signs a request "as it is" grants it.

use super::PkiError;
use dockerforge_protocol::enrolment::{ENROLL_SERVER_NAME, agent_uri, server_name};
use dockerforge_protocol::ids::{ClusterId, HostId};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

/// The life of the authority itself.
const AUTHORITY_LIFE: Duration = Duration::days(3650);
/// The life of an agent's certificate; agents renew at a third to a half of it.
const AGENT_LIFE: Duration = Duration::days(30);
/// The life of the agent port's own certificate.
const SERVER_LIFE: Duration = Duration::days(90);
/// How far a certificate begins in the past, for hosts whose clock is behind.
const BACKDATED: Duration = Duration::hours(1);
/// No signing request of ours comes near it: a P-256 one is under 600 bytes.
const MAX_CSR: usize = 16 * 1024;

/// The certificate authority of one cluster, with its private key.
pub struct Authority {
    cluster: ClusterId,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    pin: [u8; 32],
}

/// A certificate that was issued to an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// Its serial number: 32 lower-case hex digits, as [`super::Peer`] shows it.
    pub serial: String,
    /// From when it is valid, microseconds since 1970-01-01 UTC.
    pub not_before: i64,
    /// Until when it is valid, microseconds since 1970-01-01 UTC.
    pub not_after: i64,
    /// SHA-256 of its public key (SubjectPublicKeyInfo, DER).
    pub public_key_sha256: [u8; 32],
}

/// A certificate of the agent port, with its key.
pub(super) struct ServerCertificate {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

impl Authority {
    /// A new authority, in memory only.
    pub fn generate(cluster: ClusterId, now: Timestamp) -> Result<Self, PkiError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(PkiError::Make)?;
        Self::from_key(cluster, key, now)
    }

    /// The authority of a key, with a fresh certificate. Any certificate of the same key and cluster verifies what the
    /// others verify: name and key are all that counts in a root.
    pub(super) fn from_key(cluster: ClusterId, key: KeyPair, now: Timestamp) -> Result<Self, PkiError> {
        let mut params = blank(now, AUTHORITY_LIFE)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.distinguished_name = subject(cluster);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(PkiError::Make)?;
        Self::from_parts(cluster, key, certificate.der().clone(), certificate.pem())
    }

    /// The authority of a key and a certificate that were found to belong together.
    pub(super) fn from_parts(
        cluster: ClusterId,
        key: KeyPair,
        certificate: CertificateDer<'static>,
        certificate_pem: String,
    ) -> Result<Self, PkiError> {
        let pin = Sha256::digest(key.subject_public_key_info()).into();
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(PkiError::Make)?;
        Ok(Self { cluster, issuer, certificate, certificate_pem, pin })
    }

    /// Which cluster's it is.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// What a join token pins: SHA-256 of the authority's public key (SubjectPublicKeyInfo, DER).
    #[must_use]
    pub fn pin(&self) -> [u8; 32] {
        self.pin
    }

    /// The authority's certificate, PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's certificate, DER.
    pub(super) fn ca_der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The private key, PEM, to be written to its file and nowhere else.
    pub(super) fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Issues a certificate for a host's agent. The request gives the public key and proves that its sender has the
    /// private one; everything else is written here.
    ///
    /// # Errors
    /// [`PkiError::Csr`], [`PkiError::CsrTooLarge`] and [`PkiError::CsrKey`] are the request's fault.
    pub fn issue_agent(&self, csr_pem: &str, host: HostId, now: Timestamp) -> Result<IssuedCertificate, PkiError> {
        let csr = parse_csr(csr_pem)?;
        let mut params = blank(now, AGENT_LIFE)?;
        params.distinguished_name.push(DnType::CommonName, host.to_string());
        let uri = agent_uri(self.cluster, host).try_into().map_err(PkiError::Make)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let serial = serial()?;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let certificate = params.signed_by(&csr.public_key, &self.issuer).map_err(PkiError::Make)?;
        Ok(IssuedCertificate {
            certificate_pem: certificate.pem(),
            serial: hex::encode(serial),
            not_before: params.not_before.unix_timestamp() * 1_000_000,
            not_after: params.not_after.unix_timestamp() * 1_000_000,
            public_key_sha256: Sha256::digest(csr.public_key.subject_public_key_info()).into(),
        })
    }

    /// Issues a certificate for the agent port, with a fresh key that lives in memory only.
    pub(super) fn issue_server(&self, now: Timestamp) -> Result<ServerCertificate, PkiError> {
        let mut params = blank(now, SERVER_LIFE)?;
        params.distinguished_name.push(DnType::CommonName, "coordinator");
        for name in [server_name(self.cluster), ENROLL_SERVER_NAME.to_owned()] {
            params.subject_alt_names.push(SanType::DnsName(name.try_into().map_err(PkiError::Make)?));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.serial_number = Some(SerialNumber::from_slice(&serial()?));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(PkiError::Make)?;
        let leaf = params.signed_by(&key, &self.issuer).map_err(PkiError::Make)?;
        Ok(ServerCertificate {
            // The authority is in the chain because an enrolling agent has only its pin, not the certificate.
            chain: vec![leaf.der().clone(), self.certificate.clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            not_before: now,
            not_after: Timestamp::from_second(params.not_after.unix_timestamp()).unwrap_or(Timestamp::MAX),
        })
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// SHA-256 of the public key (SubjectPublicKeyInfo, DER) of a signing request: tells a repeated enrolment, with the
/// same key, from another machine's. Checks the request as [`Authority::issue_agent`] does.
pub fn csr_public_key_sha256(csr_pem: &str) -> Result<[u8; 32], PkiError> {
    Ok(Sha256::digest(parse_csr(csr_pem)?.public_key.subject_public_key_info()).into())
}

/// The authority's name: unique, because a verifier finds the issuer by name and two clusters may meet on one machine.
pub(super) fn subject(cluster: ClusterId) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Dockerforge");
    name.push(DnType::CommonName, common_name(cluster));
    name
}

/// The common name of [`subject`].
pub(super) fn common_name(cluster: ClusterId) -> String {
    format!("Dockerforge CA {cluster}")
}

/// What all certificates have in common: no name, not a CA, valid from an hour ago.
fn blank(now: Timestamp, life: Duration) -> Result<CertificateParams, PkiError> {
    let now = OffsetDateTime::from_unix_timestamp(now.as_second()).map_err(PkiError::Clock)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params.not_before = now.saturating_sub(BACKDATED);
    params.not_after = now.saturating_add(life);
    Ok(params)
}

/// A signing request whose own signature holds and whose key is of an accepted kind.
fn parse_csr(pem: &str) -> Result<CertificateSigningRequestParams, PkiError> {
    if pem.len() > MAX_CSR {
        return Err(PkiError::CsrTooLarge(pem.len()));
    }
    let der = rustls::pki_types::CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| PkiError::Csr(rcgen::Error::CouldNotParseCertificationRequest))?;
    let csr = CertificateSigningRequestParams::from_der(&der).map_err(PkiError::Csr)?;
    let algorithm = PublicKeyData::algorithm(&csr.public_key);
    if ![&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519].contains(&algorithm) {
        return Err(PkiError::CsrKey);
    }
    // The library takes the kind of key from the request's signature. A P-256 key that signed with SHA-384 would be
    // written into the certificate as a P-384 key: take only what comes out as it went in.
    let spki = csr.public_key.subject_public_key_info();
    if !der.windows(spki.len()).any(|part| part == spki) {
        return Err(PkiError::CsrKey);
    }
    Ok(csr)
}

/// A random serial number of 16 bytes: positive and without leading zeros (RFC 5280 section 4.1.2.2), so that its hex
/// is the same wherever it is printed.
fn serial() -> Result<[u8; 16], PkiError> {
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(PkiError::Random)?;
    serial[0] = serial[0] & 0x7f | 0x40;
    Ok(serial)
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;
