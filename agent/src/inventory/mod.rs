//! What there is on this host: whether Docker answers, and our containers and images. Runs beside the sessions, which
//! publish what it sees. What must hold: the list is always read whole from Docker (events only say when to look), and
//! an unanswered question changes nothing: silence is not absence.

pub mod usage;

use crate::docker::{DockerError, Engine};
use crate::jitter;
use dockerforge_protocol::command::labels;
use dockerforge_protocol::ids::{ClusterId, ContainerId, ImageId};
use dockerforge_protocol::inventory::{
    ContainerState, DockerInfo, Health, Inventory, ObservedContainer, ObservedImage,
};
use futures_util::StreamExt;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// Our images' tags; those of builds in work have one more part.
const IMAGES: &str = "dockerforge.invalid/*";
/// Events come in bursts: a start alone is three.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// After a failed look.
const AGAIN: Duration = Duration::from_secs(1);

/// What was seen last.
pub struct Observed {
    began: Instant,
    seen: Mutex<Seen>,
    up: watch::Sender<bool>,
    changed: Notify,
}

#[derive(Default)]
struct Seen {
    docker: Option<DockerInfo>,
    last_ping: Option<Instant>,
    inventory: Option<Arc<Inventory>>,
    version: u64,
}

impl Default for Observed {
    fn default() -> Self {
        Self { began: Instant::now(), seen: Mutex::default(), up: watch::Sender::new(false), changed: Notify::new() }
    }
}

impl Observed {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Docker as it is now, and whether it answers.
    #[must_use]
    pub fn docker(&self) -> (Option<DockerInfo>, bool) {
        let docker = self.seen().docker.clone();
        let up = docker.is_some();
        (docker, up)
    }

    /// Follows whether Docker answers.
    #[must_use]
    pub fn up(&self) -> watch::Receiver<bool> {
        self.up.subscribe()
    }

    /// The last list and its number; none before the first.
    #[must_use]
    pub fn inventory(&self) -> (u64, Option<Arc<Inventory>>) {
        let seen = self.seen();
        (seen.version, seen.inventory.clone())
    }

    /// How long ago Docker answered; if it never did, how long it has been asked: a Docker that is only just being
    /// asked is not one that hangs.
    #[must_use]
    pub fn ping_age(&self) -> Duration {
        self.seen().last_ping.unwrap_or(self.began).elapsed()
    }

    /// Our containers that run; none before the first list.
    #[must_use]
    pub fn running(&self) -> Option<u32> {
        let (_, inventory) = self.inventory();
        let running = inventory?.containers.iter().filter(|c| c.state == ContainerState::Running).count();
        Some(u32::try_from(running).unwrap_or(u32::MAX))
    }

    /// Returns after something changed since the last return. For one listener.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn set_docker(&self, docker: Option<DockerInfo>) {
        let up = docker.is_some();
        self.seen().docker = docker;
        self.up.send_if_modified(|before| std::mem::replace(before, up) != up);
        self.changed.notify_one();
    }

    fn set_inventory(&self, inventory: Inventory) {
        let mut seen = self.seen();
        if seen.inventory.as_deref() == Some(&inventory) {
            return;
        }
        seen.inventory = Some(Arc::new(inventory));
        seen.version += 1;
        drop(seen);
        self.changed.notify_one();
    }
}

/// Watches one Docker Engine.
pub struct Watcher {
    /// Whose labels mark what is ours.
    pub cluster: ClusterId,
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// Where to put what is seen.
    pub observed: Arc<Observed>,
    /// How often to list everything, beside the events.
    pub relist_every: Duration,
    /// How often to ask whether Docker answers.
    pub ping_every: Duration,
}

/// What a list does not tell of a container, and when it was true.
#[derive(Clone)]
struct Detail {
    state: ContainerState,
    health: Option<Health>,
    exit_code: Option<i64>,
    started_at: Option<i64>,
}

