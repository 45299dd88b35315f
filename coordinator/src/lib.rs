//! The coordinator of Dockerforge.

pub mod build;
pub mod hub;
pub mod pki;
pub mod tasks;
