//! What is on the fake host: the objects by name and id, and what a test says of them. Used by the fake engine alone.

use super::{FakeTerminal, Moment};
use crate::docker::{
    Container, ContextStream, DockerError, Exec, Image, LabelMap, Limits, Network, NewContainer, NewExec, Volume,
};
use dockerforge_protocol::inventory::ContainerState;
use futures_util::StreamExt;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// An archive that came as a stream.
pub(super) async fn gather(mut archive: ContextStream) -> Result<Vec<u8>, DockerError> {
    let mut whole = Vec::new();
    while let Some(piece) = archive.next().await {
        let piece = piece.map_err(|error| DockerError::Conflict { message: error.to_string() })?;
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}

/// What is on the fake host.
#[derive(Debug, Default, Clone)]
pub struct World {
    /// By name.
    pub networks: BTreeMap<String, Network>,
    /// By name.
    pub volumes: BTreeMap<String, Volume>,
    /// Image id and what it is, by id.
    pub images: BTreeMap<String, Image>,
    /// By Docker id: the container, its name, its image's id.
    pub containers: BTreeMap<String, (Container, NewContainer, String)>,
    /// What registries have: reference → image id.
    pub registry: BTreeMap<String, String>,
    /// What registries answer instead of giving or taking anything, in Docker's words.
    pub registry_says: Option<String>,
    /// How Docker made itself known to registries: `push` or `pull`, and by what.
    pub logins: Vec<String>,
    /// The parts of images by their digests: configurations, and layers as Docker would save them.
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// Every call, in order, with what it was about.
    pub calls: Vec<String>,
    /// Ports that something else on the host has.
    pub strangers_ports: Vec<u16>,
    /// By Docker id: what was prepared to run, and whether it was begun. A program `exit N` ends with N; `hold` runs until
    /// the program that kills what carries its mark is begun.
    pub execs: BTreeMap<String, (NewExec, bool)>,
    /// By Docker id of the container: the archive that was unpacked in it last.
    pub unpacked: BTreeMap<String, Vec<u8>>,
    /// What is in volumes, by their names.
    pub contents: BTreeMap<String, Vec<u8>>,
    /// Terminals that were opened in containers, by their ids.
    pub terminals: BTreeMap<String, FakeTerminal>,
    /// What [`FakeEngine::add_line`](super::FakeEngine::add_line) wrote, by Docker id of the container.
    pub(super) logs: BTreeMap<String, Vec<dockerforge_protocol::stream::Line>>,
    /// Readings of counters that are answered, whichever container is asked about.
    pub counters: Vec<crate::docker::live::Counters>,
    /// How many builds from now on lose a layer of their cache to a removal.
    pub cache_losses: usize,
    /// What of the host is Docker's own.
    pub own_paths: Vec<PathBuf>,
    /// Whether two containers that stand for one of ours ever ran at once.
    pub doubled: bool,
    /// How often a container that did not run was started.
    pub starts: usize,
    pub(super) fail: Option<(usize, Moment)>,
    pub(super) fails_for_good: bool,
    pub(super) down: bool,
    pub(super) next_id: u64,
}

impl World {
    /// Gives a container other limits.
    pub(super) fn limit(&mut self, id: &str, limits: &Limits) -> Result<(), DockerError> {
        let Some((_, new, _)) = self.containers.get_mut(id) else { return missing(id) };
        new.memory = limits.memory.or(new.memory);
        new.nano_cpus = limits.nano_cpus.or(new.nano_cpus);
        new.pids = limits.pids.or(new.pids);
        new.restart = limits.restart;
        Ok(())
    }

    /// A container as it is before its first start.
    pub(super) fn created(id: &str, new: &NewContainer) -> Container {
        Container {
            id: id.to_owned(),
            labels: new.labels.clone(),
            state: ContainerState::Created,
            health: None,
            exit_code: None,
            stop_timeout: None,
            started_at: None,
            volumes: new.volumes.iter().map(|(name, ..)| name.clone()).collect(),
            binds: new.host.binds.iter().map(|bind| PathBuf::from(bind.source.to_string())).collect(),
        }
    }

    /// The volume that a container has at a path.
    pub(super) fn volume_at(&self, container: &str, path: &str) -> Option<String> {
        let (_, new, _) = self.container(container)?;
        new.volumes.iter().find(|(_, target, _)| target == path).map(|(name, ..)| name.clone())
    }

    pub(super) fn id(&mut self, prefix: &str) -> String {
        self.next_id += 1;
        format!("{prefix}{:064x}", self.next_id)
    }

    pub(super) fn image(&self, reference: &str) -> Option<&Image> {
        self.images.get(reference).or_else(|| self.images.values().find(|i| i.tags.iter().any(|t| t == reference)))
    }

    pub(super) fn tag(&mut self, id: &str, tag: &str) {
        for image in self.images.values_mut() {
            image.tags.retain(|t| t != tag);
        }
        if let Some(image) = self.images.get_mut(id) {
            image.tags.push(tag.to_owned());
        }
    }

    pub(super) fn container(&self, id: &str) -> Option<&(Container, NewContainer, String)> {
        self.containers.get(id).or_else(|| self.containers.values().find(|(_, new, _)| new.name == id))
    }

    /// Begins a program; whether it is one that runs until it is killed.
    pub(super) fn begin_exec(&mut self, id: &str) -> Result<bool, DockerError> {
        let Some((exec, begun)) = self.execs.get_mut(id) else { return missing(id) };
        *begun = true;
        let held = exec.command.first().is_some_and(|word| word == "hold");
        if exec.command.iter().any(|word| word.contains("kill")) {
            for (exec, _) in self.execs.values_mut().filter(|(exec, _)| exec.command[0] == "hold") {
                exec.command = vec!["exit".to_owned(), "137".to_owned()];
            }
        }
        Ok(held)
    }

    /// How a program stands.
    pub(super) fn exec(&self, id: &str) -> Result<Exec, DockerError> {
        let Some((exec, _)) = self.execs.get(id) else { return missing(id) };
        match exec.command.as_slice() {
            [word] if word == "hold" => Ok(Exec { running: true, exit_code: None }),
            [word, code] if word == "exit" => Ok(Exec { running: false, exit_code: code.parse().ok() }),
            _ => Ok(Exec { running: false, exit_code: Some(0) }),
        }
    }
}

pub(super) fn missing<T>(what: &str) -> Result<T, DockerError> {
    Err(DockerError::NotFound { message: format!("No such object: {what}") })
}

pub(super) fn conflict<T>(message: String) -> Result<T, DockerError> {
    Err(DockerError::Conflict { message })
}

pub(super) fn carries(labels: &LabelMap, filters: &[String]) -> bool {
    filters.iter().all(|filter| match filter.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
        None => labels.contains_key(filter),
    })
}
