//! The real Docker Engine behind its unix socket, through bollard. Nothing else in the crate names bollard. What must
//! hold: every call has its own deadline, and Docker's own words reach the person who asked.

mod convert;
mod live;
mod transfer;

use super::{
    Call, Container, ContainerLine, ContextStream, DockerError, Engine, Events, Exec, Hint, Image, LabelMap, Limits,
    Network, NewBuild, NewContainer, NewExec, Output, Volume,
};
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::StartExecResults;
use bollard::models::{ExecConfig, NetworkCreateRequest, VolumeCreateRequest};
use bollard::query_parameters as query;
use bollard::{ClientVersion, Docker};
use bytes::Bytes;
use dockerforge_protocol::inventory::DockerInfo;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use std::collections::HashMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// A sign of life: longer than this is none.
const PING: Duration = Duration::from_secs(5);
/// A question that Docker answers from memory.
const QUICK: Duration = Duration::from_secs(10);
/// A change that Docker makes by itself.
const CHANGE: Duration = Duration::from_secs(60);
/// A change that may move gigabytes on a slow disk.
const SLOW: Duration = Duration::from_secs(180);
/// bollard's own deadline lies above all of ours; whole seconds, for it truncates.
const CLIENT_SECONDS: u64 = 6 * 3600;

/// The API versions to try, in this order: Engine 20.10 to 28 speak the first, Engine 25 and newer the second.
const VERSIONS: [ClientVersion; 2] =
    [ClientVersion { major_version: 1, minor_version: 41 }, ClientVersion { major_version: 1, minor_version: 44 }];

/// A Docker Engine behind a unix socket.
pub struct UnixEngine {
    socket: String,
    client: Mutex<Option<Docker>>,
}

impl UnixEngine {
    /// An engine at that socket (`unix:///var/run/docker.sock` or a path), which need not answer yet.
    #[must_use]
    pub fn new(socket: &str) -> Self {
        Self { socket: socket.trim_start_matches("unix://").to_owned(), client: Mutex::new(None) }
    }

    /// The client that speaks the daemon's version. The socket's file may come and go with the daemon, and a daemon
    /// that was upgraded may speak another version: a client that could not be made is made anew at the next call.
    async fn client(&self, call: &'static str) -> Result<Docker, DockerError> {
        if let Some(client) = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(client);
        }
        let mut refused = None;
        for version in &VERSIONS {
            let client = Docker::connect_with_unix(&self.socket, CLIENT_SECONDS, version)
                .map_err(|error| convert::error(call, error))?;
            match within(call, QUICK, client.version()).await {
                Ok(_) => {
                    *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(client.clone());
                    return Ok(client);
                }
                Err(error @ DockerError::Refused { .. }) => refused = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(refused.unwrap_or(DockerError::Timeout { call, after: QUICK }))
    }

    /// One call with its deadline. A lost connection forgets the client, so that the version is asked again.
    async fn call<T, F>(
        &self,
        call: &'static str,
        deadline: Duration,
        ask: impl FnOnce(Docker) -> F,
    ) -> Result<T, DockerError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let client = self.client(call).await?;
        let answer = within(call, deadline, ask(client)).await;
        if matches!(answer, Err(DockerError::Unavailable { .. })) {
            *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        answer
    }
}

async fn within<T>(
    call: &'static str,
    deadline: Duration,
    ask: impl Future<Output = Result<T, Error>>,
) -> Result<T, DockerError> {
    match tokio::time::timeout(deadline, ask).await {
        Ok(answer) => answer.map_err(|error| convert::error(call, error)),
        Err(_) => Err(DockerError::Timeout { call, after: deadline }),
    }
}

/// Gives a program all that it is to read. One that does not read to the end says itself why.
async fn feed(mut input: Pin<Box<dyn AsyncWrite + Send>>, given: Option<Bytes>) -> Option<Result<Bytes, DockerError>> {
    if let Some(bytes) = given {
        let _ = input.write_all(&bytes).await;
        let _ = input.shutdown().await;
    }
    None
}

fn label_filter(labels: &[String]) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), labels.to_vec())])
}

fn to_hash(labels: &LabelMap) -> HashMap<String, String> {
    labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}

