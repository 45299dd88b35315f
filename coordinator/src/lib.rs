//! The coordinator of Dockerforge.

pub mod tasks;
