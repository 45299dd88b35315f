//! Repeated requests. The key is noted in the transaction of what it is for, before anything else in it, so that of
//! two equal requests one does the work and the other finds it done. What was shown once only (an API key, a join
//! token) is kept sealed under a key derived from the Idempotency-Key, of which the database has only a hash.

use super::Result;
use crate::domain::{Kind, Refusal, Timestamp};
use crate::store::{self, Conn};
use crate::vault::{VaultError, aead};
use dockerforge_protocol::ids::UserId;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// An Idempotency-Key with the request that it came with.
#[derive(Clone)]
pub struct Key {
    hash: [u8; 32],
    seal: [u8; 32],
    fingerprint: [u8; 32],
}

/// What the request came to before.
pub struct Replay {
    /// What it made or started.
    pub id: Uuid,
    /// What was shown once only.
    pub secret: Option<String>,
}

impl Key {
    /// `key` is the header's value, `fingerprint` a hash of the whole request.
    #[must_use]
    pub fn new(user: UserId, key: &str, fingerprint: [u8; 32]) -> Self {
        let derive = |purpose: &str| -> [u8; 32] {
            let mut hash = Sha256::new();
            hash.update(purpose);
            hash.update(user.uuid().as_bytes());
            hash.update(key);
            hash.finalize().into()
        };
        Self { hash: derive("dockerforge idempotency hash"), seal: derive("dockerforge idempotency seal"), fingerprint }
    }

    fn seal(&self, secret: &str) -> Option<Vec<u8>> {
        aead::seal(&self.seal, &self.hash, secret.as_bytes())
    }

    fn open(&self, sealed: &[u8]) -> Option<String> {
        let plain = aead::open(&self.seal, &self.hash, sealed)?;
        String::from_utf8(plain.expose_secret().to_vec()).ok()
    }
}

/// Whether a key was used before, for whatever request.
pub async fn is_known(conn: &mut Conn, user: UserId, key: Option<&Key>) -> Result<bool> {
    let Some(key) = key else { return Ok(false) };
    Ok(store::idempotency::get(conn, user, &key.hash).await?.is_some())
}

/// What a request came to before, if it did.
pub async fn replay(conn: &mut Conn, user: UserId, key: Option<&Key>, kind: Kind) -> Result<Option<Replay>> {
    let Some(key) = key else { return Ok(None) };
    let Some(stored) = store::idempotency::get(conn, user, &key.hash).await? else { return Ok(None) };
    if stored.fingerprint != key.fingerprint || stored.kind != kind {
        return Err(Refusal::IdempotencyMismatch.into());
    }
    let secret = stored.sealed.and_then(|sealed| key.open(&sealed));
    Ok(Some(Replay { id: stored.id, secret }))
}

/// Begins a request in its transaction: what it came to before, or nothing, and then it is noted that it comes to this.
pub async fn begin(
    conn: &mut Conn,
    user: UserId,
    key: Option<&Key>,
    kind: Kind,
    id: Uuid,
    secret: Option<&str>,
    now: Timestamp,
) -> Result<Option<Replay>> {
    let Some(key) = key else { return Ok(None) };
    if let Some(replay) = replay(conn, user, Some(key), kind).await? {
        return Ok(Some(replay));
    }
    let sealed = secret.map(|secret| key.seal(secret).ok_or(VaultError::Random)).transpose()?;
    let stored = store::idempotency::Stored { fingerprint: key.fingerprint.to_vec(), kind, id, sealed };
    store::idempotency::insert(conn, user, &key.hash, &stored, now).await?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_with_its_own_key_alone() {
        let user = UserId::new();
        let key = Key::new(user, "a", [0; 32]);
        let sealed = key.seal("dfk_secret").unwrap();
        assert!(!sealed.windows(6).any(|w| w == b"secret"));
        assert_eq!(key.open(&sealed).as_deref(), Some("dfk_secret"));
        assert_eq!(Key::new(user, "b", [0; 32]).open(&sealed), None);
        assert_eq!(Key::new(UserId::new(), "a", [0; 32]).open(&sealed), None);
    }
}
