//! The life of an agent: state folder, identity, then everything wired together until it is stopped or revoked. Called
//! by `main` and by tests. What must hold: whatever ends it, the journal has what was promised, and nothing that it
//! started runs on.

use crate::config::Config;
use crate::docker::Engine;
use crate::executor::{Executor, Settings};
use crate::exports::Exports;
use crate::identity::enrol::{EnrolError, enrol};
use crate::identity::{Identity, IdentityError};
use crate::inventory::{Observed, Watcher};
use crate::journal::{JournalError, spool};
use crate::link::http::CoordinatorSupplies;
use crate::link::{Link, LinkEnd};
use crate::policy::{Policy, PolicyError};
use crate::state::{StateDir, StateError};
use crate::streams;
use crate::tasks::Tasks;
use crate::volumes::Carriers;
use dockerforge_protocol::enrolment::JoinToken;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long results that are ready may take to be acknowledged at a stop.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// After a look that failed.
const AGAIN: Duration = Duration::from_secs(1);
/// How long tasks may take to end.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// Why an agent ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The owner's limits cannot be read.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The identity cannot be read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// There is no identity and no token to get one.
    #[error("this host is not enrolled: give the join token that the coordinator showed for it (--token)")]
    NotEnrolled,
    /// The enrolment failed for good.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// The coordinator revoked the identity.
    #[error("the coordinator revoked this host: {detail}; to use it again, enrol it with a new join token")]
    Revoked {
        /// The coordinator's words.
        detail: String,
    },
}

impl AgentError {
    /// The exit code of the process: 1 failure, 2 configuration (as the command line's own errors), 3 revoked,
    /// 4 enrolment refused. A service manager should not start it again after 2, 3 and 4.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Revoked { .. } => 3,
            Self::Enrol(EnrolError::Refused(_) | EnrolError::OtherCoordinator { .. }) => 4,
            Self::Policy(_) | Self::NotEnrolled => 2,
            Self::State(_) | Self::Journal(_) | Self::Identity(_) | Self::Enrol(_) => 1,
        }
    }
}

/// An agent that has not started yet.
pub struct Agent {
    /// What it runs with.
    pub config: Config,
    /// The Docker Engine it works on.
    pub engine: Arc<dyn Engine>,
}

