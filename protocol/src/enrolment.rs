//! How a host gets its identity: the join token that a person pastes, and the one request that redeems it.
//!
//! `POST /agent/v1/enroll` on the agent port, over TLS with ALPN [`ALPN_ENROLL`] (the only conversation there without
//! a client certificate), JSON both ways.

use crate::ids::{ClusterId, HostId, JoinTokenId};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{fmt, str::FromStr};
use uuid::Uuid;

/// ALPN (RFC 7301) of an enrolment, which alone comes without a client certificate.
pub const ALPN_ENROLL: &[u8] = b"dockerforge-enroll/1";
/// ALPN of everything else on the agent port. Websockets need HTTP/1.1.
pub const ALPN_SESSION: &[u8] = b"http/1.1";
/// Where an enrolment is posted.
pub const ENROLL_PATH: &str = "/agent/v1/enroll";
/// Where the websocket is opened.
pub const SESSION_PATH: &str = "/agent/v1/session";
/// Build contexts are served at `{CONTEXT_PATH}/{job}` to the host that holds the job.
pub const CONTEXT_PATH: &str = "/agent/v1/contexts";
/// The node that a job converges to is served at `{NODE_PATH}/{job}` to the host that has it in work, with its secrets:
/// [`SuppliedNode`].
pub const NODE_PATH: &str = "/agent/v1/nodes";
/// The secrets that a job needs are served at `{SECRETS_PATH}/{job}` to the host that has it in work: a JSON object of
/// their values by their ids.
pub const SECRETS_PATH: &str = "/agent/v1/secrets";
/// What a job that brings an image from elsewhere needs is served at `{COPIES_PATH}/{job}` to the host that has it in work
/// ([`SuppliedImage`]), and the image's content, from a host that has it, at `{COPIES_PATH}/{job}/{digest}?from={bytes}&turn={n}`, where `n`
/// is how often what came was something else: another host that has it is asked then.
pub const COPIES_PATH: &str = "/agent/v1/copies";

/// What is in a volume of a container that moves is served at `{VOLUMES_PATH}/{job}/{volume}` to the host that has the job in
/// work which receives the container, from the host that it leaves: see [`crate::stream::StreamRequest::Volume`].
pub const VOLUMES_PATH: &str = "/agent/v1/volumes";

/// The name in the coordinator's certificate on the agent port. It is the same wherever the coordinator is reached:
/// the pinned CA issues server certificates to the coordinator alone, so the address need not be in it.
#[must_use]
pub fn server_name(cluster: ClusterId) -> String {
    format!("{}.coordinator.dockerforge.invalid", cluster.uuid().simple())
}

/// The name that an enrolling agent asks for, when it knows no cluster yet: the pin decides.
pub const ENROLL_SERVER_NAME: &str = "enroll.coordinator.dockerforge.invalid";

/// The URI in an agent's certificate (subject alternative name): which host of which cluster it is.
#[must_use]
pub fn agent_uri(cluster: ClusterId, host: HostId) -> String {
    format!("dockerforge://{cluster}/{host}")
}

/// What [`agent_uri`] wrote.
#[must_use]
pub fn parse_agent_uri(uri: &str) -> Option<(ClusterId, HostId)> {
    let (cluster, host) = uri.strip_prefix("dockerforge://")?.split_once('/')?;
    Some((cluster.parse().ok()?, host.parse().ok()?))
}

/// A single-use join token: `dfj1_` and base64url (RFC 4648) of id (16 bytes), secret (32), the SHA-256 of the CA's
/// public key in SubjectPublicKeyInfo form (32), and the first 4 bytes of the SHA-256 of those, which tells a mistyped
/// token from a refused one.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Which token it is; not secret.
    pub id: JoinTokenId,
    /// What redeems it.
    pub secret: [u8; 32],
    /// The CA that the coordinator must prove to be.
    pub ca_pin: [u8; 32],
}

/// Why a text is not a join token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJoinToken {
    /// It does not begin as one.
    #[error("a join token begins with dfj1_; this is something else")]
    NotAToken,
    /// It was cut off, altered or mistyped.
    #[error("the join token is damaged: it was cut off or altered on its way")]
    Damaged,
}

impl JoinToken {
    const PREFIX: &'static str = "dfj1_";

    /// The token in full. This is the only way to get at its text: it has no `Display` by mistake.
    #[must_use]
    pub fn reveal(&self) -> String {
        let mut bytes = Vec::with_capacity(84);
        bytes.extend_from_slice(self.id.uuid().as_bytes());
        bytes.extend_from_slice(&self.secret);
        bytes.extend_from_slice(&self.ca_pin);
        let sum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&sum[..4]);
        format!("{}{}", Self::PREFIX, URL_SAFE_NO_PAD.encode(bytes))
    }

    /// What the coordinator stores: SHA-256 of the secret.
    #[must_use]
    pub fn secret_hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("id", &self.id).finish_non_exhaustive()
    }
}

