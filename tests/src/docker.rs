//! Docker as it is, seen from beside: what carries the labels of one cluster, what does not, and taking it away. This is
//! the witness: nothing here asks Dockerforge.

use crate::env;
use bollard::{
    Docker,
    models::{ContainerCreateBody, ContainerInspectResponse, ContainerSummary},
    query_parameters::{
        CreateContainerOptionsBuilder, DownloadFromContainerOptionsBuilder, KillContainerOptions,
        ListContainersOptionsBuilder, ListImagesOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
        RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder, RemoveVolumeOptionsBuilder,
        StopContainerOptionsBuilder, TagImageOptionsBuilder,
    },
};
use dockerforge_protocol::command::labels;
use futures_util::StreamExt;
use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    io::Read,
};

/// One Docker Engine.
#[derive(Clone)]
pub struct Witness {
    /// The engine's address.
    pub address: String,
    docker: Docker,
}

/// What carries a cluster's label.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ours {
    /// Docker names of containers.
    pub containers: Vec<String>,
    /// Tags of images.
    pub images: Vec<String>,
    /// Names of networks.
    pub networks: Vec<String>,
    /// Names of volumes.
    pub volumes: Vec<String>,
}

impl Ours {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn with_label(key: &str, value: &str) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![format!("{key}={value}")])])
}

impl Witness {
    /// The engine at an address: `unix:///…`.
    pub fn at(address: &str) -> Self {
        let docker = Docker::connect_with_unix(address.trim_start_matches("unix://"), 60, bollard::API_DEFAULT_VERSION);
        Self { address: address.to_owned(), docker: docker.unwrap_or_else(|error| panic!("{address}: {error}")) }
    }

    /// The engine of the test bed's first host.
    pub fn first() -> Self {
        Self::at(&env::docker())
    }

    /// The client, for what is not here.
    pub fn raw(&self) -> &Docker {
        &self.docker
    }

    /// The containers with a label, also those that do not run.
    pub async fn containers(&self, key: &str, value: &str) -> Vec<ContainerSummary> {
        let options = ListContainersOptionsBuilder::default().all(true).filters(&with_label(key, value)).build();
        self.docker.list_containers(Some(options)).await.unwrap()
    }

    /// The containers that stand for one of ours: more than one is a broken promise.
    pub async fn of_container(&self, id: &str) -> Vec<ContainerSummary> {
        self.containers(labels::CONTAINER, id).await
    }

    /// All there is to know about a container, by Docker's id or name.
    pub async fn inspect(&self, id: &str) -> Option<ContainerInspectResponse> {
        self.docker.inspect_container(id, None).await.ok()
    }

    /// The text of a file in a container, whether it runs or not.
    ///
    /// # Panics
    /// If it is not there.
    pub async fn file(&self, container: &str, path: &str) -> String {
        let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
        let pieces: Vec<_> = self.docker.download_from_container(container, Some(options)).collect().await;
        let bytes: Vec<u8> =
            pieces.into_iter().flat_map(|piece| piece.unwrap_or_else(|e| panic!("{container}:{path}: {e}"))).collect();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut text = String::new();
        let mut entry = archive.entries().unwrap().next().expect("the archive holds the file").unwrap();
        entry.read_to_string(&mut text).unwrap();
        text
    }

