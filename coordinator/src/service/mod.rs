//! The use cases, a file a resource: permit and input → a decision of the domain → one transaction. Called by `http`.
//! Nothing here knows of HTTP; nothing here writes outside a transaction.

pub mod audit;
mod builders;
pub mod configurations;
pub mod containers;
pub mod converge;
pub mod copies;
mod due;
pub mod enrolment;
pub mod grants;
mod host_access;
pub mod hosts;
pub mod idempotency;
pub mod images;
pub mod installer;
pub mod jobs;
mod launch;
mod links;
pub mod moves;
pub mod operations;
pub mod ops;
mod placement;
mod riyic;
pub mod streams;
pub mod supplies;
mod suspension;
pub mod templates;
pub mod tickets;
pub mod tokens;
pub mod updates;
pub mod users;
pub mod webhooks;

use crate::build::archive::Limits;
use crate::build::render::RenderError;
use crate::build::{ContextError, Contexts};
use crate::domain::placement::PoolRules;
use crate::domain::precondition::Precondition;
use crate::domain::{Kind, Refusal};
use crate::pki::{Authority, PkiError};
use crate::queue::{QueueError, Signals};
use crate::registry::Registry;
use crate::relay::Relay;
use crate::riyic::{Riyic, RiyicError};
use crate::store::{Conn, Store};
pub use crate::store::{Constraint, StoreError};
use crate::vault::{Vault, VaultError};
use dockerforge_protocol::ids::{HostId, UserId};
use std::sync::Arc;
use uuid::Uuid;

/// What the use cases work with. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    /// The database.
    pub store: Store,
    /// The wake-ups.
    pub signals: Signals,
    /// The certificate authority.
    pub authority: Arc<Authority>,
    /// Secrets at rest.
    pub vault: Vault,
    /// The build contexts.
    pub contexts: Contexts,
    /// What an uploaded archive may cost.
    pub upload_limits: Limits,
    /// Called with each host whose identity was revoked, after the commit: ends its live session.
    pub revoked: Arc<dyn Fn(HostId) + Send + Sync>,
    /// What the operator lays down for shared hosts.
    pub pool: PoolRules,
    /// The URL that agents dial.
    pub agent_url: String,
    /// The agent as it is given to machines that are to become hosts, where the operator gives one.
    pub installer: Option<Arc<installer::Installer>>,
    /// The operator's configuration service, where there is one.
    pub riyic: Option<Arc<Riyic>>,
    /// Finds the streams of a host's live session.
    pub relay: Relay,
    /// How many streams each user has open.
    pub streams: streams::OpenStreams,
    /// The tickets for terminals.
    pub tickets: tickets::Tickets,
    /// The registry that hosts bring images to and have them from.
    pub registry: Option<Arc<Registry>>,
}

/// Why a use case did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A rule forbids it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database failed.
    #[error(transparent)]
    Store(StoreError),
    /// A certificate could not be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// What was decided from was changed before it could be held.
    #[error("another request was faster")]
    Outrun,
    /// A secret could not be sealed or opened.
    #[error(transparent)]
    Vault(VaultError),
    /// A build context could not be kept.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// A build context could not be rendered.
    #[error("a configuration could not be rendered")]
    Render(#[from] RenderError),
    /// The configuration service cannot be asked.
    #[error(transparent)]
    Riyic(RiyicError),
    /// No random bytes could be had.
    #[error("the system gave no random bytes")]
    Random(#[source] getrandom::Error),
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<VaultError> for ServiceError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Store(error) => error.into(),
            other => Self::Vault(other),
        }
    }
}

impl From<QueueError> for ServiceError {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Refused(refusal) => Self::Refused(refusal),
            QueueError::Store(error) => error.into(),
        }
    }
}

impl ServiceError {
    /// Turns a taken name into the refusal that says so.
    fn naming(self, name: &impl ToString) -> Self {
        match self {
            Self::Store(StoreError::Constraint(Constraint::Name(kind))) => {
                Refusal::NameTaken { kind, name: name.to_string() }.into()
            }
            other => other,
        }
    }

    /// Whether another request was faster, with the same Idempotency-Key or on the same host; the next try finds what it
    /// did.
    fn is_outrun(&self) -> bool {
        matches!(self, Self::Outrun | Self::Store(StoreError::Constraint(Constraint::IdempotencyKey)))
    }
}

/// A result of a use case.
pub type Result<T> = std::result::Result<T, ServiceError>;

/// Whether a list is asked for by a host that is not the user's: to him there is nothing on it.
async fn is_hidden(conn: &mut Conn, user: UserId, host: Option<HostId>) -> Result<bool> {
    match host {
        Some(host) => Ok(!crate::store::placement::foreign(conn, user, &[host]).await?.is_empty()),
        None => Ok(false),
    }
}

/// Whether a thing of a user's is as who changes it has seen it; held from then on, so that of two who saw the same one is
/// too late. What is not there, or not the user's, is found out afterwards.
async fn as_seen(conn: &mut Conn, user: UserId, kind: Kind, id: Uuid, seen: &Precondition) -> Result<()> {
    if !matches!(seen, Precondition::Revision(_)) {
        return Ok(());
    }
    match crate::store::revisions::held(conn, user, kind, id).await? {
        Some(revision) => Ok(seen.check(kind, Some(revision))?),
        None => Ok(()),
    }
}

/// 256 random bits from the system.
fn random() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(ServiceError::Random)?;
    Ok(bytes)
}

/// Does something once more if another request was faster.
macro_rules! once {
    ($attempt:expr) => {
        match $attempt {
            Err(error) if error.is_outrun() => $attempt,
            result => result,
        }
    };
}
pub(crate) use once;
