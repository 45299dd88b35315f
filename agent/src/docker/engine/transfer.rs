//! [`Transfer`] on a real Docker Engine.

use super::{CLIENT_SECONDS, QUICK, UnixEngine, convert};
use crate::docker::transfer::Transfer;
use crate::docker::{Call, ContextStream, DockerError, Events, Output};
use base64::{Engine, engine::general_purpose::URL_SAFE};
use bollard::Docker;
use bollard::errors::Error;
use bollard::models::PushImageInfo;
use bollard::query_parameters as query;
use bytes::Bytes;
use dockerforge_protocol::enrolment::RegistryLogin;
use futures_util::{FutureExt, StreamExt};
use hyper::header::HeaderValue;
use std::time::Duration;

/// What is bounded by its job alone, and by what it reads.
const ENDLESS: Duration = Duration::from_secs(CLIENT_SECONDS);

/// By which Docker is told how to make itself known to a registry.
const REGISTRY_AUTH: &str = "x-registry-auth";

/// A client whose next call makes Docker known to a registry. bollard writes this header in the alphabet of base64 that Docker
/// does not read (RFC 4648 section 4, not 5), so that some passwords would be lost on their way.
fn signed_in(client: Docker, call: &'static str, login: &RegistryLogin) -> Result<Docker, DockerError> {
    let auth = match login {
        RegistryLogin::Nothing => serde_json::json!({}),
        RegistryLogin::Password { name, password } => serde_json::json!({ "username": name, "password": password }),
        RegistryLogin::Token { token } => serde_json::json!({ "registrytoken": token }),
    };
    let mut value = HeaderValue::from_str(&URL_SAFE.encode(auth.to_string()))
        .map_err(|error| DockerError::Protocol { call, source: Box::new(error) })?;
    value.set_sensitive(true);
    Ok(client.with_request_modifier(move |mut request| {
        request.headers_mut().insert(REGISTRY_AUTH, value.clone());
        request
    }))
}

/// One message of a push.
fn push_output(item: Result<PushImageInfo, Error>) -> Result<Output, DockerError> {
    let info = item.map_err(|e| convert::error("image push", e))?;
    match info.error_detail {
        Some(detail) => Err(convert::server_error(0, detail.message.unwrap_or_default())),
        None => Ok(Output { text: info.status.unwrap_or_default(), ..Output::default() }),
    }
}

impl Transfer for UnixEngine {
    fn image_ids(&self) -> Call<'_, Vec<String>> {
        async move {
            let ask = |d: bollard::Docker| async move { d.list_images(None::<query::ListImagesOptions>).await };
            Ok(self.call("image list", QUICK, ask).await?.into_iter().map(|image| image.id).collect())
        }
        .boxed()
    }

    fn image_save<'a>(&'a self, reference: &'a str) -> Call<'a, Events<Bytes>> {
        async move {
            let (client, reference) = (self.client("image save").await?, reference.to_owned());
            Ok(convert::owned(|sender| async move {
                let mut stream = std::pin::pin!(client.export_image(&reference));
                while let Some(item) = stream.next().await {
                    if sender.send(item.map_err(|e| convert::error("image save", e))).await.is_err() {
                        break;
                    }
                }
            }))
        }
        .boxed()
    }

    fn image_load(&self, archive: ContextStream) -> Call<'_, Events<Output>> {
        async move {
            let client = self.client("image load").await?;
            Ok(convert::owned(|sender| async move {
                let options = query::ImportImageOptions { quiet: true, ..Default::default() };
                let body = bollard::body_try_stream(archive);
                let mut stream = std::pin::pin!(client.import_image(options, body, None));
                while let Some(item) = stream.next().await {
                    if sender.send(convert::load_output(item)).await.is_err() {
                        break;
                    }
                }
            }))
        }
        .boxed()
    }

    fn image_push<'a>(
        &'a self,
        repository: &'a str,
        tag: &'a str,
        login: &'a RegistryLogin,
    ) -> Call<'a, Events<Output>> {
        async move {
            let client = signed_in(self.client("image push").await?, "image push", login)?;
            let (repository, tag) = (repository.to_owned(), tag.to_owned());
            Ok(convert::owned(|sender| async move {
                let options = query::PushImageOptions { tag: Some(tag), ..Default::default() };
                let mut stream = std::pin::pin!(client.push_image(&repository, Some(options), None));
                while let Some(item) = stream.next().await {
                    if sender.send(push_output(item)).await.is_err() {
                        break;
                    }
                }
            }))
        }
        .boxed()
    }

    fn image_fetch<'a>(
        &'a self,
        repository: &'a str,
        digest: &'a str,
        login: &'a RegistryLogin,
    ) -> Call<'a, Events<Output>> {
        async move {
            let client = signed_in(self.client("image pull").await?, "image pull", login)?;
            let options = query::CreateImageOptions {
                from_image: Some(repository.to_owned()),
                tag: Some(digest.to_owned()),
                ..Default::default()
            };
            Ok(client.create_image(Some(options), None, None).map(convert::pull_output).boxed())
        }
        .boxed()
    }

    fn container_pack<'a>(&'a self, id: &'a str, folder: &'a str) -> Call<'a, Events<Bytes>> {
        async move {
            let client = self.client("container pack").await?;
            let options = query::DownloadFromContainerOptions { path: folder.to_owned() };
            let archive = client.download_from_container(id, Some(options));
            Ok(archive.map(|item| item.map_err(|e| convert::error("container pack", e))).boxed())
        }
        .boxed()
    }

    fn container_fill<'a>(&'a self, id: &'a str, folder: &'a str, archive: ContextStream) -> Call<'a, ()> {
        let options = query::UploadToContainerOptions { path: folder.to_owned(), ..Default::default() };
        self.call("container fill", ENDLESS, move |d| async move {
            d.upload_to_container(id, Some(options), bollard::body_try_stream(archive)).await
        })
        .boxed()
    }
}
