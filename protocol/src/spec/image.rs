//! Image references, as the distribution specification writes them.

use super::text_value;
use oci_spec::distribution::Reference;
use std::{fmt, str::FromStr};

/// The word in a hello by which an agent says that it can bring images from host to host, and to and from a registry.
pub const IMAGE_COPIES: &str = "image-copies";

/// Whether a text, which came from elsewhere, is a digest: `sha256:` and 64 lower-case hexadecimal digits (OCI image
/// specification 1.1, descriptors). What is one can name a file.
#[must_use]
pub fn is_digest(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A reference to an image in a registry or on a host, normalised: `docker.io/library/debian:12`,
/// `127.0.0.1:5000/app@sha256:…` (grammar: OCI distribution specification 1.1, and Docker's short names).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageRef(Reference);

/// Why a text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an image reference such as debian:12 or registry.example/team/app@sha256:…: {reason}")]
pub struct InvalidImageRef {
    /// What the parser objected to.
    pub reason: String,
}

impl ImageRef {
    /// The registry's host and port, `docker.io` where none was named.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.0.registry()
    }

    /// The repository within the registry.
    #[must_use]
    pub fn repository(&self) -> &str {
        self.0.repository()
    }

    /// Registry and repository as Docker takes them in `fromImage`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry(), self.repository())
    }

    /// What Docker takes in `tag`: the digest if there is one, else the tag, else `latest`.
    #[must_use]
    pub fn tag_or_digest(&self) -> &str {
        self.0.digest().or_else(|| self.0.tag()).unwrap_or("latest")
    }
}

impl FromStr for ImageRef {
    type Err = InvalidImageRef;
    fn from_str(text: &str) -> Result<Self, InvalidImageRef> {
        if text.len() > 512 {
            return Err(InvalidImageRef { reason: "longer than 512 bytes".to_owned() });
        }
        let reference = Reference::try_from(text).map_err(|e| InvalidImageRef { reason: e.to_string() })?;
        Ok(Self(reference))
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.whole())
    }
}
text_value!(ImageRef);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_completed_and_print_so_that_they_read_back() {
        let short: ImageRef = "debian".parse().unwrap();
        assert_eq!(short.to_string(), "docker.io/library/debian:latest");
        assert_eq!(short.to_string().parse::<ImageRef>().unwrap(), short);
        let port: ImageRef = "127.0.0.1:5000/app:1".parse().unwrap();
        assert_eq!((port.name().as_str(), port.tag_or_digest()), ("127.0.0.1:5000/app", "1"));
    }

    #[test]
    fn what_is_not_an_image_name_is_refused() {
        for bad in ["", "UPPER", "a b", "../etc", "x:", ":x", "a//b", "-a", "debian:12; rm -rf /", "http://x/y"] {
            assert!(bad.parse::<ImageRef>().is_err(), "{bad:?} was accepted");
        }
    }
}
