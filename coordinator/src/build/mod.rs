//! What images are built from: archives that clients upload, made safe ([`archive`]) and kept ([`Contexts`]); parameters
//! of templates ([`schema`]), and what becomes of them: a node ([`node`]), a context to build from ([`render`]). Called by the
//! services.

pub mod archive;
mod claims;
mod contexts;
pub mod grant;
pub mod node;
pub mod provision;
pub mod render;
pub mod schema;

pub use claims::Claim;
pub use contexts::{ContextError, Contexts, Received};
