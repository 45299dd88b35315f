//! Streams over a session: a container's log, its figures, a terminal in it, for somebody who looks now, and parts of an
//! image and volumes for another host. They are not jobs: nothing of them is kept, and they end with the session. A coordinator asks for one only of an agent whose hello
//! names [`FEATURE`].
//!
//! ```text
//! OpenStream ─► StreamOpened ─► StreamData … ◄─► StreamCredit … ─► StreamEnd      (either side may end it)
//!            └► StreamRefused
//! ```
//!
//! Each direction begins with [`StreamRequest::window`] units of credit. A piece costs [`Piece::cost`]; who has no credit left waits,
//! and who has taken pieces gives credit back ([`Window`]). So a reader that stops holds up its own stream, and nothing
//! is buffered beyond the window.

mod position;

pub use position::{LogFilter, LogMark, LogPosition};

use crate::ids::{ContainerId, ImageId, UserId};
use crate::spec::{CONTAINER_MOVES, IMAGE_COPIES, VolumeName};
use serde::{Deserialize, Serialize};

/// The word in a hello by which an agent says that it has streams.
pub const FEATURE: &str = "streams";
/// The credit that each direction of a stream begins with.
pub const WINDOW: u64 = 256 * 1024;
/// The same of a stream of much: see [`StreamRequest::window`].
pub const BULK_WINDOW: u64 = 2 * 1024 * 1024;
/// The largest piece, by its cost.
pub const MAX_PIECE: u64 = 32 * 1024;
/// What a piece, or a line in it, costs beside its bytes: what holding it takes, so that many small ones are bounded too.
const OVERHEAD: u64 = 64;

/// Which stream of a session; chosen by the coordinator, never twice in one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId(pub u64);

/// What is to be streamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum StreamRequest {
    /// A container's log: [`Piece::Lines`] down from the agent, nothing up.
    Logs(LogsRequest),
    /// A container's figures: [`Piece::Sample`]s.
    Stats(StatsRequest),
    /// A program with a terminal in a container: [`Piece::Bytes`] both ways.
    Terminal(TerminalRequest),
    /// A part of an image, for another host: [`Piece::Begin`], then [`Piece::Bytes`], down from the agent. Asked only of an agent
    /// whose hello names [`IMAGE_COPIES`].
    Blob(BlobRequest),
    /// What is in a volume, for another host: [`Piece::Bytes`] down from the agent. They are an archive (tar) in which all is in
    /// one folder, [`VOLUME_FOLDER`], and after it come the [`VOLUME_SUM`] bytes of its SHA-256: an archive that was cut off
    /// may look like a whole one. Asked only of an agent whose hello names [`CONTAINER_MOVES`].
    Volume(VolumeRequest),
}

/// The folder in an archive of a volume: with it, the volume's own owner and mode are carried too.
pub const VOLUME_FOLDER: &str = "volume";
/// Bytes that follow an archive of a volume.
pub const VOLUME_SUM: usize = 32;

/// See [`StreamRequest::Logs`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsRequest {
    /// Whose.
    pub container: ContainerId,
    /// Whether what it wrote to stdout is wanted.
    pub stdout: bool,
    /// Whether what it wrote to stderr is wanted.
    pub stderr: bool,
    /// From where on.
    pub from: LogPosition,
    /// Only the last so many lines of what there is; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<u32>,
    /// Whether to go on with what is written from now on, until the container has ended.
    pub follow: bool,
}

/// See [`StreamRequest::Stats`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsRequest {
    /// Whose.
    pub container: ContainerId,
    /// Seconds between two samples, 1 to 60; one sample where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<u32>,
}

/// See [`StreamRequest::Terminal`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalRequest {
    /// In which.
    pub container: ContainerId,
    /// Program and arguments.
    pub command: Vec<String>,
    /// As whom; as the container's own user where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// How large the terminal is at first.
    pub size: TerminalSize,
}

/// See [`StreamRequest::Blob`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRequest {
    /// Of which image: it has our name of it on the host.
    pub image: ImageId,
    /// Docker's id of it, which is the digest of its configuration.
    pub docker_id: String,
    /// Which part: the digest of its configuration, or of an uncompressed layer. `sha256:…`.
    pub digest: String,
    /// From which byte on.
    pub from: u64,
}

/// See [`StreamRequest::Volume`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRequest {
    /// Of which container, which mounts it and does not run.
    pub container: ContainerId,
    /// Whose it is.
    pub user: UserId,
    /// Of which image the container is.
    pub image: ImageId,
    /// Which volume.
    pub volume: VolumeName,
}

/// How large a terminal is, characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Across.
    pub cols: u16,
    /// Down.
    pub rows: u16,
}

impl StreamRequest {
    /// Its name, as logs write it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Logs(_) => "logs",
            Self::Stats(_) => "stats",
            Self::Terminal(_) => "terminal",
            Self::Blob(_) => "blob",
            Self::Volume(_) => "volume",
        }
    }

    /// What an agent must have named in its hello to be asked for this, beside [`FEATURE`].
    #[must_use]
    pub const fn feature(&self) -> Option<&'static str> {
        match self {
            Self::Logs(_) | Self::Stats(_) | Self::Terminal(_) => None,
            Self::Blob(_) => Some(IMAGE_COPIES),
            Self::Volume(_) => Some(CONTAINER_MOVES),
        }
    }

    /// The credit that each direction begins with. What is much, and goes from host to host, has more of it under way.
    #[must_use]
    pub const fn window(&self) -> u64 {
        match self {
            Self::Logs(_) | Self::Stats(_) | Self::Terminal(_) => WINDOW,
            Self::Blob(_) | Self::Volume(_) => BULK_WINDOW,
        }
    }
}

