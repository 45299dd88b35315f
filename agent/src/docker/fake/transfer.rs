//! [`Transfer`] on the fake host: archives as the real one writes them, of the parts that a test put into its world.

use super::world::{gather, missing};
use super::{FakeEngine, World};
use crate::digest::digest_of;
use crate::docker::transfer::Transfer;
use crate::docker::{Call, ContextStream, DockerError, Engine, Events, Image, LabelMap, Output};
use bytes::Bytes;
use dockerforge_protocol::enrolment::RegistryLogin;
use futures_util::{FutureExt, StreamExt};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Read;

/// The digest of a part of an image.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    digest_of(Sha256::new().chain_update(bytes))
}

impl FakeEngine {
    /// Puts an image of these layers on the host; Docker's id of it.
    pub fn add_layered(&self, tag: &str, layers: &[&[u8]]) -> String {
        let digests: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
        let config = serde_json::json!({ "rootfs": { "type": "layers", "diff_ids": digests } }).to_string();
        let id = digest(config.as_bytes());
        let mut world = self.world();
        world.blobs.insert(id.clone(), config.into_bytes());
        world.blobs.extend(digests.iter().cloned().zip(layers.iter().map(|layer| layer.to_vec())));
        let size = layers.iter().map(|layer| layer.len() as u64).sum();
        let image = Image {
            id: id.clone(),
            size,
            tags: vec![tag.to_owned()],
            labels: LabelMap::new(),
            layers: digests,
            created_at: None,
        };
        world.images.insert(id.clone(), image);
        id
    }
}

fn hex(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}

impl World {
    fn saved(&self, image: &Image) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut put = |name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            let _ = tar.append_data(&mut header, name, bytes);
        };
        let blob = |digest: &String| self.blobs.get(digest).cloned().unwrap_or_default();
        for layer in &image.layers {
            put(&format!("{}/layer.tar", hex(layer)), &blob(layer));
        }
        put(&format!("{}.json", hex(&image.id)), &blob(&image.id));
        tar.into_inner().unwrap_or_default()
    }

    fn loaded(&mut self, archive: &[u8]) -> Result<(), DockerError> {
        let refused = |message: String| DockerError::Refused { status: 0, message };
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().map_err(|e| refused(e.to_string()))? {
            let mut entry = entry.map_err(|e| refused(e.to_string()))?;
            let name = entry.path().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(|e| refused(e.to_string()))?;
            files.insert(name, bytes);
        }
        let json = |name: &str| -> Result<serde_json::Value, DockerError> {
            let bytes = files.get(name).ok_or_else(|| refused(format!("no such file: {name}")))?;
            serde_json::from_slice(bytes).map_err(|e| refused(e.to_string()))
        };
        let texts = |value: &serde_json::Value| -> Vec<String> {
            value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
        };
        let manifest = json("manifest.json")?;
        let name = manifest[0]["Config"].as_str().unwrap_or_default();
        let config = files.get(name).cloned().ok_or_else(|| refused(format!("no such file: {name}")))?;
        let layers = texts(&json(name)?["rootfs"]["diff_ids"]);
        for (layer, file) in layers.iter().zip(texts(&manifest[0]["Layers"])) {
            match files.get(&file) {
                Some(bytes) if digest(bytes) != *layer => return Err(refused(format!("invalid diffID for {file}"))),
                Some(bytes) => drop(self.blobs.insert(layer.clone(), bytes.clone())),
                None if self.blobs.contains_key(layer) => {}
                None => return Err(refused(format!("{file}: no such file or directory"))),
            }
        }
        let id = digest(&config);
        self.blobs.insert(id.clone(), config);
        let size = layers.iter().filter_map(|layer| self.blobs.get(layer)).map(|blob| blob.len() as u64).sum();
        let image = Image { id: id.clone(), size, tags: Vec::new(), labels: LabelMap::new(), layers, created_at: None };
        self.images.entry(id.clone()).or_insert(image);
        for tag in texts(&manifest[0]["RepoTags"]) {
            self.tag(&id, &tag);
        }
        Ok(())
    }
}

