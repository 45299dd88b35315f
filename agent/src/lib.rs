//! The agent of one host: dials the coordinator, takes jobs, works on the local Docker, reports. `main` runs one; the
//! tests run thousands in one process, so there is no global state here.
//!
//! ```text
//! link ─► executor ─► docker        journal and spool hold what is promised and not yet acknowledged
//!   ▲        │                      inventory watches Docker beside them
//!   ├ table ◄┘
//!   └──── streams ─► docker       logs, figures and terminals for somebody who looks now, images and volumes for other hosts
//! ```

pub mod config;
pub mod dial;
pub mod digest;
pub mod docker;
pub mod executor;
pub mod exports;
pub mod identity;
pub mod inventory;
pub mod jitter;
pub mod journal;
pub mod link;
pub mod policy;
pub mod state;
pub mod streams;
pub mod tasks;
pub mod volumes;

mod agent;

pub use agent::{Agent, AgentError};
pub use executor::FAULT_POINTS;

/// An error with everything that lies under it, in one line.
#[must_use]
pub fn report(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let under = source.to_string();
        // Some libraries repeat what lies under them.
        if !text.contains(&under) {
            text.push_str(": ");
            text.push_str(&under);
        }
        next = source.source();
    }
    text
}
