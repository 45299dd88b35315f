//! What the things are and what may happen to them: pure decisions. No I/O, no serde, no clock (`now` is a
//! parameter). A transition returns what is to be done; the caller does it in one transaction.

pub mod arrival;
pub mod configuration;
pub mod container;
pub mod converge;
pub mod diagnosis;
pub mod error;
pub mod event;
pub mod grant;
pub mod host;
pub mod host_access;
pub mod image;
pub mod job;
pub mod link;
pub mod log_position;
pub mod moves;
pub mod page;
pub mod placement;
pub mod precondition;
pub mod quota;
pub mod rate;
pub mod registry;
pub mod share;
pub mod template;
pub mod user;
pub mod webhook;

pub use error::{Kind, Refusal, Violation};
pub use jiff::Timestamp;
