//! Digests as Docker writes them: `sha256:` and 64 lower-case hexadecimal digits (OCI image specification, descriptors).

use sha2::{Digest, Sha256};

/// The digest of what was summed up.
#[must_use]
pub fn digest_of(sum: Sha256) -> String {
    format!("sha256:{}", hex::encode(sum.finalize()))
}

/// The digits of a digest, which name a file.
#[must_use]
pub fn hex_of(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}