impl Engine for UnixEngine {
    fn ping(&self) -> Call<'_, ()> {
        self.call("ping", PING, |d| async move { d.ping().await.map(drop) }).boxed()
    }

    fn version(&self) -> Call<'_, DockerInfo> {
        async move {
            let version = self.call("version", QUICK, |d| async move { d.version().await }).await?;
            Ok(convert::info(version))
        }
        .boxed()
    }

    fn own_paths(&self) -> Call<'_, Vec<PathBuf>> {
        async move {
            let info = self.call("info", QUICK, |d| async move { d.info().await }).await?;
            let containerd = info.containerd.and_then(|containerd| containerd.address);
            let told = [Some(self.socket.clone()), info.docker_root_dir, containerd];
            Ok(told.into_iter().flatten().filter(|path| path.starts_with('/')).map(PathBuf::from).collect())
        }
        .boxed()
    }

    fn events(&self) -> Call<'_, Events<Hint>> {
        // Image events carry no label of ours when they are about a tag, so only the kinds are filtered for them;
        // health checks would flood the stream with exec events, so the wanted actions are named.
        async move {
            let client = self.client("events").await?;
            let list = |values: &[&str]| values.iter().map(|&v| v.to_owned()).collect::<Vec<_>>();
            let filters = HashMap::from([
                ("type".to_owned(), list(&["container", "image"])),
                (
                    "event".to_owned(),
                    list(&[
                        "create",
                        "start",
                        "die",
                        "destroy",
                        "pause",
                        "unpause",
                        "restart",
                        "rename",
                        "health_status",
                        "tag",
                        "untag",
                        "delete",
                    ]),
                ),
            ]);
            let stream = client.events(Some(query::EventsOptions { filters: Some(filters), ..Default::default() }));
            let hints = stream.map_err(|e| convert::error("events", e)).try_filter_map(move |event| {
                let hint = convert::hint(event);
                async move { Ok(hint) }
            });
            Ok(hints.boxed())
        }
        .boxed()
    }

    fn network_inspect<'a>(&'a self, name: &'a str) -> Call<'a, Network> {
        async move {
            let ask = |d: Docker| async move { d.inspect_network(name, None::<query::InspectNetworkOptions>).await };
            let found = self.call("network inspect", QUICK, ask).await?;
            Ok(Network {
                id: found.id.unwrap_or_default(),
                labels: found.labels.unwrap_or_default().into_iter().collect(),
            })
        }
        .boxed()
    }

    fn network_create<'a>(&'a self, name: &'a str, labels: &'a LabelMap) -> Call<'a, ()> {
        let body = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            labels: Some(to_hash(labels)),
            ..Default::default()
        };
        self.call("network create", CHANGE, |d| async move {
            convert::check_duplicate(d, &body).create_network(body).await.map(drop)
        })
        .boxed()
    }

    fn network_remove<'a>(&'a self, name: &'a str) -> Call<'a, ()> {
        self.call("network remove", CHANGE, move |d| async move { d.remove_network(name).await }).boxed()
    }

    fn volume_inspect<'a>(&'a self, name: &'a str) -> Call<'a, Volume> {
        async move {
            let found = self.call("volume inspect", QUICK, |d| async move { d.inspect_volume(name).await }).await?;
            Ok(Volume { name: found.name, labels: found.labels.into_iter().collect() })
        }
        .boxed()
    }

    fn volume_create<'a>(&'a self, name: &'a str, labels: &'a LabelMap) -> Call<'a, ()> {
        let body = VolumeCreateRequest {
            name: Some(name.to_owned()),
            driver: Some("local".to_owned()),
            labels: Some(to_hash(labels)),
            ..Default::default()
        };
        self.call("volume create", CHANGE, |d| async move { d.create_volume(body).await.map(drop) }).boxed()
    }

    fn volume_remove<'a>(&'a self, name: &'a str) -> Call<'a, ()> {
        self.call("volume remove", SLOW, move |d| async move {
            d.remove_volume(name, None::<query::RemoveVolumeOptions>).await
        })
        .boxed()
    }

    fn volume_list<'a>(&'a self, labels: &'a [String]) -> Call<'a, Vec<Volume>> {
        async move {
            let options = query::ListVolumesOptions { filters: Some(label_filter(labels)) };
            let list = self.call("volume list", QUICK, |d| async move { d.list_volumes(Some(options)).await }).await?;
            let each = list.volumes.unwrap_or_default().into_iter();
            Ok(each.map(|v| Volume { name: v.name, labels: v.labels.into_iter().collect() }).collect())
        }
        .boxed()
    }

    fn image_inspect<'a>(&'a self, reference: &'a str) -> Call<'a, Image> {
        async move {
            let found = self.call("image inspect", QUICK, |d| async move { d.inspect_image(reference).await }).await?;
            Ok(Image {
                id: found.id.unwrap_or_default(),
                size: found.size.and_then(|s| u64::try_from(s).ok()).unwrap_or_default(),
                tags: found.repo_tags.unwrap_or_default(),
                labels: found.config.and_then(|c| c.labels).unwrap_or_default().into_iter().collect(),
                created_at: found.created.as_deref().and_then(convert::micros),
                layers: found.root_fs.and_then(|r| r.layers).unwrap_or_default(),
            })
        }
        .boxed()
    }

    fn image_tag<'a>(&'a self, reference: &'a str, tag: &'a str) -> Call<'a, ()> {
        let (repo, name) = tag.rsplit_once(':').unwrap_or((tag, "latest"));
        let options = query::TagImageOptions { repo: Some(repo.to_owned()), tag: Some(name.to_owned()) };
        self.call("image tag", CHANGE, move |d| async move { d.tag_image(reference, Some(options)).await }).boxed()
    }

    fn image_remove<'a>(&'a self, reference: &'a str) -> Call<'a, ()> {
        self.call("image remove", SLOW, move |d| async move {
            d.remove_image(reference, None::<query::RemoveImageOptions>, None).await.map(drop)
        })
        .boxed()
    }

    fn image_list<'a>(&'a self, pattern: &'a str) -> Call<'a, Vec<Image>> {
        async move {
            let filters = HashMap::from([("reference".to_owned(), vec![pattern.to_owned()])]);
            let options = query::ListImagesOptions { filters: Some(filters), ..Default::default() };
            let list = self.call("image list", QUICK, |d| async move { d.list_images(Some(options)).await }).await?;
            let image = |i: bollard::models::ImageSummary| Image {
                id: i.id,
                size: u64::try_from(i.size).unwrap_or_default(),
                tags: i.repo_tags,
                labels: i.labels.into_iter().collect(),
                layers: Vec::new(),
                created_at: None,
            };
            Ok(list.into_iter().map(image).collect())
        }
        .boxed()
    }

    fn image_pull<'a>(&'a self, name: &'a str, tag: &'a str) -> Call<'a, Events<Output>> {
        async move {
            let client = self.client("image pull").await?;
            let options = query::CreateImageOptions {
                from_image: Some(name.to_owned()),
                tag: Some(tag.to_owned()),
                ..Default::default()
            };
            let stream = client.create_image(Some(options), None, None);
            Ok(stream.map(convert::pull_output).boxed())
        }
        .boxed()
    }

    fn image_build<'a>(&'a self, build: &'a NewBuild, context: ContextStream) -> Call<'a, Events<Output>> {
        async move {
            let client = self.client("image build").await?;
            let options = query::BuildImageOptions {
                dockerfile: build.dockerfile.clone(),
                t: Some(build.tag.clone()),
                nocache: build.no_cache,
                rm: true,
                forcerm: true,
                buildargs: Some(build.args.clone().into_iter().collect()),
                labels: Some(to_hash(&build.labels)),
                networkmode: Some("default".to_owned()),
                ..convert::build_limits(&build.limits)
            };
            Ok(convert::build_stream(client, options, context))
        }
        .boxed()
    }

    fn container_create<'a>(&'a self, container: &'a NewContainer) -> Call<'a, String> {
        async move {
            let options = query::CreateContainerOptions { name: Some(container.name.clone()), ..Default::default() };
            let body = convert::container_body(container);
            let ask = |d: Docker| async move { d.create_container(Some(options), body).await };
            Ok(self.call("container create", CHANGE, ask).await?.id)
        }
        .boxed()
    }

    fn container_unpack<'a>(&'a self, id: &'a str, folder: &'a str, archive: ContextStream) -> Call<'a, ()> {
        let options = query::UploadToContainerOptions { path: folder.to_owned(), ..Default::default() };
        self.call("container unpack", SLOW, move |d| async move {
            d.upload_to_container(id, Some(options), bollard::body_try_stream(archive)).await
        })
        .boxed()
    }

    fn container_start<'a>(&'a self, id: &'a str) -> Call<'a, ()> {
        self.call("container start", CHANGE, move |d| async move {
            d.start_container(id, None::<query::StartContainerOptions>).await
        })
        .boxed()
    }

    fn container_stop<'a>(&'a self, id: &'a str, grace: Duration) -> Call<'a, ()> {
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = query::StopContainerOptions { t: Some(seconds), ..Default::default() };
        self.call("container stop", grace + CHANGE, move |d| async move { d.stop_container(id, Some(options)).await })
            .boxed()
    }

    fn container_remove<'a>(&'a self, id: &'a str) -> Call<'a, ()> {
        let options = query::RemoveContainerOptions { v: true, force: true, ..Default::default() };
        self.call("container remove", SLOW, move |d| async move { d.remove_container(id, Some(options)).await }).boxed()
    }

    fn container_rename<'a>(&'a self, id: &'a str, name: &'a str) -> Call<'a, ()> {
        let options = query::RenameContainerOptions { name: name.to_owned() };
        self.call("container rename", CHANGE, move |d| async move { d.rename_container(id, options).await }).boxed()
    }

    fn container_update<'a>(&'a self, id: &'a str, limits: &'a Limits) -> Call<'a, ()> {
        let body = convert::update_body(limits);
        self.call("container update", CHANGE, move |d| async move { d.update_container(id, body).await }).boxed()
    }

    fn exec_create<'a>(&'a self, container: &'a str, exec: &'a NewExec) -> Call<'a, String> {
        let config = ExecConfig {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            attach_stdin: Some(exec.reads),
            cmd: Some(exec.command.clone()),
            env: Some(exec.env.clone()),
            user: exec.user.clone(),
            working_dir: exec.workdir.clone(),
            ..Default::default()
        };
        self.call("exec create", CHANGE, move |d| async move { Ok(d.create_exec(container, config).await?.id) }).boxed()
    }

    fn exec_start<'a>(&'a self, id: &'a str, given: Option<Bytes>) -> Call<'a, Events<Bytes>> {
        async move {
            let ask = |d: Docker| async move { d.start_exec(id, None).await };
            match self.call("exec start", CHANGE, ask).await? {
                StartExecResults::Attached { output, input } => {
                    let written = output
                        .map(|item| item.map(LogOutput::into_bytes).map_err(|e| convert::error("exec output", e)));
                    // Beside the output: a program that writes before it reads would wait for ever otherwise.
                    let reading = futures_util::stream::once(feed(input, given)).filter_map(std::future::ready);
                    Ok(futures_util::stream::select(written, reading).boxed())
                }
                StartExecResults::Detached => Ok(futures_util::stream::empty().boxed()),
            }
        }
        .boxed()
    }

    fn exec_inspect<'a>(&'a self, id: &'a str) -> Call<'a, Exec> {
        async move {
            let found = self.call("exec inspect", QUICK, |d| async move { d.inspect_exec(id).await }).await?;
            let running = found.running.unwrap_or_default();
            Ok(Exec { running, exit_code: found.exit_code.filter(|_| !running) })
        }
        .boxed()
    }

    fn container_inspect<'a>(&'a self, id: &'a str) -> Call<'a, Container> {
        async move {
            let ask = |d: Docker| async move { d.inspect_container(id, None::<query::InspectContainerOptions>).await };
            Ok(convert::container(self.call("container inspect", QUICK, ask).await?))
        }
        .boxed()
    }

    fn container_list<'a>(&'a self, labels: &'a [String]) -> Call<'a, Vec<ContainerLine>> {
        async move {
            let options =
                query::ListContainersOptions { all: true, filters: Some(label_filter(labels)), ..Default::default() };
            let list =
                self.call("container list", QUICK, |d| async move { d.list_containers(Some(options)).await }).await?;
            Ok(list.into_iter().map(convert::line).collect())
        }
        .boxed()
    }
}
