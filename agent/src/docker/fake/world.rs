//! What is on the fake host: the objects by name and id, and what a test says of them. Used by the fake engine alone.

use super::Moment;
use crate::docker::{Container, DockerError, Image, LabelMap, Network, NewContainer, NewExec, Volume};
use std::collections::BTreeMap;

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
    /// Every call, in order, with what it was about.
    pub calls: Vec<String>,
    /// Ports that something else on the host has.
    pub strangers_ports: Vec<u16>,
    /// By Docker id: what was prepared to run, and whether it was begun. A program `exit N` ends with N; `hold` runs until
    /// the program that kills what carries its mark is begun.
    pub execs: BTreeMap<String, (NewExec, bool)>,
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
}

pub(super) fn missing<T>(what: &str) -> Result<T, DockerError> {
    Err(DockerError::NotFound { message: format!("No such object: {what}") })
}

pub(super) fn conflict<T>(message: String) -> Result<T, DockerError> {
    Err(DockerError::Conflict { message })
}

pub(super) fn carries(labels: &LabelMap, filters: &[String]) -> bool {
    filters.iter().all(|f| f.split_once('=').is_some_and(|(k, v)| labels.get(k).is_some_and(|found| found == v)))
}
