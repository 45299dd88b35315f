//! Tickets for terminals: a browser cannot send a key when it opens a websocket, so it gets one with its key and shows it
//! there. What must hold: a ticket is for one container, works once, within half a minute, and at this coordinator alone;
//! what is kept of it is its hash.

use super::{Result, ServiceError, random};
use crate::access::{Permit, Write};
use crate::domain::Refusal;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use dockerforge_protocol::ids::ContainerId;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a ticket works.
pub const LIFE: Duration = Duration::from_secs(30);
/// Tickets that may be out at a time.
const MOST: usize = 4096;

/// The tickets that are out. Clones are the same.
#[derive(Clone, Default)]
pub struct Tickets {
    out: Arc<Mutex<HashMap<[u8; 32], Ticket>>>,
}

struct Ticket {
    permit: Permit<Write>,
    container: ContainerId,
    until: Instant,
}

impl Tickets {
    /// Makes a ticket.
    ///
    /// # Errors
    /// Too many are out.
    pub fn issue(&self, permit: Permit<Write>, container: ContainerId) -> Result<String> {
        self.issue_until(permit, container, Instant::now() + LIFE)
    }

    fn issue_until(&self, permit: Permit<Write>, container: ContainerId, until: Instant) -> Result<String> {
        let text = URL_SAFE_NO_PAD.encode(random()?);
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.retain(|_, ticket| ticket.until > Instant::now());
        if out.len() >= MOST {
            return Err(ServiceError::Refused(Refusal::TooManyTickets));
        }
        out.insert(Sha256::digest(&text).into(), Ticket { permit, container, until });
        Ok(text)
    }

    /// What a ticket permits; it is void from here on.
    #[must_use]
    pub fn redeem(&self, text: &str, container: ContainerId) -> Option<Permit<Write>> {
        let hash: [u8; 32] = Sha256::digest(text).into();
        let ticket = self.out.lock().unwrap_or_else(PoisonError::into_inner).remove(&hash)?;
        (ticket.container == container && ticket.until > Instant::now()).then_some(ticket.permit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Principal, authorize};
    use crate::domain::user::{Scopes, UserState};
    use dockerforge_protocol::ids::{RequestId, TokenId, UserId};

    fn permit() -> Permit<Write> {
        let actor = UserId::new();
        let remote = [127, 0, 0, 1].into();
        let principal = Principal {
            actor,
            admin: false,
            token: TokenId::new(),
            scopes: Scopes::parse("read write").unwrap(),
            expires_at: None,
            user: actor,
            state: UserState::Active,
            request: RequestId::new(),
            remote,
        };
        authorize(&principal, Write).unwrap()
    }

    #[test]
    fn a_ticket_works_once_for_its_container_and_for_a_while() {
        let (tickets, container) = (Tickets::default(), ContainerId::new());
        let ticket = tickets.issue(permit(), container).unwrap();
        assert!(tickets.redeem("another", container).is_none());
        assert!(tickets.redeem(&ticket, container).is_some());
        assert!(tickets.redeem(&ticket, container).is_none(), "it was used");
        let ticket = tickets.issue(permit(), container).unwrap();
        assert!(tickets.redeem(&ticket, ContainerId::new()).is_none(), "it is for another container");
        let late = tickets.issue_until(permit(), container, Instant::now()).unwrap();
        assert!(tickets.redeem(&late, container).is_none(), "its time is over");
    }
}
