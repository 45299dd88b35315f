//! [`Transfer`] on a real Docker Engine.

use super::{CLIENT_SECONDS, QUICK, UnixEngine, convert};
use crate::docker::transfer::Transfer;
use crate::docker::{Call, ContextStream, Events, Output};
use bollard::query_parameters as query;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use std::time::Duration;

/// What is bounded by its job alone, and by what it reads.
const ENDLESS: Duration = Duration::from_secs(CLIENT_SECONDS);

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