impl Transfer for FakeEngine {
    fn image_ids(&self) -> Call<'_, Vec<String>> {
        self.act("image ids", "", |w| Ok(w.images.keys().cloned().collect())).boxed()
    }

    fn image_save<'a>(&'a self, reference: &'a str) -> Call<'a, Events<Bytes>> {
        self.act("image save", reference, move |w| {
            let Some(image) = w.image(reference) else { return missing(reference) };
            let pieces: Vec<_> = w.saved(image).chunks(1000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            Ok(Box::pin(futures_util::stream::iter(pieces)) as Events<Bytes>)
        })
        .boxed()
    }

    fn image_load(&self, archive: ContextStream) -> Call<'_, Events<Output>> {
        async move {
            // As Docker, which answers at once and reads on.
            let engine = self.clone();
            let load = async move {
                let archive = gather(archive).await?;
                engine.act("image load read", "", |_| Ok(())).await?;
                let mut held = engine.held.subscribe();
                let _ = held.wait_for(|held| !held).await;
                engine.act("image load", "", |w| w.loaded(&archive)).await?;
                Ok(Output::default())
            };
            Ok(futures_util::stream::once(load).boxed())
        }
        .boxed()
    }

    fn image_push<'a>(
        &'a self,
        repository: &'a str,
        tag: &'a str,
        login: &'a RegistryLogin,
    ) -> Call<'a, Events<Output>> {
        self.act("image push", repository, move |w| {
            let name = format!("{repository}:{tag}");
            w.logins.push(format!("push {}", by(login)));
            let Some(id) = w.image(&name).map(|image| image.id.clone()) else { return missing(&name) };
            let digest = digest(id.as_bytes());
            let end = if let Some(message) = w.registry_says.clone() {
                Err(DockerError::Refused { status: 0, message })
            } else {
                w.registry.insert(format!("{repository}@{digest}"), id);
                Ok(Output { text: format!("{tag}: digest: {digest} size: 1"), ..Output::default() })
            };
            Ok(self.held_back(end))
        })
        .boxed()
    }

    fn image_fetch<'a>(
        &'a self,
        repository: &'a str,
        digest: &'a str,
        login: &'a RegistryLogin,
    ) -> Call<'a, Events<Output>> {
        async move {
            {
                let mut world = self.world();
                world.logins.push(format!("pull {}", by(login)));
                if let Some(message) = world.registry_says.clone() {
                    return Err(DockerError::Refused { status: 500, message });
                }
            }
            self.image_pull(repository, digest).await
        }
        .boxed()
    }

    fn container_pack<'a>(&'a self, id: &'a str, folder: &'a str) -> Call<'a, Events<Bytes>> {
        self.act("container pack", id, move |w| {
            let whole = w.volume_at(id, folder).and_then(|name| w.contents.get(&name).cloned()).unwrap_or_default();
            let pieces: Vec<_> = whole.chunks(1000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            Ok(Box::pin(futures_util::stream::iter(pieces)) as Events<Bytes>)
        })
        .boxed()
    }

    fn container_fill<'a>(&'a self, id: &'a str, folder: &'a str, archive: ContextStream) -> Call<'a, ()> {
        async move {
            let whole = gather(archive).await?;
            self.act("container fill", id, move |w| match w.volume_at(id, &format!("{folder}/volume")) {
                None => missing(folder),
                Some(name) => {
                    w.contents.insert(name, whole);
                    Ok(())
                }
            })
            .await
        }
        .boxed()
    }
}

impl FakeEngine {
    /// The one item of a stream, once builds and pulls are not held.
    fn held_back(&self, end: Result<Output, DockerError>) -> Events<Output> {
        let mut held = self.held.subscribe();
        futures_util::stream::once(async move {
            let _ = held.wait_for(|held| !held).await;
            end
        })
        .boxed()
    }
}

fn by(login: &RegistryLogin) -> String {
    match login {
        RegistryLogin::Nothing => "nothing".to_owned(),
        RegistryLogin::Password { name, .. } => format!("name {name}"),
        RegistryLogin::Token { token } => format!("token {token}"),
    }
}
