//! Who may do what. [`authorize`] is the only maker of a [`Permit`], and every use case demands one: a handler that
//! forgets to ask does not compile.

use crate::domain::event::Origin;
use crate::domain::user::{Scope, Scopes, UserState};
use crate::domain::{Refusal, Timestamp};
use dockerforge_protocol::ids::{RequestId, TokenId, UserId};
use std::marker::PhantomData;
use std::net::IpAddr;

/// Who a request is from.
#[derive(Debug, Clone)]
pub struct Principal {
    /// Who signed in.
    pub actor: UserId,
    /// Whether he may administer, with the right token.
    pub admin: bool,
    /// With which token.
    pub token: TokenId,
    /// What that may do.
    pub scopes: Scopes,
    /// When that stops being good.
    pub expires_at: Option<Timestamp>,
    /// On whose behalf he acts: himself, or, for an administrator, a user that he named.
    pub user: UserId,
    /// How that user is.
    pub state: UserState,
    /// Which request it is.
    pub request: RequestId,
    /// Where it comes from.
    pub remote: IpAddr,
}

impl Principal {
    /// Whether this request may reach what is other users'.
    #[must_use]
    pub const fn administers(&self) -> bool {
        self.admin && self.scopes.has(Scope::Admin)
    }
}

mod sealed {
    pub trait Action {}
}

/// Something that may be permitted.
pub trait Action: sealed::Action {
    /// What a token needs for it.
    const SCOPE: Scope;
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident scope: $scope:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name;
        impl sealed::Action for $name {}
        impl Action for $name {
            const SCOPE: Scope = Scope::$scope;
        }
    )*};
}

actions! {
    /// See one's own things.
    Read scope: Read;
    /// Make, change and delete one's own things.
    Write scope: Write;
    /// Make, see and delete users. For administrators.
    Administer scope: Admin;
}

/// Leave to do something, on behalf of a user.
#[derive(Debug, Clone)]
pub struct Permit<A: Action> {
    origin: Origin,
    scopes: Scopes,
    expires_at: Option<Timestamp>,
    token: TokenId,
    action: PhantomData<A>,
}

impl<A: Action> Permit<A> {
    /// On whose behalf: the owner of all that this permit reaches.
    #[must_use]
    pub fn user(&self) -> UserId {
        self.origin.user
    }

    /// For the audit.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The token that it was given for.
    #[must_use]
    pub fn token(&self) -> TokenId {
        self.token
    }

    /// What the token that it was given for may do.
    #[must_use]
    pub fn scopes(&self) -> Scopes {
        self.scopes
    }

    /// When that token stops being good.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }
}

/// Decides whether somebody may do something.
///
/// # Errors
/// [`Refusal::AdminOnly`], [`Refusal::ScopeMissing`]; [`Refusal::Suspended`] for a change on behalf of somebody who is.
pub fn authorize<A: Action>(principal: &Principal, _action: A) -> Result<Permit<A>, Refusal> {
    if A::SCOPE == Scope::Admin && !principal.admin {
        return Err(Refusal::AdminOnly);
    }
    if !principal.scopes.has(A::SCOPE) {
        return Err(Refusal::ScopeMissing(A::SCOPE));
    }
    // An administrator still sees what is a suspended user's.
    if A::SCOPE == Scope::Write && principal.state == UserState::Suspended {
        return Err(Refusal::Suspended);
    }
    let Principal { actor, user, request, remote, scopes, expires_at, token, .. } = *principal;
    Ok(Permit { origin: Origin { actor, user, request, remote }, scopes, expires_at, token, action: PhantomData })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(admin: bool, scopes: &str) -> Principal {
        let actor = UserId::new();
        Principal {
            actor,
            admin,
            token: TokenId::new(),
            scopes: Scopes::parse(scopes).unwrap(),
            expires_at: None,
            user: actor,
            state: UserState::Active,
            request: RequestId::new(),
            remote: IpAddr::from([127, 0, 0, 1]),
        }
    }

    #[test]
    fn what_a_token_may_do_is_what_its_scopes_cover() {
        let missing = |scope| Some(Refusal::ScopeMissing(scope));
        for (scopes, write, administer) in [
            ("read", missing(Scope::Write), missing(Scope::Admin)),
            ("read host:root", missing(Scope::Write), missing(Scope::Admin)),
            ("read write", None, missing(Scope::Admin)),
            ("read admin", missing(Scope::Write), None),
            ("read write host:root admin", None, None),
        ] {
            let principal = principal(true, scopes);
            assert_eq!(authorize(&principal, Read).err(), None, "{scopes}");
            assert_eq!(authorize(&principal, Write).err(), write, "{scopes}");
            assert_eq!(authorize(&principal, Administer).err(), administer, "{scopes}");
        }
    }

    #[test]
    fn only_an_administrator_administers_whatever_his_token_says() {
        let user = principal(false, "read write admin");
        assert_eq!(authorize(&user, Administer).err(), Some(Refusal::AdminOnly));
        assert!(!user.administers() && principal(true, "read admin").administers());
        assert!(!principal(true, "read write").administers());
    }

    #[test]
    fn nothing_is_changed_for_somebody_who_is_suspended() {
        let suspended = Principal { state: UserState::Suspended, ..principal(true, "read write admin") };
        assert_eq!(authorize(&suspended, Write).err(), Some(Refusal::Suspended));
        assert!(authorize(&suspended, Read).is_ok() && authorize(&suspended, Administer).is_ok());
    }
}
