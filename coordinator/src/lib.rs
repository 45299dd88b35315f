//! The coordinator of Dockerforge.

pub mod hub;
pub mod pki;
pub mod tasks;
