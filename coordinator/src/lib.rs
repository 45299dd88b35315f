//! The coordinator of Dockerforge: serves the REST API and the durable queue, and holds the agents' sessions; and the
//! command line client of that API. ARCHITECTURE.md draws the rooms and says which may import which.

pub mod access;
pub mod domain;
pub mod queue;
pub mod store;
pub mod tasks;