impl FromStr for JoinToken {
    type Err = InvalidJoinToken;
    fn from_str(text: &str) -> Result<Self, InvalidJoinToken> {
        let body = text.trim().strip_prefix(Self::PREFIX).ok_or(InvalidJoinToken::NotAToken)?;
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|_| InvalidJoinToken::Damaged)?;
        let bytes: [u8; 84] = bytes.try_into().map_err(|_| InvalidJoinToken::Damaged)?;
        let (content, sum) = bytes.split_at(80);
        if Sha256::digest(content)[..4] != *sum {
            return Err(InvalidJoinToken::Damaged);
        }
        let part = |from: usize| -> [u8; 32] { std::array::from_fn(|i| bytes[from + i]) };
        let id = Uuid::from_bytes(std::array::from_fn(|i| bytes[i]));
        Ok(Self { id: JoinTokenId::from_uuid(id), secret: part(16), ca_pin: part(48) })
    }
}

/// The request.
#[derive(Debug, Serialize, Deserialize)]
pub struct EnrolRequest {
    /// The join token in full.
    pub token: String,
    /// A certificate signing request (RFC 2986), PEM. Only its public key is used.
    pub csr: String,
    /// The host's name for itself, shown to its owner.
    pub hostname: String,
    /// The agent's version.
    pub agent_version: String,
}

/// The answer to an accepted request. The same token with the same key gets it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The cluster.
    pub cluster: ClusterId,
    /// Which host this machine is from now on.
    pub host: HostId,
    /// The agent's certificate, PEM.
    pub certificate: String,
    /// The CA's certificate, PEM.
    pub ca: String,
}

/// The answer to a refused request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolRefused {
    /// What to branch on.
    pub reason: EnrolRefusal,
    /// What to show.
    pub detail: String,
}

/// Why an enrolment is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnrolRefusal {
    /// The token was used by another key.
    Used,
    /// The token's time is over.
    Expired,
    /// The coordinator knows no such token, or its secret is another.
    Unknown,
    /// The request is not one: no token, no usable signing request.
    Invalid,
    /// The coordinator cannot answer now; try again.
    Unavailable,
}

/// A node, and which of the texts in it are secrets. It has no `Debug`.
#[derive(Serialize, Deserialize)]
pub struct SuppliedNode {
    /// The node's JSON.
    pub node: String,
    /// What must not be shown of it.
    pub secrets: Vec<String>,
}

/// Where an image is to be had, or to be brought to.
#[derive(Serialize, Deserialize)]
pub struct SuppliedImage {
    /// Docker's id of it, which is the digest of its configuration, which names its layers by their digests: whoever has
    /// this can tell whether what comes is the image. `sha256:…`.
    pub docker_id: String,
    /// In which registry it is, or is to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<SuppliedRegistry>,
}

/// A place in a registry, and the right to it for this job. It has no `Debug`.
#[derive(Serialize, Deserialize)]
pub struct SuppliedRegistry {
    /// Registry and repository: `registry.example:5000/dockerforge/img_…`.
    pub repository: String,
    /// The digest of the manifest, where it is there already: `sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The right to it.
    pub login: RegistryLogin,
}

/// How Docker makes itself known to a registry.
#[derive(Serialize, Deserialize)]
#[serde(tag = "with", rename_all = "snake_case")]
pub enum RegistryLogin {
    /// Not at all.
    Nothing,
    /// By name and password (HTTP Basic).
    Password {
        /// The name.
        name: String,
        /// The password.
        password: String,
    },
    /// By a token for this repository alone, which ends soon (Docker Registry token authentication).
    Token {
        /// The token.
        token: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken { id: JoinTokenId::new(), secret: [7; 32], ca_pin: [9; 32] }
    }

    #[test]
    fn a_token_reads_back_as_written() {
        assert_eq!(token().reveal().len(), 5 + 112);
        let token = token();
        assert_eq!(token.reveal().parse::<JoinToken>(), Ok(token));
    }

    #[test]
    fn every_altered_character_is_noticed() {
        let text = token().reveal();
        for i in 5..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[i] = if altered[i] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert_eq!(altered.parse::<JoinToken>(), Err(InvalidJoinToken::Damaged), "position {i}");
        }
        assert_eq!(text[..text.len() - 1].parse::<JoinToken>(), Err(InvalidJoinToken::Damaged));
        assert_eq!("tok_x".parse::<JoinToken>(), Err(InvalidJoinToken::NotAToken));
    }

    #[test]
    fn a_token_does_not_print_its_secret() {
        assert!(!format!("{:?}", token()).contains("7, 7"));
    }

    #[test]
    fn an_agent_uri_reads_back() {
        let (cluster, host) = (ClusterId::new(), HostId::new());
        assert_eq!(parse_agent_uri(&agent_uri(cluster, host)), Some((cluster, host)));
        assert_eq!(parse_agent_uri("spiffe://other/host"), None);
    }
}
