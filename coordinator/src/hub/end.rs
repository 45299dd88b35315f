//! How sessions end: every way is a variant. Made by the handshake and the session, logged once by the task that ran
//! them, and told to the agent where it can still hear.

use super::refused;
use dockerforge_protocol::codec::CodecError;
use dockerforge_protocol::handshake::{Refused, RefusedReason, SUPPORTED, Version};
use std::error::Error;
use std::io::ErrorKind;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionEnd {
    /// No hello came in time.
    #[error("no hello came in time")]
    HelloLate,
    /// The first message was something else than a hello.
    #[error("the first message was not a hello")]
    HelloMissing,
    /// A second hello came.
    #[error("a second hello came")]
    HelloRepeated,
    /// No version of the conversation in common.
    #[error("the agent speaks versions {} to {}, this coordinator {} to {}", .0.0, .0.1, SUPPORTED.0, SUPPORTED.1)]
    NoCommonVersion((Version, Version)),
    /// The hello names another cluster or host than the certificate.
    #[error("the hello names another cluster or host than the certificate")]
    WrongIdentity,
    /// Nobody answered the knock in time, or at all.
    #[error("the coordinator did not answer the hello in time")]
    NotAnswered,
    /// The knock was answered with a refusal.
    #[error("turned away ({:?}): {}", .0.reason, .0.detail)]
    TurnedAway(Refused),
    /// The coordinator closed the session, through its handle.
    #[error("closed ({:?}): {}", .0.reason, .0.detail)]
    Closed(Refused),
    /// The coordinator's tasks were told to stop.
    #[error("the coordinator shuts down")]
    ShuttingDown,
    /// Whoever took the knock no longer listens.
    #[error("nobody in the coordinator listens to the session any more")]
    Unheard,
    /// The certificate that the connection was opened with is no longer valid.
    #[error("the certificate of the connection is no longer valid")]
    CertificateEnded,
    /// Nothing came for too long, not even an answer to a ping.
    #[error("nothing came from the agent for too long")]
    Silent,
    /// The agent does not read: nothing could be written for too long.
    #[error("the agent took nothing for too long")]
    WriteStalled,
    /// A frame that is no message of this protocol.
    #[error("a frame is not a message of this protocol")]
    Undecodable(#[source] CodecError),
    /// A text frame; messages are binary.
    #[error("a text frame came; messages are binary")]
    NotBinary,
    /// A message of ours could not be encoded.
    #[error("a message to the agent could not be encoded")]
    Unencodable(#[source] CodecError),
    /// The agent closed the websocket as it should.
    #[error("the agent closed the connection (code {code}): {reason}")]
    PeerClosed {
        /// The close code (RFC 6455 section 7.4), 1005 if there was none.
        code: u16,
        /// What it said.
        reason: String,
    },
    /// The connection ended without a closing frame.
    #[error("the connection broke off")]
    PeerGone,
    /// The socket failed otherwise, a broken rule of the websocket protocol included.
    #[error("the connection failed")]
    Socket(#[source] axum::Error),
}

impl SessionEnd {
    /// What an error of the socket means.
    pub(super) fn of_socket(error: axum::Error) -> Self {
        let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
        while let Some(this) = cause {
            if let Some(io) = this.downcast_ref::<std::io::Error>() {
                match io.kind() {
                    ErrorKind::TimedOut => return Self::WriteStalled,
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                        return Self::PeerGone;
                    }
                    _ => {}
                }
            }
            cause = this.source();
        }
        Self::Socket(error)
    }

    /// What the agent is told; `None` where it cannot hear any more.
    pub(super) fn last_word(&self) -> Option<Refused> {
        let reason = match self {
            Self::TurnedAway(why) | Self::Closed(why) => return Some(why.clone()),
            Self::NoCommonVersion(_) => RefusedReason::Version,
            Self::WrongIdentity => RefusedReason::Identity,
            Self::HelloLate | Self::Silent => RefusedReason::Timeout,
            Self::HelloMissing | Self::HelloRepeated | Self::Undecodable(_) | Self::NotBinary => {
                RefusedReason::Protocol
            }
            Self::NotAnswered | Self::ShuttingDown | Self::Unheard | Self::CertificateEnded | Self::Unencodable(_) => {
                RefusedReason::Unavailable
            }
            Self::WriteStalled | Self::PeerClosed { .. } | Self::PeerGone | Self::Socket(_) => return None,
        };
        Some(refused(reason, self.to_string()))
    }

    /// Whether it is one of the ends that happen all day.
    pub(super) fn is_usual(&self) -> bool {
        match self {
            Self::Closed(_) | Self::ShuttingDown | Self::PeerClosed { .. } | Self::PeerGone => true,
            Self::HelloLate
            | Self::HelloMissing
            | Self::HelloRepeated
            | Self::NoCommonVersion(_)
            | Self::WrongIdentity
            | Self::NotAnswered
            | Self::TurnedAway(_)
            | Self::Unheard
            | Self::CertificateEnded
            | Self::Silent
            | Self::WriteStalled
            | Self::Undecodable(_)
            | Self::NotBinary
            | Self::Unencodable(_)
            | Self::Socket(_) => false,
        }
    }
}

/// The code of the closing frame (RFC 6455 section 7.4.1) that goes with a refusal.
pub(super) fn close_code(reason: RefusedReason) -> u16 {
    match reason {
        RefusedReason::Unavailable => 1001,
        RefusedReason::Protocol | RefusedReason::Version => 1002,
        RefusedReason::Identity
        | RefusedReason::Revoked
        | RefusedReason::Superseded
        | RefusedReason::Conflict
        | RefusedReason::Timeout => 1008,
    }
}
