//! Every route on the real Docker Engine, through the public API, with the real binaries: one file a resource, and one
//! for each promise that spans resources. `make test` starts what these need.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may; the lint spares only the functions marked as tests"
)]

mod access_coverage;
mod access_world;
mod ansible;
mod audit;
mod cli;
mod conditional;
mod configurations;
mod containers;
mod contract;
mod converge;
mod copies;
mod cors;
mod delivery;
mod diagnosis;
mod document;
mod due;
mod enrolment;
mod errors;
mod escapes;
mod events;
mod exec;
mod failures;
mod host_root;
mod hosts;
mod images;
mod installer;
mod invariants;
mod jobs;
mod launch;
mod limits;
mod links;
mod lists;
mod logs;
mod moves;
mod operations;
mod ops;
mod placement;
mod pool_builds;
mod provision;
mod quotas;
mod registry;
mod riyic;
mod secrets;
mod specs;
mod streams;
mod suspension;
mod templates;
mod terminal;
mod tokens;
mod two_hosts;
mod updates;
mod users;
mod webhooks;
