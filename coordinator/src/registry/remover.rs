//! Removes images from the registry that are gone from everywhere else: noted in the transaction that removed them, tried until the
//! registry says that they are gone. Run once a process by `app`; every step may be done twice, so several replicas may.

use super::client::{Removed, Requests};
use super::{NoClient, Registry};
use crate::domain::Timestamp;
use crate::domain::registry::removal_again;
use crate::store::registry::Removal;
use crate::store::{self, Store, StoreError};
use jiff::SignedDuration;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long to wait until it looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How many are looked at at once.
const PIECE: u32 = 20;
/// How long a claim lasts: longer than an attempt may take.
const CLAIM: SignedDuration = SignedDuration::from_secs(120);

/// What removes images from the registry.
pub struct Remover {
    store: Store,
    requests: Requests,
    /// Whether it was said that the registry removes nothing.
    said: bool,
}

impl Remover {
    /// One for this registry.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(store: Store, registry: Arc<Registry>) -> Result<Self, NoClient> {
        Ok(Self { store, requests: Requests::new(registry)?, said: false })
    }

    /// Removes until told to stop. What is under way then is due again after its claim.
    pub async fn run(mut self, stop: CancellationToken) {
        while let Some(looked) = stop.run_until_cancelled(self.look()).await {
            if let Err(error) = looked {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "what is to be removed from the registry could not be looked at");
            }
            if stop.run_until_cancelled(tokio::time::sleep(LOOK_AGAIN)).await.is_none() {
                return;
            }
        }
    }

    async fn look(&mut self) -> Result<(), StoreError> {
        let now = crate::clock::now();
        let due = store::registry::due(&mut self.store.read().await?, now, PIECE).await?;
        for removal in due {
            let (claimed, until) = (removal.clone(), now.checked_add(CLAIM).unwrap_or(now));
            let ours = self
                .store
                .write(move |conn| Box::pin(async move { store::registry::claim(conn, &claimed, until).await }));
            if ours.await? && !self.attempt(removal).await? {
                // It does not answer: the others need not be tried now.
                return Ok(());
            }
        }
        Ok(())
    }

    /// One attempt; whether the registry answered.
    async fn attempt(&mut self, removal: Removal) -> Result<bool, StoreError> {
        let Removal { repository, digest, attempts, .. } = &removal;
        let tag = repository.rsplit_once('/').map_or("", |(_, tag)| tag);
        let removed = self.requests.remove(repository, tag, digest.as_deref(), crate::clock::now()).await;
        let again = match &removed {
            Removed::Gone => None,
            Removed::Disabled => {
                if !std::mem::replace(&mut self.said, true) {
                    tracing::warn!(
                        repository,
                        "the registry removes nothing (REGISTRY_STORAGE_DELETE_ENABLED): deleted images stay there"
                    );
                }
                None
            }
            Removed::Elsewhere => {
                tracing::warn!(repository, "an image stays in a registry that is not configured any more");
                None
            }
            Removed::Failed(why) => {
                let again = removal_again(attempts.saturating_add(1));
                if again.is_some() {
                    tracing::info!(repository, why, "an image cannot be removed from the registry now");
                } else {
                    tracing::warn!(repository, why, "an image stays in the registry: its removal is given up");
                }
                again
            }
        };
        let next = again.map(|wait| crate::clock::now().checked_add(wait).unwrap_or(Timestamp::MAX));
        let settled = removal.clone();
        self.store
            .write(move |conn| Box::pin(async move { store::registry::settle(conn, &settled, next).await }))
            .await?;
        Ok(!matches!(removed, Removed::Failed(_)))
    }
}
