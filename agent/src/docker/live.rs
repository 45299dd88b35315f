//! What a person who looks at a container now asks of a Docker Engine: its log, its figures, a program with a terminal in
//! it. Called by `streams` alone. What must hold: dropping what a call answered ends it on Docker's side too, except for a
//! program, which [`Live::terminal_state`] finds.

use super::{Call, Events};
use dockerforge_protocol::stream::{Line, TerminalSize};
use tokio::io::{AsyncRead, AsyncWrite};

/// Which part of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogQuery {
    /// What was written to stdout.
    pub stdout: bool,
    /// What was written to stderr.
    pub stderr: bool,
    /// From this second on, since 1970-01-01 UTC; Docker's client counts in whole ones.
    pub since: i32,
    /// Only so many lines of what there is.
    pub tail: Option<u32>,
    /// Whether to go on until the container ends.
    pub follow: bool,
}

/// What Docker counts for a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// When, microseconds since 1970-01-01 UTC.
    pub at: i64,
    /// Processor time since it started, nanoseconds.
    pub cpu: u64,
    /// Memory that is charged to it, bytes.
    pub memory: u64,
    /// What of that the kernel takes back before anybody notices (inactive files), bytes.
    pub memory_reclaimable: u64,
    /// The most it may have, bytes.
    pub memory_limit: u64,
    /// Received, bytes.
    pub network_rx: u64,
    /// Sent, bytes.
    pub network_tx: u64,
    /// Read from block devices, bytes.
    pub block_read: u64,
    /// Written to them, bytes.
    pub block_write: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// A program to run with a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewExec {
    /// Program and arguments.
    pub command: Vec<String>,
    /// As whom; as the container's own user where absent.
    pub user: Option<String>,
    /// `NAME=value`, beside what the container has.
    pub env: Vec<String>,
    /// Whether it has a terminal.
    pub tty: bool,
}

/// A program's terminal: what it writes is read, and the other way round.
pub trait Terminal: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Terminal for T {}

/// How a program that was run in a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecState {
    /// Whether it runs.
    pub running: bool,
    /// How it ended, if it has.
    pub exit_code: Option<i64>,
    /// Its process as the host counts them.
    pub pid: Option<i32>,
}

/// The calls.
pub trait Live: Send + Sync + 'static {
    /// A container's log, in Docker's order.
    fn logs<'a>(&'a self, id: &'a str, query: LogQuery) -> Call<'a, Events<Line>>;
    /// A container's counters, about once a second, for as long as it runs.
    fn stats<'a>(&'a self, id: &'a str) -> Call<'a, Events<Counters>>;
    /// Prepares a program in a running container; answers Docker's id of it.
    fn terminal_create<'a>(&'a self, container: &'a str, exec: &'a NewExec) -> Call<'a, String>;
    /// Starts it, with its terminal.
    fn terminal_start<'a>(&'a self, exec: &'a str) -> Call<'a, Box<dyn Terminal>>;
    /// Starts it and leaves it alone.
    fn terminal_detached<'a>(&'a self, exec: &'a str) -> Call<'a, ()>;
    /// Gives its terminal a size.
    fn terminal_resize<'a>(&'a self, exec: &'a str, size: TerminalSize) -> Call<'a, ()>;
    /// How it is.
    fn terminal_state<'a>(&'a self, exec: &'a str) -> Call<'a, ExecState>;
}
