//! Sealing with ChaCha20-Poly1305 (RFC 8439) under a random nonce, which stands before what it sealed.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use secrecy::SecretSlice;

/// Seals; `bound_to` must be the same at the opening. `None` only where the system has no random bytes.
#[must_use]
pub fn seal(key: &[u8; 32], bound_to: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
    let mut nonce = [0; NONCE_LEN];
    getrandom::fill(&mut nonce).ok()?;
    let mut sealed = plain.to_vec();
    let cipher = cipher(key)?;
    cipher.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound_to), &mut sealed).ok()?;
    Some([&nonce[..], &sealed].concat())
}

/// Opens; `None` where it was not sealed under this key, bound to this.
#[must_use]
pub fn open(key: &[u8; 32], bound_to: &[u8], sealed: &[u8]) -> Option<SecretSlice<u8>> {
    let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut body = body.to_vec();
    let plain =
        cipher(key)?.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(bound_to), &mut body).ok()?;
    Some(plain.to_vec().into())
}

fn cipher(key: &[u8; 32]) -> Option<LessSafeKey> {
    UnboundKey::new(&CHACHA20_POLY1305, key).ok().map(LessSafeKey::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn what_is_sealed_opens_under_its_own_key_bound_to_the_same_alone() {
        let sealed = seal(&[1; 32], b"ana", b"secret").unwrap();
        assert!(!sealed.windows(6).any(|w| w == b"secret"));
        assert_eq!(open(&[1; 32], b"ana", &sealed).unwrap().expose_secret(), b"secret");
        assert!(open(&[2; 32], b"ana", &sealed).is_none());
        assert!(open(&[1; 32], b"eva", &sealed).is_none());
        assert!(open(&[1; 32], b"ana", &sealed[1..]).is_none());
        assert!(open(&[1; 32], b"ana", b"short").is_none());
        assert_ne!(seal(&[1; 32], b"ana", b"secret"), Some(sealed), "no two nonces are the same");
    }
}
