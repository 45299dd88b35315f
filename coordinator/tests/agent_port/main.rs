//! The agent port from outside: what TLS lets in (`tls`), how sessions begin and end (`sessions`), what a copied
//! machine meets (`clones`), and what an idle connection costs (`memory`, run by hand).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "helpers of tests, which the configuration does not count as tests"
)]

mod clones;
mod memory;
mod sessions;
mod support;
mod tls;
