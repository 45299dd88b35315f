//! Streams from agents to whoever looks now: logs, figures, terminals. The hub keeps one [`Streams`] a session and carries
//! its messages; a use case finds it through [`Relay`] and gets a [`Reader`]. What must hold: nothing is buffered beyond the
//! credit that a reader gives, a reader that takes nothing is cut, and a stream ends with its session or its reader,
//! whichever is first. Nothing here knows of users; whoever opens a stream has asked.

mod reader;
mod streams;

pub use reader::{Event, Lost, Reader};
pub use streams::{NotOpened, Streams};

use dockerforge_protocol::ids::HostId;
use std::sync::Arc;

/// Finds the streams of the live session of a host; none if it has no session with this process.
pub type Relay = Arc<dyn Fn(HostId) -> Option<Streams> + Send + Sync>;
