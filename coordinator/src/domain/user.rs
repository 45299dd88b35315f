//! A user of the API: one per client. Owns everything else.

use super::Timestamp;
use dockerforge_protocol::ids::{TokenId, UserId};
use dockerforge_protocol::spec::ResourceName;

/// The name of the user that the first start makes: administrator, owner of what is public.
pub const SYSTEM: &str = "system";

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Its name, also the user name of HTTP Basic.
    pub name: ResourceName,
    /// Whether it may administer: make users and act for them.
    pub admin: bool,
    /// Whether it is in service.
    pub state: UserState,
    /// When it was made.
    pub created_at: Timestamp,
}

/// `active → deleting → gone`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserState {
    /// In service.
    Active,
    /// All that is his is being taken out of service; he cannot sign in.
    Deleting,
}

impl UserState {
    /// The name in the API and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deleting => "deleting",
        }
    }
}

/// An API token, without its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// Whose it is.
    pub user: UserId,
    /// What its user calls it.
    pub name: ResourceName,
    /// When it was made.
    pub created_at: Timestamp,
}
