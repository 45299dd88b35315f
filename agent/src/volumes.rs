//! What is in a volume, out of this host and into it. Docker gives and takes archives of containers alone, so a container of
//! ours stands in between, which never runs and has nothing but that volume: what its user's container has around the
//! volume (a root that is read-only, other mounts within it) does not matter, and the volume's own owner and mode are
//! carried too. Called by `streams` on the host that a container leaves, and by `executor` on the one that it goes to.
//!
//! What must hold: such a container goes with what it was made for, and one that an earlier life of the agent left
//! goes when it is found.

use crate::docker::{ContextStream, DockerError, Engine, Events, LabelMap, NewContainer};
use bytes::Bytes;
use dockerforge_protocol::command::{labels, local_tag};
use dockerforge_protocol::ids::{ClusterId, ContainerId, ImageId};
use dockerforge_protocol::stream::VOLUME_FOLDER;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the volume is mounted, in a folder that no image has.
const PARENT: &str = "/.dockerforge";
/// A network that is none.
const NO_NETWORK: &str = "none";

/// Makes volumes accessible. Clones are the same.
#[derive(Clone)]
pub struct Carriers {
    cluster: ClusterId,
    engine: Arc<dyn Engine>,
    life: Arc<str>,
    made: Arc<AtomicU64>,
}

/// Which volume, and of what.
#[derive(Debug, Clone)]
pub struct Carried {
    /// Of which container.
    pub container: ContainerId,
    /// An image that is on the host: a container has to be of one.
    pub image: ImageId,
    /// Docker's name of the volume.
    pub volume: String,
    /// Whether it is only read.
    pub read_only: bool,
}

impl Carriers {
    /// Of this life of the agent, by which its own are told from those that an earlier one left.
    #[must_use]
    pub fn new(cluster: ClusterId, engine: Arc<dyn Engine>) -> Self {
        let mut life = [0; 8];
        // Without random bytes it is told by the time: two lives do not begin at once.
        if getrandom::fill(&mut life).is_err() {
            life = now();
        }
        let life = format!("{:016x}", u64::from_be_bytes(life)).into();
        Self { cluster, engine, life, made: Arc::default() }
    }

    /// Docker's id of a container that has the volume alone. Whoever asked removes it.
    pub async fn carry(&self, what: &Carried) -> Result<String, DockerError> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let new = NewContainer {
            name: format!("df-carrier-{}-{number}", self.life),
            image: local_tag(what.image),
            // It never runs; an image may name no program.
            command: vec!["-".to_owned()],
            labels: LabelMap::from([
                (labels::CLUSTER.to_owned(), self.cluster.to_string()),
                (labels::CARRIES.to_owned(), what.container.to_string()),
            ]),
            network: NO_NETWORK.to_owned(),
            volumes: vec![(what.volume.clone(), format!("{PARENT}/{VOLUME_FOLDER}"), what.read_only)],
            keep_volumes: true,
            restart: "no",
            ..NewContainer::default()
        };
        self.engine.container_create(&new).await
    }

    /// What is in the volume, as an archive.
    pub async fn pack(&self, carrier: &str) -> Result<Events<Bytes>, DockerError> {
        self.engine.container_pack(carrier, &format!("{PARENT}/{VOLUME_FOLDER}")).await
    }

    /// Puts what such an archive holds into the volume.
    pub async fn fill(&self, carrier: &str, archive: ContextStream) -> Result<(), DockerError> {
        self.engine.container_fill(carrier, PARENT, archive).await
    }

    /// Removes a container that was made here.
    pub async fn remove(&self, carrier: &str) -> Result<(), DockerError> {
        match self.engine.container_remove(carrier).await {
            Ok(()) | Err(DockerError::NotFound { .. }) => Ok(()),
            Err(DockerError::Conflict { message }) if message.contains("already in progress") => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes all that carry volumes of a container: whoever asks anew has given up what was asked before.
    pub async fn sweep(&self, container: ContainerId) -> Result<(), DockerError> {
        let carries = format!("{}={container}", labels::CARRIES);
        for line in self.engine.container_list(&[self.ours(), carries]).await? {
            self.remove(&line.id).await?;
        }
        Ok(())
    }

    /// Removes all that earlier lives of the agent left.
    pub async fn sweep_left(&self) -> Result<(), DockerError> {
        let own = format!("df-carrier-{}-", self.life);
        for line in self.engine.container_list(&[self.ours(), labels::CARRIES.to_owned()]).await? {
            if !line.name.starts_with(&own) {
                tracing::info!(
                    container = line.id,
                    "what an earlier life of the agent carried a volume with is removed"
                );
                self.remove(&line.id).await?;
            }
        }
        Ok(())
    }

    fn ours(&self) -> String {
        format!("{}={}", labels::CLUSTER, self.cluster)
    }
}

fn now() -> [u8; 8] {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or_default().to_be_bytes()
}