    /// All that is in a folder of a container, whether it runs or not: of each file all that Docker tells, and its content's sum.
    ///
    /// # Panics
    /// If it is not there.
    pub async fn tree(&self, container: &str, path: &str) -> BTreeMap<String, String> {
        let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
        let pieces: Vec<_> = self.docker.download_from_container(container, Some(options)).collect().await;
        let bytes: Vec<u8> =
            pieces.into_iter().flat_map(|piece| piece.unwrap_or_else(|e| panic!("{container}:{path}: {e}"))).collect();
        let mut tree = BTreeMap::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_string_lossy().into_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let (header, link) = (entry.header().clone(), entry.link_name().unwrap());
            let mut sum = DefaultHasher::new();
            content.hash(&mut sum);
            let told = format!(
                "{:?} {:o} {}:{} at {} {} bytes {:x} {link:?}",
                header.entry_type(),
                header.mode().unwrap(),
                header.uid().unwrap(),
                header.gid().unwrap(),
                header.mtime().unwrap(),
                content.len(),
                sum.finish(),
            );
            tree.insert(name, told);
        }
        tree
    }

    /// Whether there is a volume of this name.
    pub async fn has_volume(&self, name: &str) -> bool {
        self.docker.inspect_volume(name).await.is_ok()
    }

    /// Whether an image has this tag.
    pub async fn has_image(&self, tag: &str) -> bool {
        self.docker.inspect_image(tag).await.is_ok()
    }

    /// Gives an image one more name: `repository:tag`.
    pub async fn tag(&self, image: &str, name: &str) {
        let (repository, tag) = name.rsplit_once(':').expect("a name has a tag");
        let options = TagImageOptionsBuilder::default().repo(repository).tag(tag).build();
        self.docker.tag_image(image, Some(options)).await.unwrap();
    }

    /// Takes one name off an image. What is gone already is gone.
    pub async fn untag(&self, name: &str) {
        let options = RemoveImageOptionsBuilder::default().noprune(true).build();
        let _ = self.docker.remove_image(name, Some(options), None).await;
    }

    /// Everything that carries a cluster's label, and every image with a tag of ours whose id is in `images`.
    pub async fn of_cluster(&self, cluster: &str) -> Ours {
        let filter = with_label(labels::CLUSTER, cluster);
        let networks = ListNetworksOptionsBuilder::default().filters(&filter).build();
        let volumes = ListVolumesOptionsBuilder::default().filters(&filter).build();
        let images = ListImagesOptionsBuilder::default().filters(&filter).build();
        let mut ours = Ours {
            containers: self
                .containers(labels::CLUSTER, cluster)
                .await
                .into_iter()
                .flat_map(|c| c.names.unwrap_or_default())
                .collect(),
            images: self
                .docker
                .list_images(Some(images))
                .await
                .unwrap()
                .into_iter()
                .flat_map(|i| i.repo_tags)
                .collect(),
            networks: self
                .docker
                .list_networks(Some(networks))
                .await
                .unwrap()
                .into_iter()
                .filter_map(|n| n.name)
                .collect(),
            volumes: self
                .docker
                .list_volumes(Some(volumes))
                .await
                .unwrap()
                .volumes
                .unwrap_or_default()
                .into_iter()
                .map(|v| v.name)
                .collect(),
        };
        // An untagged image is a layer that the build cache keeps; it goes with `docker image prune`.
        ours.images.retain(|tag| tag != "<none>:<none>");
        for list in [&mut ours.containers, &mut ours.images, &mut ours.networks, &mut ours.volumes] {
            list.sort();
        }
        ours
    }

    /// Takes away all that carries a cluster's label, and the given tags.
    pub async fn purge(&self, cluster: &str, tags: &[String]) {
        let ours = self.of_cluster(cluster).await;
        for name in &ours.containers {
            self.remove(name.trim_start_matches('/')).await;
        }
        for network in &ours.networks {
            let _ = self.docker.remove_network(network).await;
        }
        for volume in &ours.volumes {
            let options = RemoveVolumeOptionsBuilder::default().force(true).build();
            let _ = self.docker.remove_volume(volume, Some(options)).await;
        }
        for tag in ours.images.iter().chain(tags) {
            let options = RemoveImageOptionsBuilder::default().force(true).build();
            let _ = self.docker.remove_image(tag, Some(options), None).await;
        }
    }

    /// Starts a container that is none of ours.
    pub async fn run_stranger(&self, name: &str, command: &[&str]) -> String {
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let body = ContainerCreateBody {
            image: Some(env::BASE_IMAGE.to_owned()),
            cmd: Some(command.iter().map(ToString::to_string).collect()),
            ..Default::default()
        };
        let id = self.docker.create_container(Some(options), body).await.unwrap().id;
        self.docker.start_container(&id, None).await.unwrap();
        id
    }

    /// Kills, as somebody on the host may.
    pub async fn kill(&self, id: &str) {
        self.docker.kill_container(id, None::<KillContainerOptions>).await.unwrap();
    }

    /// Stops, as somebody on the host may.
    pub async fn stop(&self, id: &str) {
        let options = StopContainerOptionsBuilder::default().t(1).build();
        self.docker.stop_container(id, Some(options)).await.unwrap();
    }

    /// Removes, as somebody on the host may. What is gone already is gone.
    pub async fn remove(&self, id: &str) {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let _ = self.docker.remove_container(id, Some(options)).await;
    }
}

/// Runs something to its end where nothing can be awaited: in `drop`. On a thread of its own, so that it works within a
/// runtime as well.
pub fn block_on<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let thread = std::thread::spawn(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    });
    thread.join().expect("the clean-up did not end by itself")
}
