//! [`Transfer`] on a real Docker Engine.

use super::{QUICK, UnixEngine, convert};
use crate::docker::transfer::Transfer;
use crate::docker::{Call, ContextStream, Events, Output};
use bollard::query_parameters as query;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};

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
}
