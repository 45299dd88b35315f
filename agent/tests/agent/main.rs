//! The agent against what stands around it: a fake coordinator over real mutual TLS, and the fake Docker Engine (and the
//! real one, where asked for). One binary, a file a subject.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it fails")]

mod bench;
mod containers;
mod copies;
mod docker;
mod enrolment;
mod exec;
mod host;
mod images;
mod moves;
mod operations;
mod peer;
mod registry;
mod secrets;
mod sessions;
mod streams;
mod updates;
