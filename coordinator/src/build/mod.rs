//! Build contexts: what a client uploads for an image to be built from, made safe ([`archive`]) and kept until the
//! agent that builds has fetched it ([`Contexts`]). Called by the images service; imports only `protocol`.

pub mod archive;
mod claims;
mod contexts;

pub use claims::Claim;
pub use contexts::{ContextError, Contexts, Received};
