//! The link to the coordinator, for ever: dial, talk until it breaks, wait, dial again. `Agent::run` runs it; the
//! executor and the inventory go on whether there is a session or not. What must hold: it ends only when the agent is
//! stopped, or its identity is of no more use.
//!
//! ```text
//! Disconnected{backoff} ─► Connecting ─► Live ─┐
//!        ▲                     │               │ broken, refused
//!        └─────────────────────┴───────────────┘
//! ```

pub mod http;
mod outbound;
mod session;

use crate::config::CoordinatorUrl;
use crate::executor::Executor;
use crate::identity::Identity;
use crate::inventory::Observed;
use crate::jitter;
use dockerforge_protocol::handshake::{Refused, RefusedReason};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The shortest ceiling of the backoff.
const LEAST: Duration = Duration::from_millis(100);
/// Its longest.
const MOST: Duration = Duration::from_secs(30);

/// The link and what it speaks for.
pub struct Link {
    /// Where the coordinator is.
    pub url: CoordinatorUrl,
    /// Who dials.
    pub identity: Arc<Identity>,
    /// What works.
    pub executor: Executor,
    /// What is seen.
    pub observed: Arc<Observed>,
    /// What the host calls itself.
    pub hostname: String,
    /// Jobs in work at a time.
    pub slots: u32,
    /// How often the inventory is sent although nothing changed.
    pub resend_every: Duration,
    /// Whether there is a join token that the identity did not come from.
    pub may_enrol: bool,
}

/// Why the link ended.
#[derive(Debug)]
pub enum LinkEnd {
    /// The agent was stopped.
    Stopped,
    /// The coordinator revoked the identity; its words.
    Revoked(String),
    /// The identity is in conflict with a copy, and there is a join token to get another.
    Conflict,
}

/// How long to stay away after a session ended.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Full jitter that grows with the failures.
    Backoff,
    /// At least half a minute: the same would be said again at once.
    Long,
    /// For ever.
    Never,
}

fn after(reason: RefusedReason) -> Next {
    match reason {
        RefusedReason::Revoked => Next::Never,
        RefusedReason::Conflict
        | RefusedReason::Superseded
        | RefusedReason::Version
        | RefusedReason::Identity
        | RefusedReason::Protocol => Next::Long,
        RefusedReason::Timeout | RefusedReason::Unavailable => Next::Backoff,
    }
}

impl Link {
    /// Keeps the link until the agent is stopped or revoked.
    pub async fn run(&self, cancel: &CancellationToken) -> LinkEnd {
        let mut failures = 0;
        loop {
            let mut welcomed = false;
            let end = session::run(self, cancel, &mut welcomed).await;
            if welcomed {
                failures = 0;
            }
            let next = match &end {
                session::End::Stopped => return LinkEnd::Stopped,
                session::End::Refused(Refused { reason: RefusedReason::Conflict, .. }) if self.may_enrol => {
                    return LinkEnd::Conflict;
                }
                session::End::Refused(Refused { reason, .. }) => after(*reason),
                _ => Next::Backoff,
            };
            let wait = match next {
                Next::Backoff => jitter::backoff(failures, LEAST, MOST),
                Next::Long => MOST + jitter::backoff(20, LEAST, MOST),
                Next::Never => {
                    let session::End::Refused(refused) = end else { return LinkEnd::Stopped };
                    return LinkEnd::Revoked(refused.detail);
                }
            };
            failures = failures.saturating_add(1);
            tracing::warn!(why = crate::report(&end), again_in_ms = wait.as_millis(), failures, "no session");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = cancel.cancelled() => return LinkEnd::Stopped,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_revocation_is_final_and_only_what_passes_is_tried_again_soon() {
        assert_eq!(after(RefusedReason::Revoked), Next::Never);
        assert_eq!(after(RefusedReason::Superseded), Next::Long);
        assert_eq!(after(RefusedReason::Unavailable), Next::Backoff);
    }
}
