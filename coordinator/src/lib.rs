//! The coordinator of Dockerforge.

pub mod pki;
pub mod tasks;
