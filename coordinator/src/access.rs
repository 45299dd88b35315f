//! Who may do what. [`authorize`] is the only maker of a [`Permit`], and every use case demands one: a handler that
//! forgets to ask does not compile.

use crate::domain::Refusal;
use crate::domain::event::Origin;
use dockerforge_protocol::ids::{RequestId, UserId};
use std::marker::PhantomData;
use std::net::IpAddr;

/// Who a request is from.
#[derive(Debug, Clone)]
pub struct Principal {
    /// Who signed in.
    pub actor: UserId,
    /// Whether he may administer.
    pub admin: bool,
    /// On whose behalf he acts: himself, or, for an administrator, a user that he named.
    pub user: UserId,
    /// Which request it is.
    pub request: RequestId,
    /// Where it comes from.
    pub remote: IpAddr,
}

mod sealed {
    pub trait Action {}
}

/// Something that may be permitted.
pub trait Action: sealed::Action {
    /// Whether only an administrator may.
    const ADMIN: bool;
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident admin: $admin:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name;
        impl sealed::Action for $name {}
        impl Action for $name {
            const ADMIN: bool = $admin;
        }
    )*};
}

actions! {
    /// See one's own things.
    Read admin: false;
    /// Make, change and delete one's own things.
    Write admin: false;
    /// Make, see and delete users.
    Administer admin: true;
}

/// Leave to do something, on behalf of a user.
#[derive(Debug, Clone)]
pub struct Permit<A: Action> {
    origin: Origin,
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
}

/// Decides whether somebody may do something.
///
/// # Errors
/// [`Refusal::AdminOnly`].
pub fn authorize<A: Action>(principal: &Principal, _action: A) -> Result<Permit<A>, Refusal> {
    if A::ADMIN && !principal.admin {
        return Err(Refusal::AdminOnly);
    }
    let Principal { actor, user, request, remote, .. } = *principal;
    Ok(Permit { origin: Origin { actor, user, request, remote }, action: PhantomData })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(admin: bool) -> Principal {
        let actor = UserId::new();
        Principal { actor, admin, user: actor, request: RequestId::new(), remote: IpAddr::from([127, 0, 0, 1]) }
    }

    #[test]
    fn only_an_administrator_administers() {
        assert_eq!(authorize(&principal(false), Administer).unwrap_err(), Refusal::AdminOnly);
        assert!(authorize(&principal(true), Administer).is_ok());
        assert!(authorize(&principal(false), Write).is_ok());
    }
}
