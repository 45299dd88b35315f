//! A user of the API: one per client. Owns everything else. His tokens say what may be done in his name.

use super::{Refusal, Timestamp};
use dockerforge_protocol::ids::{TokenId, UserId};
use dockerforge_protocol::spec::ResourceName;
use jiff::SignedDuration;
use std::fmt;

/// The name of the user that the first start makes: administrator, owner of what is public.
pub const SYSTEM: &str = "system";
/// A token's last use is noted no more often than this.
pub const USE_NOTED_AFTER: SignedDuration = SignedDuration::from_mins(1);

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
    /// Grows with each change of what its user may change.
    pub revision: u64,
}

/// `active ⇄ suspended`, and from either `→ deleting → gone`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserState {
    /// In service.
    Active,
    /// His tokens open nothing and his containers are stopped, until he is resumed.
    Suspended,
    /// All that is his is being taken out of service; he cannot sign in.
    Deleting,
}

impl UserState {
    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deleting => "deleting",
        }
    }

    /// Whether things may be made and changed for him.
    ///
    /// # Errors
    /// [`Refusal::Suspended`], or [`Refusal::BeingDeleted`].
    pub const fn in_service(self) -> Result<(), Refusal> {
        match self {
            Self::Active => Ok(()),
            Self::Suspended => Err(Refusal::Suspended),
            Self::Deleting => Err(Refusal::BeingDeleted(super::Kind::User)),
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
    /// What it may do.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops being good, if it ever does.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

impl Token {
    /// Whether it is still good.
    ///
    /// # Errors
    /// [`Refusal::TokenExpired`].
    pub fn good_at(&self, now: Timestamp) -> Result<(), Refusal> {
        match self.expires_at {
            Some(at) if at <= now => Err(Refusal::TokenExpired { at }),
            _ => Ok(()),
        }
    }

    /// Whether a use now is to be noted.
    #[must_use]
    pub fn use_is_news(&self, now: Timestamp) -> bool {
        self.last_used_at.is_none_or(|last| now.duration_since(last) >= USE_NOTED_AFTER)
    }
}

/// One thing that a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// See what is its user's. Every token may.
    Read,
    /// Make, change and delete what is its user's.
    Write,
    /// Ask for containers that reach into their host, on its user's own hosts.
    HostRoot,
    /// Administer; only where its user is an administrator.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::HostRoot, Self::Admin];

    /// The name in the API and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::HostRoot => "host:root",
            Self::Admin => "admin",
        }
    }

    /// The scope a word stands for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == word)
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a token may do. `read` is always among it: whoever may do something may see what comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Everything: of an administrator's first token.
    pub const ALL: Self = Self(Scope::Read.bit() | Scope::Write.bit() | Scope::HostRoot.bit() | Scope::Admin.bit());
    /// Of a token for which nothing is named.
    pub const USUAL: Self = Self(Scope::Read.bit() | Scope::Write.bit());

    /// Whether this is among them.
    #[must_use]
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Those that are among both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }

    /// The scopes of words with blanks between them.
    #[must_use]
    pub fn parse(words: &str) -> Option<Self> {
        words.split(' ').map(Scope::parse).collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(Scope::Read.bit(), |bits, scope| bits | scope.bit()))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iter().map(Scope::as_str).collect::<Vec<_>>().join(" "))
    }
}

/// Decides whether a token may make another with these scopes, for a user who is an administrator or not.
///
/// # Errors
/// [`Refusal::Invalid`] where the user is no administrator, [`Refusal::ScopeMissing`] where the maker has less itself.
pub fn may_grant(maker: Scopes, wanted: Scopes, admin: bool) -> Result<(), Refusal> {
    if wanted.has(Scope::Admin) && !admin {
        return Err(Refusal::invalid("/scopes", "admin is for tokens of an administrator"));
    }
    match wanted.iter().find(|scope| !maker.has(*scope)) {
        Some(scope) => Err(Refusal::ScopeMissing(scope)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_read_back_as_they_are_written() {
        for bits in (0..16).filter(|bits| bits & Scope::Read.bit() != 0) {
            let scopes = Scopes(bits);
            assert_eq!(Scopes::parse(&scopes.to_string()), Some(scopes));
        }
        assert_eq!((Scopes::parse("read root"), Scopes::parse("")), (None, None));
        assert_eq!([Scope::Write].into_iter().collect::<Scopes>(), Scopes::USUAL);
    }

    #[test]
    fn a_token_makes_none_with_more_than_it_has() {
        let some = |words: &str| Scopes::parse(words).unwrap();
        for maker in ["read", "read write", "read write host:root", "read write host:root admin"] {
            for wanted in ["read", "write", "host:root", "write host:root"] {
                let fits = wanted.split(' ').all(|word| maker.split(' ').any(|has| has == word));
                assert_eq!(may_grant(some(maker), some(wanted), false).is_ok(), fits, "{maker} makes {wanted}");
            }
        }
        assert!(matches!(may_grant(Scopes::ALL, some("admin"), false), Err(Refusal::Invalid(_))));
        assert_eq!(may_grant(Scopes::USUAL, some("admin"), true), Err(Refusal::ScopeMissing(Scope::Admin)));
        assert_eq!(may_grant(Scopes::ALL, Scopes::ALL, true), Ok(()));
    }
}
