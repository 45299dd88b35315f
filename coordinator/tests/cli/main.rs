//! The client command line, run as a person runs it: the real program against a stub that answers as the REST
//! contract says. What must hold: output, exit codes, and what is sent are exactly what is written here.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod coverage;
mod follow;
mod requests;
mod show;
mod stub;
mod templates;
