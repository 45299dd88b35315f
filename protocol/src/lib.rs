//! What a coordinator and an agent say to each other. No I/O and no async here: types, rules and bytes.
//!
//! # The conversation
//!
//! An agent **enrols** once ([`enrolment`]): it makes a key, redeems a single-use join token, and gets a certificate.
//! From then on it dials the coordinator's agent port with that certificate (mutual TLS 1.3) and opens a websocket.
//!
//! 1. The agent says [`Hello`](handshake::Hello): versions, who it is, the jobs in its journal.
//! 2. The coordinator answers [`Welcome`](handshake::Welcome), with a verdict on each of those jobs, or
//!    [`Refused`](handshake::Refused). A session has an epoch; every write that comes from it carries the epoch.
//! 3. Down come [`Assign`](message::Assign), `Cancel`, and acknowledgements; up go `Accepted` or `NotTaken`,
//!    `Progress`, `Log`, `Finished`, `Inventory` and `Heartbeat` ([`message`]).
//! 4. Beside all that, to an agent whose hello says that it can, the coordinator may open streams ([`stream`]): a log, figures
//!    or a terminal of a container, for somebody who looks now.
//!
//! Messages are delivered at least once; effects are named ([`command`]), so that a repeat adopts instead of
//! duplicating. An acknowledgement means durable: `Accepted` is sent after the agent's journal is fsynced, `ResultAck`
//! and `LogAck` after the coordinator's commit. Golden files in `tests/` hold the bytes of every message.

pub mod codec;
pub mod command;
pub mod enrolment;
pub mod handshake;
pub mod ids;
pub mod inventory;
pub mod message;
pub mod report;
pub mod spec;
pub mod stream;
