//! The key with which the coordinator signs tokens for the registry, and its certificate, which the registry trusts
//! (`rootcertbundle` of its token authentication): `registry.key` and `registry.pem` in the data folder, made at the first start
//! with such a registry. Called by `registry`.

use super::PkiError;
use super::files::{parse_key, read, refuse_exposed, write};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use dockerforge_protocol::ids::ClusterId;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData,
};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::path::Path;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The certificate, for the registry.
pub const CERTIFICATE: &str = "registry.pem";
const KEY: &str = "registry.key";
/// The life of the certificate: it is copied to the registry by hand.
const LIFE: Duration = Duration::days(3650);
/// How far it begins in the past, for a registry whose clock is behind.
const BACKDATED: Duration = Duration::hours(1);

/// Signs tokens.
pub struct TokenKey {
    key: EcdsaKeyPair,
    random: SystemRandom,
    /// The first part of every token.
    header: String,
}

impl TokenKey {
    /// The key whose files are in a folder; a new one if there are none.
    ///
    /// # Errors
    /// A variant for each way in which the files cannot be read, written or used.
    pub fn load_or_generate(dir: &Path, cluster: ClusterId, now: Timestamp) -> Result<Self, PkiError> {
        let (certificate, key) = (dir.join(CERTIFICATE), dir.join(KEY));
        let pair = match (read(&certificate)?, read(&key)?) {
            (Some(_), None) => return Err(PkiError::KeyMissing { certificate, key }),
            (_, Some(pem)) => {
                refuse_exposed(&key)?;
                parse_key(&key, &pem)?
            }
            (None, None) => {
                let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(PkiError::Make)?;
                write(dir, &key, &pair.serialize_pem(), 0o600)?;
                pair
            }
        };
        let der = if let Some(pem) = read(&certificate)? {
            checked(&certificate, &key, &pem, &pair, now)?
        } else {
            let made = self_signed(&pair, cluster, now)?;
            write(dir, &certificate, &made.pem(), 0o644)?;
            tracing::info!(certificate = %certificate.display(), "made the certificate that the registry is to trust");
            made.der().clone()
        };
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pair.serialize_der(), &random)
            .map_err(|_| PkiError::TokenKey(key))?;
        // The chain itself, and not only a name of the key: which name that is differs between the registry's versions.
        let header = serde_json::json!({ "typ": "JWT", "alg": "ES256", "x5c": [STANDARD.encode(&der)] });
        Ok(Self { key, random, header: URL_SAFE_NO_PAD.encode(header.to_string()) })
    }

    /// A token with these claims: JSON Web Signature (RFC 7515) with ES256.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn sign(&self, claims: &serde_json::Value) -> Result<String, PkiError> {
        let signed = format!("{}.{}", self.header, URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = self.key.sign(&self.random, signed.as_bytes()).map_err(|_| PkiError::Sign)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn self_signed(key: &KeyPair, cluster: ClusterId, now: Timestamp) -> Result<rcgen::Certificate, PkiError> {
    let now = OffsetDateTime::from_unix_timestamp(now.as_second()).map_err(PkiError::Clock)?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Dockerforge");
    params.distinguished_name.push(DnType::CommonName, format!("Dockerforge registry tokens {cluster}"));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
    params.not_before = now.saturating_sub(BACKDATED);
    params.not_after = now.saturating_add(LIFE);
    params.self_signed(key).map_err(PkiError::Make)
}

/// The certificate, if it is the key's and valid.
fn checked(
    path: &Path,
    key_path: &Path,
    pem: &str,
    key: &KeyPair,
    now: Timestamp,
) -> Result<CertificateDer<'static>, PkiError> {
    let unfit = || PkiError::KeyMismatch { certificate: path.to_owned(), key: key_path.to_owned() };
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| unfit())?;
    let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| unfit())?;
    if parsed.public_key().raw != key.subject_public_key_info() {
        return Err(unfit());
    }
    let validity = parsed.validity();
    if !(validity.not_before.timestamp()..validity.not_after.timestamp()).contains(&now.as_second()) {
        return Err(PkiError::NotValidNow { path: path.to_owned() });
    }
    Ok(der.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    use std::os::unix::fs::PermissionsExt;

    fn part(token: &str, n: usize) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(token.split('.').nth(n).unwrap()).unwrap()
    }

    #[test]
    fn a_token_is_signed_by_the_key_of_the_certificate_that_it_names() {
        let dir = tempfile::tempdir().unwrap();
        let key = TokenKey::load_or_generate(dir.path(), ClusterId::new(), Timestamp::now()).unwrap();
        let token = key.sign(&serde_json::json!({ "aud": "here" })).unwrap();
        let header: serde_json::Value = serde_json::from_slice(&part(&token, 0)).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&part(&token, 1)).unwrap();
        assert_eq!((header["alg"].as_str(), claims["aud"].as_str()), (Some("ES256"), Some("here")));
        let der = STANDARD.decode(header["x5c"][0].as_str().unwrap()).unwrap();
        let pem = std::fs::read(dir.path().join(CERTIFICATE)).unwrap();
        assert_eq!(der, CertificateDer::from_pem_slice(&pem).unwrap().as_ref());
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        let point = parsed.public_key().subject_public_key.data.to_vec();
        let signed = token.rsplit_once('.').unwrap().0;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed.as_bytes(), &part(&token, 2)).unwrap();
    }

    #[test]
    fn the_second_start_has_the_key_of_the_first_and_files_that_do_not_fit_stop_it() {
        let (dir, now) = (tempfile::tempdir().unwrap(), Timestamp::now());
        let load = || TokenKey::load_or_generate(dir.path(), ClusterId::new(), now).map(|key| key.header);
        let first = load().unwrap();
        assert_eq!(load().unwrap(), first);
        let (key, certificate) = (dir.path().join(KEY), dir.path().join(CERTIFICATE));
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let later = now + jiff::SignedDuration::from_hours(24 * 3651);
        assert!(matches!(
            TokenKey::load_or_generate(dir.path(), ClusterId::new(), later),
            Err(PkiError::NotValidNow { .. })
        ));
        std::fs::remove_file(&certificate).unwrap();
        load().unwrap();
        std::fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert!(matches!(load(), Err(PkiError::KeyMismatch { .. })));
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(load(), Err(PkiError::KeyExposed { .. })));
        std::fs::remove_file(&key).unwrap();
        assert!(matches!(load(), Err(PkiError::KeyMissing { .. })));
    }
}
