//! Builds on the fake host: the context is read, the lines of the log come, and the image is there with the last of them.

use super::FakeEngine;
use crate::docker::{ContextStream, DockerError, Events, Image, NewBuild, Output};
use futures_util::StreamExt;
use std::sync::PoisonError;

impl FakeEngine {
    pub(super) async fn built(
        &self,
        build: &NewBuild,
        mut context: ContextStream,
    ) -> Result<Events<Output>, DockerError> {
        while let Some(piece) = context.next().await {
            piece.map_err(|e| DockerError::Unavailable { call: "image build", source: e.into() })?;
        }
        self.act("image build", &build.tag, |_| Ok(())).await?;
        let lines = self.log.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let output = |text: String| Ok(Output { text, ..Output::default() });
        let (engine, build) = (self.clone(), build.clone());
        let end = async move {
            let mut held = engine.held.subscribe();
            let _ = held.wait_for(|held| !held).await;
            let mut world = engine.world();
            if let Some(left) = world.cache_losses.checked_sub(1) {
                world.cache_losses = left;
                return Err(DockerError::CacheGone { message: "failed to get digest sha256:0".to_owned() });
            }
            let id = world.id("sha256:");
            let image =
                Image { id: id.clone(), size: 2000, tags: Vec::new(), labels: build.labels, layers: Vec::new() };
            world.images.insert(id.clone(), image);
            world.tag(&id, &build.tag);
            drop(world);
            engine.hint(&id);
            output(format!("Successfully tagged {}\n", build.tag))
        };
        let steps = std::iter::once("Step 1/1 : FROM scratch\n".to_owned()).chain(lines).map(output);
        Ok(futures_util::stream::iter(steps).chain(futures_util::stream::once(end)).boxed())
    }
}
