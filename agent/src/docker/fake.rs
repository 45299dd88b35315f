//! A Docker Engine in memory, for tests: it behaves as the real one where the executor relies on it (names are a
//! compare-and-set, repeats are harmless, a build's tag appears with its end), records every call, fails the n-th call
//! before or after its effect, and can hold a build. Never in a shipped binary.

mod build;
mod live;
mod transfer;
mod world;

pub use live::FakeTerminal;
pub use transfer::digest;
pub use world::World;
use world::{carries, conflict, missing};

use super::{
    Call, Container, ContainerLine, ContextStream, DockerError, Engine, Events, Exec, Hint, Image, LabelMap, Limits,
    Network, NewBuild, NewContainer, NewExec, Output, Volume,
};
use bytes::Bytes;
use dockerforge_protocol::command::labels;
use dockerforge_protocol::inventory::{ContainerState, DockerInfo, ObservedPort};
use futures_util::{FutureExt, StreamExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// When a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Docker did nothing.
    Before,
    /// Docker did it, and the answer was lost.
    After,
}

/// A Docker Engine in memory. Clones are the same engine.
#[derive(Clone)]
pub struct FakeEngine {
    world: Arc<Mutex<World>>,
    hints: broadcast::Sender<Hint>,
    held: Arc<watch::Sender<bool>>,
    log: Arc<Mutex<Vec<String>>>,
    live: Arc<watch::Sender<u64>>,
    latency: Duration,
}

impl Default for FakeEngine {
    fn default() -> Self {
        Self::new(Duration::ZERO)
    }
}

impl FakeEngine {
    /// An empty host whose calls take that long.
    #[must_use]
    pub fn new(latency: Duration) -> Self {
        Self {
            world: Arc::default(),
            hints: broadcast::channel(16).0,
            held: Arc::new(watch::Sender::new(false)),
            log: Arc::default(),
            live: Arc::new(watch::Sender::new(0)),
            latency,
        }
    }

    /// What is on the host.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an image on the host.
    pub fn add_image(&self, tag: &str) -> String {
        let mut world = self.world();
        let id = world.id("sha256:");
        let image = Image {
            id: id.clone(),
            size: 1000,
            tags: vec![tag.to_owned()],
            labels: LabelMap::new(),
            layers: Vec::new(),
            created_at: None,
        };
        world.images.insert(id.clone(), image);
        id
    }

    /// The n-th call from now on (from 0) fails, once.
    pub fn fail_nth(&self, n: usize, moment: Moment) {
        let mut world = self.world();
        world.fail = Some((world.calls.len() + n, moment));
    }

    /// The n-th call from now on (from 0) fails, and every one after it, until [`FakeEngine::set_down`] ends it: what is
    /// on the host then is what an agent leaves that is killed there.
    pub fn fail_from(&self, n: usize, moment: Moment) {
        self.fail_nth(n, moment);
        self.world().fails_for_good = true;
    }

    /// Every call fails from now on, or no longer does.
    pub fn set_down(&self, down: bool) {
        let mut world = self.world();
        world.down = down;
        world.fails_for_good = false;
    }

    /// Builds and pulls wait before their end, or go on.
    pub fn hold_builds(&self, hold: bool) {
        self.held.send_replace(hold);
    }

    /// What builds print, a line each.
    pub fn set_build_log(&self, lines: Vec<String>) {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = lines;
    }

    async fn act<T>(
        &self,
        call: &'static str,
        about: &str,
        effect: impl FnOnce(&mut World) -> Result<T, DockerError>,
    ) -> Result<T, DockerError> {
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
        let mut world = self.world();
        let number = world.calls.len();
        // The inventory's questions come at any time: counted, they would make the n-th call another one each time.
        let counted = !matches!(call, "ping" | "version" | "events" | "container list");
        if counted {
            world.calls.push(format!("{call} {about}"));
        }
        let unavailable = || DockerError::Unavailable { call, source: "the test says so".into() };
        if world.down {
            return Err(unavailable());
        }
        let due = world.fail.filter(|(n, _)| counted && *n == number).map(|(_, moment)| moment);
        world.down |= due.is_some() && world.fails_for_good;
        if due == Some(Moment::Before) {
            return Err(unavailable());
        }
        let answer = effect(&mut world);
        if due == Some(Moment::After) { Err(unavailable()) } else { answer }
    }

