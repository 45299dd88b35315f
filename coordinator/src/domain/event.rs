//! What happened, for whoever watches: written in the transaction of the change itself.

use super::Kind;
use dockerforge_protocol::ids::UserId;
use uuid::Uuid;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// To whom it matters.
    pub user: UserId,
    /// What: `<resource>.<what happened>`, as `container.created`.
    pub kind: &'static str,
    /// To which kind of thing.
    pub resource: Kind,
    /// To which one.
    pub id: Uuid,
    /// More about it, in words.
    pub detail: Option<String>,
}
