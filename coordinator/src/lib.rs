//! The coordinator: the client command line (`cli`) here; the server's rooms are added beside it.

pub mod cli;
