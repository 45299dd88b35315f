//! The agent port from outside: what TLS lets in (`tls`), how sessions begin and end (`sessions`), and what an idle
//! connection costs (`memory`, run by hand).

mod memory;
mod sessions;
mod support;
mod tls;