/// Why a stream is not opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum StreamRefusal {
    /// The host has no such container.
    NoContainer,
    /// The host does not have the image, or not that part of it.
    NoImage,
    /// The container does not run.
    NotRunning,
    /// The host's owner does not allow it.
    Policy {
        /// What is not allowed.
        detail: String,
    },
    /// The session has as many streams as it may.
    TooMany,
    /// Docker does not answer.
    DockerDown,
    /// Docker refused.
    Docker {
        /// Its words.
        detail: String,
    },
    /// The agent does not know what is asked.
    Unsupported,
}

/// How a stream ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum StreamEnd {
    /// There is no more: the container has ended, or the program in the terminal has.
    Done {
        /// The exit code of either, where it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i64>,
    },
    /// Whoever wanted it has left.
    Left,
    /// It could not go on.
    Failed {
        /// Why.
        detail: String,
    },
    /// The other side sent more than it had credit for, or what does not belong.
    Protocol,
}

/// A piece of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "p", rename_all = "snake_case")]
pub enum Piece {
    /// How large the whole is, bytes. The first piece, where it is known.
    Begin {
        /// Also where the stream begins later in it.
        size: u64,
    },
    /// Of a log, in the order in which Docker has them.
    Lines {
        /// At least one.
        lines: Vec<Line>,
    },
    /// Of the figures.
    Sample(Sample),
    /// Of what goes to or comes from a terminal.
    Bytes {
        /// Not necessarily UTF-8.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
}

impl Piece {
    /// What it takes off the credit.
    #[must_use]
    pub fn cost(&self) -> u64 {
        let bytes = match self {
            Self::Lines { lines } => lines.iter().map(Line::cost).sum(),
            Self::Sample(_) | Self::Begin { .. } => OVERHEAD,
            Self::Bytes { bytes } => bytes.len() as u64,
        };
        OVERHEAD + bytes
    }
}

/// Where a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Source {
    /// Its name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A line of a container's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Where it was written to.
    pub source: Source,
    /// When Docker read it, nanoseconds since 1970-01-01 UTC.
    pub at: i64,
    /// As it was written, with its line end. Docker cuts lines at 16 KiB: without one, the next of its source goes on.
    #[serde(with = "serde_bytes")]
    pub text: Vec<u8>,
}

impl Line {
    /// What it takes off the credit, within its piece.
    #[must_use]
    pub fn cost(&self) -> u64 {
        OVERHEAD + self.text.len() as u64
    }
}

/// A container's figures at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When, microseconds since 1970-01-01 UTC.
    pub at: i64,
    /// Processor time since the sample before, thousandths of a per cent of one processor: 100 000 is one, fully used.
    pub cpu_milli_percent: u64,
    /// Memory in use, without what the kernel can take back at once (inactive files), bytes.
    pub memory_used: u64,
    /// The most memory it may use, bytes.
    pub memory_limit: u64,
    /// Received from its networks since it started, bytes.
    pub network_rx: u64,
    /// Sent to them, bytes.
    pub network_tx: u64,
    /// Read from block devices since it started, bytes.
    pub block_read: u64,
    /// Written to them, bytes.
    pub block_write: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// The receiving side's half of the flow control: what may still come, and what is to be given back.
#[derive(Debug)]
pub struct Window {
    whole: u64,
    open: u64,
    owed: u64,
}

/// More came than there was credit for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more was sent than there was credit for")]
pub struct Overrun;

impl Default for Window {
    fn default() -> Self {
        Self::of(WINDOW)
    }
}

impl Window {
    /// A window of so much credit.
    #[must_use]
    pub const fn of(whole: u64) -> Self {
        Self { whole, open: whole, owed: 0 }
    }

    /// A piece came.
    ///
    /// # Errors
    /// There was no credit for it, or it is larger than a piece may be.
    pub fn arrived(&mut self, piece: &Piece) -> Result<(), Overrun> {
        let cost = piece.cost();
        self.open = self.open.checked_sub(cost).filter(|_| cost <= MAX_PIECE).ok_or(Overrun)?;
        Ok(())
    }

    /// A piece was taken by who wanted it; the credit to give back now, if it is worth a message.
    pub fn taken(&mut self, piece: &Piece) -> Option<u64> {
        self.owed += piece.cost();
        (self.owed >= self.whole / 4).then(|| {
            self.open += self.owed;
            std::mem::take(&mut self.owed)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_given_back_and_no_more_comes_than_the_window() {
        let mut window = Window::default();
        let piece = Piece::Bytes { bytes: vec![0; 32 * 1024 - 64] };
        for _ in 0..8 {
            window.arrived(&piece).unwrap();
        }
        assert_eq!(window.arrived(&piece), Err(Overrun));
        assert_eq!(window.taken(&piece), None);
        assert_eq!(window.taken(&piece), Some(64 * 1024));
        window.arrived(&piece).unwrap();
        window.arrived(&piece).unwrap();
        assert_eq!(window.arrived(&piece), Err(Overrun));
    }
}