impl Watcher {
    /// Watches until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        tokio::select! {
            () = async { tokio::join!(self.ping(), self.list()); } => {}
            () = cancel.cancelled() => {}
        }
    }

    async fn ping(&self) {
        loop {
            match self.engine.ping().await {
                Ok(()) => {
                    self.observed.seen().last_ping = Some(Instant::now());
                    if !self.observed.docker().1 {
                        match self.engine.version().await {
                            Ok(info) => {
                                tracing::info!(version = info.version, api = info.api_version, "Docker answers");
                                self.observed.set_docker(Some(info));
                            }
                            Err(error) => tracing::warn!(error = crate::report(&error), "Docker's version is unknown"),
                        }
                    }
                }
                Err(error) => {
                    if self.observed.docker().1 {
                        tracing::warn!(error = crate::report(&error), "Docker does not answer");
                        self.observed.set_docker(None);
                    }
                }
            }
            tokio::time::sleep(jitter::tenth(self.ping_every)).await;
        }
    }

    async fn list(&self) {
        let mut up = self.observed.up();
        let mut details = BTreeMap::new();
        loop {
            // The sender lives as long as this watcher.
            let _ = up.wait_for(|up| *up).await;
            if let Err(error) = self.follow(&mut details).await {
                tracing::debug!(error = crate::report(&error), "the inventory could not be read");
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Lists once, then whenever an event or the time says so, until the events end. Listening begins before the first
    /// look, so that nothing happens in between unseen.
    async fn follow(&self, details: &mut BTreeMap<String, Detail>) -> Result<(), DockerError> {
        let mut events = self.engine.events().await?;
        details.clear();
        loop {
            self.look(details).await?;
            let relist = tokio::time::sleep(jitter::tenth(self.relist_every));
            tokio::select! {
                event = events.next() => match event {
                    None => return Ok(()),
                    Some(hint) => { details.remove(&hint?.id); }
                },
                () = relist => continue,
            }
            let quiet = tokio::time::sleep(DEBOUNCE);
            tokio::pin!(quiet);
            loop {
                tokio::select! {
                    event = events.next() => match event {
                        None => return self.look(details).await,
                        Some(hint) => { details.remove(&hint?.id); }
                    },
                    () = &mut quiet => break,
                }
            }
        }
    }

    async fn look(&self, details: &mut BTreeMap<String, Detail>) -> Result<(), DockerError> {
        let ours = [format!("{}={}", labels::CLUSTER, self.cluster)];
        let mut inventory = Inventory::default();
        let lines = self.engine.container_list(&ours).await?;
        details.retain(|id, _| lines.iter().any(|line| line.id == *id));
        // While a container is made anew its predecessor stands beside it under another name.
        let (named, kept): (Vec<_>, Vec<_>) = lines
            .into_iter()
            .partition(|line| line.labels.get(labels::CONTAINER).is_some_and(|id| line.name == format!("df-{id}")));
        let kept = kept.into_iter().filter(|line| {
            let id = line.labels.get(labels::CONTAINER);
            !named.iter().any(|other| other.labels.get(labels::CONTAINER) == id)
        });
        for line in kept.collect::<Vec<_>>().into_iter().chain(named.clone()) {
            let Some(container) = line.labels.get(labels::CONTAINER).and_then(|id| id.parse::<ContainerId>().ok())
            else {
                continue;
            };
            let detail = match details.get(&line.id).filter(|d| d.state == line.state) {
                Some(detail) => detail.clone(),
                None => match self.engine.container_inspect(&line.id).await {
                    Ok(found) => {
                        let detail = Detail {
                            state: found.state,
                            health: found.health,
                            exit_code: found.exit_code,
                            started_at: found.started_at,
                        };
                        details.insert(line.id.clone(), detail.clone());
                        detail
                    }
                    // It went between the list and the question.
                    Err(DockerError::NotFound { .. }) => continue,
                    Err(error) => return Err(error),
                },
            };
            inventory.containers.push(ObservedContainer {
                container,
                docker_id: line.id,
                state: detail.state,
                health: detail.health,
                exit_code: detail.exit_code,
                started_at: detail.started_at,
                ports: line.ports,
                address: line.address,
            });
        }
        for image in self.engine.image_list(IMAGES).await? {
            let ids = image.tags.iter().filter_map(|tag| tag.strip_prefix("dockerforge.invalid/")?.split(':').next());
            inventory.images.extend(ids.filter_map(|id| id.parse::<ImageId>().ok()).map(|id| ObservedImage {
                image: id,
                docker_id: image.id.clone(),
                size: image.size,
            }));
        }
        // Docker lists in an order of its own: equal lists must compare equal.
        inventory.containers.sort_by(|a, b| (a.container, &a.docker_id).cmp(&(b.container, &b.docker_id)));
        inventory.images.sort_by_key(|i| i.image);
        self.observed.set_inventory(inventory);
        Ok(())
    }
}
