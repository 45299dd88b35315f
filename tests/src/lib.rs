//! The harness of the end-to-end tests, the fault runs and the benches: the real binaries as child processes, a thin
//! client of the public API, Docker seen from beside, and a proxy that breaks the network. Called by `tests/` and
//! `src/bin` only. Whatever a test makes is gone when its value is dropped.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::print_stderr,
    reason = "a harness fails by panicking, and says on stderr what it saw"
)]

pub mod agent;
pub mod archive;
pub mod backend;
pub mod client;
pub mod cluster;
pub mod docker;
pub mod env;
pub mod hosts;
pub mod invariants;
pub mod layers;
pub mod metrics;
pub mod port;
pub mod process;
pub mod proxy;
pub mod receiver;
pub mod recipes;
pub mod registry;
pub mod riyic;
pub mod wait;
