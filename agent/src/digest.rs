//! Digests as Docker writes them: `sha256:` and 64 lower-case hexadecimal digits (OCI image specification, descriptors).

use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The digest of what was summed up.
#[must_use]
pub fn digest_of(sum: Sha256) -> String {
    sum.finalize().iter().fold("sha256:".to_owned(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The digits of a digest, which name a file.
#[must_use]
pub fn hex_of(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}

/// Whether it is one: it came from elsewhere, and is to name a file.
#[must_use]
pub fn is_digest(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(digit))
}
