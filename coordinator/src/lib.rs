//! The coordinator of Dockerforge: serves the REST API and the durable queue, and holds the agents' sessions; and the
//! command line client of that API. ARCHITECTURE.md draws the rooms and says which may import which.

pub mod access;
pub mod build;
pub mod dispatch;
pub mod domain;
pub mod http;
pub mod hub;
pub mod pki;
pub mod queue;
pub mod service;
pub mod store;
pub mod tasks;
