//! The coordinator of Dockerforge: serves the REST API and the durable queue, and holds the agents' sessions; and the
//! command line client of that API. ARCHITECTURE.md draws the rooms and says which may import which.

pub mod access;
pub mod app;
pub mod build;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dispatch;
pub mod domain;
pub mod events;
pub mod http;
pub mod hub;
pub mod metrics;
pub mod pki;
pub mod queue;
pub mod registry;
pub mod relay;
pub mod riyic;
pub mod service;
pub mod store;
pub mod tasks;
pub mod telemetry;
pub mod vault;
pub mod webhooks;

/// Every step at which a build with the `testing` feature can be made to die, in the order of a job's life.
pub const FAULT_POINTS: [&str; 8] = [
    "coordinator.job.enqueued",
    "coordinator.api.committed",
    "coordinator.assign.claimed",
    "coordinator.assign.sent",
    "coordinator.report.received",
    "coordinator.report.committed",
    "coordinator.due.prepared",
    "coordinator.due.asked",
];