    /// Says that something happened to what has this id.
    pub fn hint(&self, id: &str) {
        // Without a listener there is nobody to tell.
        let _ = self.hints.send(Hint { id: id.to_owned() });
    }
}

impl Engine for FakeEngine {
    fn ping(&self) -> Call<'_, ()> {
        self.act("ping", "", |_| Ok(())).boxed()
    }

    fn version(&self) -> Call<'_, DockerInfo> {
        let info = || DockerInfo { version: "fake".into(), api_version: "1.41".into(), platform: "linux/amd64".into() };
        self.act("version", "", move |_| Ok(info())).boxed()
    }

    fn own_paths(&self) -> Call<'_, Vec<PathBuf>> {
        self.act("info", "", |w| Ok(w.own_paths.clone())).boxed()
    }

    fn events(&self) -> Call<'_, Events<Hint>> {
        let receiver = self.hints.subscribe();
        let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
            match receiver.recv().await {
                Ok(hint) => Some((Ok(hint), receiver)),
                Err(broadcast::error::RecvError::Lagged(_)) => Some((Ok(Hint { id: String::new() }), receiver)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        });
        self.act("events", "", move |_| Ok(stream.boxed())).boxed()
    }

    fn network_inspect<'a>(&'a self, name: &'a str) -> Call<'a, Network> {
        self.act("network inspect", name, move |w| w.networks.get(name).cloned().map_or_else(|| missing(name), Ok))
            .boxed()
    }

    fn network_create<'a>(&'a self, name: &'a str, labels: &'a LabelMap) -> Call<'a, ()> {
        self.act("network create", name, move |w| {
            if w.networks.contains_key(name) {
                return conflict(format!("network with name {name} already exists"));
            }
            let id = w.id("");
            w.networks.insert(name.to_owned(), Network { id, labels: labels.clone() });
            Ok(())
        })
        .boxed()
    }

    fn network_remove<'a>(&'a self, name: &'a str) -> Call<'a, ()> {
        self.act("network remove", name, move |w| w.networks.remove(name).map_or_else(|| missing(name), |_| Ok(())))
            .boxed()
    }

    fn volume_inspect<'a>(&'a self, name: &'a str) -> Call<'a, Volume> {
        self.act("volume inspect", name, move |w| w.volumes.get(name).cloned().map_or_else(|| missing(name), Ok))
            .boxed()
    }

    fn volume_create<'a>(&'a self, name: &'a str, labels: &'a LabelMap) -> Call<'a, ()> {
        self.act("volume create", name, move |w| {
            let volume = Volume { name: name.to_owned(), labels: labels.clone() };
            w.volumes.entry(name.to_owned()).or_insert(volume);
            Ok(())
        })
        .boxed()
    }

    fn volume_remove<'a>(&'a self, name: &'a str) -> Call<'a, ()> {
        self.act("volume remove", name, move |w| {
            if w.containers.values().any(|(c, ..)| c.volumes.iter().any(|v| v == name)) {
                return conflict(format!("remove {name}: volume is in use"));
            }
            w.contents.remove(name);
            w.volumes.remove(name).map_or_else(|| missing(name), |_| Ok(()))
        })
        .boxed()
    }

    fn volume_list<'a>(&'a self, labels: &'a [String]) -> Call<'a, Vec<Volume>> {
        self.act("volume list", "", move |w| {
            Ok(w.volumes.values().filter(|v| carries(&v.labels, labels)).cloned().collect())
        })
        .boxed()
    }

    fn image_inspect<'a>(&'a self, reference: &'a str) -> Call<'a, Image> {
        self.act("image inspect", reference, move |w| {
            w.image(reference).cloned().map_or_else(|| missing(reference), Ok)
        })
        .boxed()
    }

    fn image_tag<'a>(&'a self, reference: &'a str, tag: &'a str) -> Call<'a, ()> {
        self.act("image tag", tag, move |w| match w.image(reference).map(|i| i.id.clone()) {
            None => missing(reference),
            Some(id) => {
                w.tag(&id, tag);
                Ok(())
            }
        })
        .boxed()
    }

    fn image_remove<'a>(&'a self, reference: &'a str) -> Call<'a, ()> {
        self.act("image remove", reference, move |w| {
            let Some(image) = w.image(reference).cloned() else { return missing(reference) };
            if image.tags.len() < 2 && w.containers.values().any(|(_, _, used)| *used == image.id) {
                return conflict(format!("conflict: unable to remove {reference}: a container is using it"));
            }
            if let Some(kept) = w.images.get_mut(&image.id) {
                kept.tags.retain(|t| t != reference);
                if kept.tags.is_empty() {
                    w.images.remove(&image.id);
                }
            }
            Ok(())
        })
        .boxed()
    }

    fn image_list<'a>(&'a self, pattern: &'a str) -> Call<'a, Vec<Image>> {
        let call = if pattern.ends_with('*') { "container list" } else { "image list" };
        self.act(call, pattern, move |w| {
            let matches = |tag: &String| match pattern.strip_suffix('*') {
                Some(prefix) => tag.strip_prefix(prefix).is_some_and(|rest| !rest.contains('/')),
                None => tag.rsplit_once(':').is_some_and(|(repository, _)| repository == pattern),
            };
            Ok(w.images.values().filter(|i| i.tags.iter().any(matches)).cloned().collect())
        })
        .boxed()
    }

    fn image_pull<'a>(&'a self, name: &'a str, tag: &'a str) -> Call<'a, Events<Output>> {
        let separator = if tag.contains(':') { '@' } else { ':' };
        self.act("image pull", name, move |w| {
            let reference = format!("{name}{separator}{tag}");
            let Some(id) = w.registry.get(&reference).cloned() else {
                return missing(&format!("manifest for {reference} not found"));
            };
            let fresh = Image {
                id: id.clone(),
                size: 1000,
                tags: Vec::new(),
                labels: LabelMap::new(),
                layers: Vec::new(),
                created_at: None,
            };
            w.images.entry(id.clone()).or_insert(fresh);
            w.tag(&id, &reference);
            let text = format!("Status: Downloaded newer image for {reference}");
            let mut held = self.held.subscribe();
            let end = async move {
                let _ = held.wait_for(|held| !held).await;
                Ok(Output { text, ..Output::default() })
            };
            Ok(futures_util::stream::once(end).boxed())
        })
        .boxed()
    }

    fn image_build<'a>(&'a self, build: &'a NewBuild, context: ContextStream) -> Call<'a, Events<Output>> {
        self.built(build, context).boxed()
    }

    fn container_create<'a>(&'a self, new: &'a NewContainer) -> Call<'a, String> {
        let made = self.act("container create", &new.name, |w| {
            if let Some((found, ..)) = w.container(&new.name) {
                return conflict(format!("The container name {} is already in use by {}", new.name, found.id));
            }
            let Some(image) = w.image(&new.image).map(|i| i.id.clone()) else { return missing(&new.image) };
            let id = w.id("");
            w.containers.insert(id.clone(), (World::created(&id, new), new.clone(), image));
            Ok(id)
        });
        async move {
            let id = made.await?;
            self.hint(&id);
            Ok(id)
        }
        .boxed()
    }

    fn container_unpack<'a>(&'a self, id: &'a str, folder: &'a str, archive: ContextStream) -> Call<'a, ()> {
        async move {
            let whole = world::gather(archive).await?;
            let unpacked = self.act("container unpack", id, move |w| match w.containers.get(id) {
                None => missing(id),
                Some((_, new, _)) if new.private != Some(folder) && folder != "/opt" => missing(folder),
                Some(_) => {
                    w.unpacked.insert(id.to_owned(), whole);
                    Ok(())
                }
            });
            unpacked.await
        }
        .boxed()
    }

    fn container_start<'a>(&'a self, id: &'a str) -> Call<'a, ()> {
        let started = self.act("container start", id, move |w| {
            let wanted: Vec<u16> = match w.container(id) {
                Some((_, new, _)) => new.ports.iter().map(|(.., host)| *host).collect(),
                None => return missing(id),
            };
            let taken = w.containers.values().filter(|(c, ..)| c.state == ContainerState::Running && c.id != id);
            let taken = taken.flat_map(|(_, new, _)| new.ports.iter().map(|(.., host)| *host));
            let mut taken = taken.chain(w.strangers_ports.iter().copied());
            if let Some(port) = taken.find(|port| wanted.contains(port)) {
                let message = format!("Bind for 0.0.0.0:{port} failed: port is already allocated");
                return Err(DockerError::Refused { status: 500, message });
            }
            let own = w.container(id).and_then(|(c, ..)| c.labels.get(labels::CONTAINER).cloned());
            let mut others = w.containers.values().filter(|(c, ..)| c.id != id && c.state == ContainerState::Running);
            w.doubled |= others.any(|(c, ..)| c.labels.get(labels::CONTAINER) == own.as_ref());
            if let Some((container, new, _)) = w.containers.get_mut(id) {
                if new.command.first().is_some_and(|c| c == "/does-not-exist") {
                    let message = "exec: \"/does-not-exist\": no such file or directory".to_owned();
                    return Err(DockerError::Refused { status: 400, message });
                }
                if container.state != ContainerState::Running {
                    if new.command.first().is_some_and(|c| c == "/ends-at-once") {
                        container.state = ContainerState::Exited;
                        container.exit_code = Some(1);
                        return Ok(());
                    }
                    w.next_id += 1;
                    w.starts += 1;
                    container.state = ContainerState::Running;
                    container.exit_code = None;
                    container.started_at = i64::try_from(w.next_id).ok();
                }
            }
            Ok(())
        });
        async move {
            started.await?;
            self.hint(id);
            Ok(())
        }
        .boxed()
    }

    fn container_stop<'a>(&'a self, id: &'a str, _grace: Duration) -> Call<'a, ()> {
        self.act("container stop", id, move |w| match w.containers.get_mut(id) {
            None => missing(id),
            Some((container, ..)) => {
                if container.state != ContainerState::Running {
                    return Ok(());
                }
                container.state = ContainerState::Exited;
                container.exit_code = Some(0);
                Ok(())
            }
        })
        .boxed()
    }

    fn container_remove<'a>(&'a self, id: &'a str) -> Call<'a, ()> {
        async move {
            self.act("container remove", id, |w| w.containers.remove(id).map_or_else(|| missing(id), |_| Ok(())))
                .await?;
            self.hint(id);
            Ok(())
        }
        .boxed()
    }

    fn container_rename<'a>(&'a self, id: &'a str, name: &'a str) -> Call<'a, ()> {
        self.act("container rename", name, move |w| {
            if w.container(name).is_some_and(|(found, ..)| found.id != id) {
                return conflict(format!("the name {name} is in use"));
            }
            w.containers.get_mut(id).map_or_else(
                || missing(id),
                |(_, new, _)| {
                    name.clone_into(&mut new.name);
                    Ok(())
                },
            )
        })
        .boxed()
    }

    fn container_update<'a>(&'a self, id: &'a str, limits: &'a Limits) -> Call<'a, ()> {
        self.act("container update", id, move |w| w.limit(id, limits)).boxed()
    }

    fn exec_create<'a>(&'a self, container: &'a str, exec: &'a NewExec) -> Call<'a, String> {
        self.act("exec create", container, move |w| match w.container(container).map(|(c, ..)| c.state) {
            None => missing(container),
            Some(ContainerState::Running) => {
                let id = w.id("");
                w.execs.insert(id.clone(), (exec.clone(), false));
                Ok(id)
            }
            Some(_) => conflict(format!("Container {container} is not running")),
        })
        .boxed()
    }

    fn exec_start<'a>(&'a self, id: &'a str, _input: Option<Bytes>) -> Call<'a, Events<Bytes>> {
        async move {
            let held = self.act("exec start", id, move |w| w.begin_exec(id)).await?;
            let said = futures_util::stream::iter([Ok(Bytes::from_static(b"output\n"))]);
            let rest =
                if held { futures_util::stream::pending().boxed() } else { futures_util::stream::empty().boxed() };
            Ok(said.chain(rest).boxed())
        }
        .boxed()
    }

    fn exec_inspect<'a>(&'a self, id: &'a str) -> Call<'a, Exec> {
        self.act("exec inspect", id, move |w| w.exec(id)).boxed()
    }

    fn container_inspect<'a>(&'a self, id: &'a str) -> Call<'a, Container> {
        self.act("container inspect", id, move |w| w.container(id).map_or_else(|| missing(id), |(c, ..)| Ok(c.clone())))
            .boxed()
    }

    fn container_list<'a>(&'a self, labels: &'a [String]) -> Call<'a, Vec<ContainerLine>> {
        self.act("container list", "", move |w| {
            let ours = w.containers.values().filter(|(c, ..)| carries(&c.labels, labels));
            let line = |(c, new, _): &(Container, NewContainer, String)| ContainerLine {
                id: c.id.clone(),
                name: new.name.clone(),
                labels: c.labels.clone(),
                state: c.state,
                ports: new
                    .ports
                    .iter()
                    .map(|&(container, protocol, host)| ObservedPort { container, host, protocol })
                    .collect(),
                address: None,
            };
            Ok(ours.map(line).collect())
        })
        .boxed()
    }
}
