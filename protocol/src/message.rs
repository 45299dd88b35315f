//! The two closed unions: all that is ever said, down and up.

use crate::command::Command;
use crate::handshake::{Hello, Refused, Welcome};
use crate::inventory::{DockerInfo, Heartbeat, Inventory};
use crate::report::{Attempt, Outcome, Progress, Refusal};
use crate::stream::{Piece, StreamEnd, StreamId, StreamRefusal, StreamRequest, TerminalSize};
use serde::{Deserialize, Serialize};

/// From the coordinator to the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "an assignment is the rule among those that are many")]
pub enum ToAgent {
    /// The answer to the hello.
    Welcome(Welcome),
    /// The answer to a hello, or the last word of a session.
    Refused(Refused),
    /// Do this. Repeated with the same attempt until it is accepted; an agent that holds the attempt accepts again.
    Assign(Assign),
    /// Stop this, and report it cancelled; an agent that does not hold it reports it cancelled too.
    Cancel {
        /// Which.
        attempt: Attempt,
    },
    /// The result is committed: forget the job.
    ResultAck {
        /// Which.
        attempt: Attempt,
    },
    /// The log is committed up to this offset (exclusive) of the attempt.
    LogAck {
        /// Which.
        attempt: Attempt,
        /// Bytes of this attempt's log that are committed.
        upto: u64,
    },
    /// The answer to a request to renew.
    Certificate {
        /// The new certificate, PEM.
        certificate: String,
    },
    /// Open a stream.
    OpenStream {
        /// Which.
        stream: StreamId,
        /// Of what.
        request: StreamRequest,
    },
    /// A piece for a stream: what was typed into a terminal.
    StreamData {
        /// Which.
        stream: StreamId,
        /// The piece.
        piece: Piece,
    },
    /// More credit for what comes up.
    StreamCredit {
        /// Which.
        stream: StreamId,
        /// How much more.
        more: u64,
    },
    /// A terminal has another size now.
    ResizeTerminal {
        /// Which.
        stream: StreamId,
        /// How large it is.
        size: TerminalSize,
    },
    /// Nobody wants the stream any more.
    StreamEnd {
        /// Which.
        stream: StreamId,
        /// Why.
        end: StreamEnd,
    },
}

/// See [`ToAgent::Assign`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assign {
    /// Which attempt at which job.
    pub attempt: Attempt,
    /// What to do.
    pub command: Command,
    /// Milliseconds from now until the work is stopped as failed.
    pub deadline_ms: u64,
}

/// From the agent to the coordinator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum FromAgent {
    /// The first message of a session.
    Hello(Hello),
    /// The job is in the agent's journal, durably.
    Accepted {
        /// Which.
        attempt: Attempt,
    },
    /// The job was not taken.
    NotTaken {
        /// Which.
        attempt: Attempt,
        /// Why.
        refusal: Refusal,
    },
    /// How far a job is. May be lost; the latest counts.
    Progress {
        /// Which.
        attempt: Attempt,
        /// How far.
        progress: Progress,
    },
    /// A piece of a job's log.
    Log {
        /// Which.
        attempt: Attempt,
        /// Where it begins in the log of this attempt, bytes.
        offset: u64,
        /// At most [`crate::codec::MAX_LOG_CHUNK`] bytes, not necessarily UTF-8.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// The job ended. Sent after all of its log was acknowledged or given up; repeated until it is acknowledged.
    Finished {
        /// Which.
        attempt: Attempt,
        /// How.
        outcome: Outcome,
        /// How long the attempt's log is, bytes.
        log_end: u64,
    },
    /// What is there now, complete.
    Inventory(Inventory),
    /// The sign of life.
    Heartbeat(Heartbeat),
    /// Docker came, went or changed its version.
    Docker {
        /// What it is now, absent while it does not answer.
        docker: Option<DockerInfo>,
    },
    /// Ask for a new certificate before the old one ends.
    Renew {
        /// A certificate signing request (RFC 2986) for a fresh key, PEM. Only its public key is used.
        csr: String,
    },
    /// The stream is open.
    StreamOpened {
        /// Which.
        stream: StreamId,
    },
    /// The stream is not opened.
    StreamRefused {
        /// Which.
        stream: StreamId,
        /// Why.
        refusal: StreamRefusal,
    },
    /// A piece of a stream.
    StreamData {
        /// Which.
        stream: StreamId,
        /// The piece.
        piece: Piece,
    },
    /// More credit for what comes down.
    StreamCredit {
        /// Which.
        stream: StreamId,
        /// How much more.
        more: u64,
    },
    /// The stream is over.
    StreamEnd {
        /// Which.
        stream: StreamId,
        /// How.
        end: StreamEnd,
    },
}