impl Agent {
    /// Runs until cancelled, which is success, or until it cannot go on.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), AgentError> {
        let state = StateDir::open(&self.config.state_dir)?;
        let policy = Policy::load(self.config.policy.as_deref(), state.path())?;
        let mut identity = match self.identity(&state, &cancel).await {
            Err(AgentError::Enrol(EnrolError::Stopped)) => return Ok(()),
            identity => Arc::new(identity?),
        };
        loop {
            let detail = match self.enrolled(&state, Arc::clone(&identity), policy.clone(), &cancel).await? {
                LinkEnd::Stopped => return Ok(()),
                LinkEnd::Revoked(detail) => {
                    identity.mark_revoked();
                    detail
                }
                LinkEnd::Conflict => "it was copied".to_owned(),
            };
            match self.enrol_anew(&state, &identity, &cancel).await? {
                Some(fresh) => identity = Arc::new(fresh),
                None => return Err(AgentError::Revoked { detail }),
            }
        }
    }

    async fn identity(&self, state: &StateDir, cancel: &CancellationToken) -> Result<Identity, AgentError> {
        let Some(identity) = Identity::load(state.path())? else {
            let token = self.config.token.as_ref().ok_or(AgentError::NotEnrolled)?;
            let identity = enrol(&self.config.coordinator, token, &self.config.hostname, state.path(), cancel).await?;
            tracing::info!(host = %identity.host(), cluster = %identity.cluster(), "enrolled");
            return Ok(identity);
        };
        if identity.is_revoked()
            && let Some(fresh) = self.enrol_anew(state, &identity, cancel).await?
        {
            return Ok(fresh);
        }
        if self.config.token.is_some() {
            tracing::info!(host = %identity.host(), "this host is enrolled already; the join token is not used");
        }
        Ok(identity)
    }

    /// The join token, if there is one that the identity did not come from.
    fn fresh_token(&self, identity: &Identity) -> Option<&JoinToken> {
        self.config.token.as_ref().filter(|token| token.id != identity.joined_with())
    }

    /// A new identity by the token, if there is one that the old identity did not come from.
    async fn enrol_anew(
        &self,
        state: &StateDir,
        old: &Identity,
        cancel: &CancellationToken,
    ) -> Result<Option<Identity>, AgentError> {
        match self.fresh_token(old) {
            None => Ok(None),
            Some(token) => {
                tracing::info!(host = %old.host(), "the old identity is of no more use; enrolling with the join token");
                Ok(Some(enrol(&self.config.coordinator, token, &self.config.hostname, state.path(), cancel).await?))
            }
        }
    }

    /// Works under an identity until the link ends.
    async fn enrolled(
        &self,
        state: &StateDir,
        identity: Arc<Identity>,
        policy: Policy,
        cancel: &CancellationToken,
    ) -> Result<LinkEnd, AgentError> {
        let config = &self.config;
        let (journal, writer, entries) = crate::journal::open(state.path())?;
        let spool = state.path().join("spool");
        std::fs::create_dir_all(&spool).map_err(|source| StateError::Folder { path: spool.clone(), source })?;
        let held: HashSet<String> =
            entries.iter().map(|e| format!("{}-{}", e.accepted.attempt.job, e.accepted.attempt.number)).collect();
        spool::sweep(&spool, |name| held.contains(name));

        let tasks = Tasks::new();
        tasks.spawn("journal", writer.run());
        let observed = Arc::new(Observed::default());
        let watcher = Watcher {
            cluster: identity.cluster(),
            engine: Arc::clone(&self.engine),
            observed: Arc::clone(&observed),
            relist_every: config.relist_every,
            ping_every: config.ping_every,
        };
        tasks.spawn("inventory", watcher.run(tasks.token()));
        let carriers = Carriers::new(identity.cluster(), Arc::clone(&self.engine));
        let sweep = tasks.token().run_until_cancelled_owned(sweep(carriers.clone(), observed.up()));
        tasks.spawn("carriers", async move { sweep.await.unwrap_or_default() });
        let streams = streams::Settings {
            carriers: carriers.clone(),
            cluster: identity.cluster(),
            engine: Arc::clone(&self.engine),
            exports: Exports::new(state.path(), Arc::clone(&self.engine), tasks.clone()),
            policy: policy.clone(),
            tasks: tasks.clone(),
        };
        let settings = Settings {
            cluster: identity.cluster(),
            host: identity.host(),
            slots: config.slots,
            spool,
            layers: state.path().join("layers"),
            spool_limit: config.spool_limit,
            own_paths: std::iter::once(state.path().to_owned()).chain(config.policy.clone()).collect(),
            policy,
            engine: Arc::clone(&self.engine),
            carriers,
            supplies: Arc::new(CoordinatorSupplies {
                url: config.coordinator.clone(),
                identity: Arc::clone(&identity),
            }),
            docker_up: observed.up(),
        };
        let executor = Executor::new(settings, journal, tasks.clone(), entries);
        let link = Link {
            resend_every: config.resend_every,
            may_enrol: self.fresh_token(&identity).is_some(),
            url: config.coordinator.clone(),
            identity,
            executor: executor.clone(),
            observed,
            streams,
            hostname: config.hostname.clone(),
            slots: u32::try_from(config.slots).unwrap_or(u32::MAX),
        };
        let close = CancellationToken::new();
        let drain = async {
            cancel.cancelled().await;
            drain(&executor, config.drain).await;
            close.cancel();
            std::future::pending::<()>().await;
        };
        let end = tokio::select! {
            end = link.run(&close) => end,
            () = drain => LinkEnd::Stopped,
        };
        executor.halt();
        // The journal's writer ends with the last handle of the journal.
        drop((link, executor));
        let late = tasks.shutdown(SHUTDOWN).await;
        if !late.is_empty() {
            tracing::warn!(tasks = ?late, "tasks did not end in time");
        }
        Ok(end)
    }
}

/// Removes what an earlier life carried volumes with, once Docker answers.
async fn sweep(carriers: Carriers, mut up: tokio::sync::watch::Receiver<bool>) {
    while up.wait_for(|up| *up).await.is_ok() {
        match carriers.sweep_left().await {
            Ok(()) => return,
            Err(error) => tracing::debug!(error = crate::report(&error), "what carried volumes could not be swept"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Takes no more work, and gives what is in work a little time to end and to be reported.
async fn drain(executor: &Executor, grace: Duration) {
    executor.drain();
    let until = Instant::now() + grace;
    while executor.table().in_work() > 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let until = Instant::now() + LAST_WORDS;
    while !executor.table().views().is_empty() && executor.table().in_work() == 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
