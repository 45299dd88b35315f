//! What images and volumes are brought from one Docker Engine to another with, and images to a registry and from there. Called by
//! `exports`, `volumes` and the executor.

use super::{Call, ContextStream, Events, Output};
use bytes::Bytes;
use dockerforge_protocol::enrolment::RegistryLogin;

/// The part of a Docker Engine that gives away what it has, and takes in what others have.
pub trait Transfer: Send + Sync + 'static {
    /// Docker's ids of all images that are more than a step of another.
    fn image_ids(&self) -> Call<'_, Vec<String>>;
    /// An image as an archive (tar) in Docker's own form, with its configuration and its layers as files. Dropping the stream
    /// ends it.
    fn image_save<'a>(&'a self, reference: &'a str) -> Call<'a, Events<Bytes>>;
    /// Takes images in from such an archive, in which the files of layers that the host has, on the same layers below them, may be
    /// missing. The end of the stream without an error is success.
    fn image_load(&self, archive: ContextStream) -> Call<'_, Events<Output>>;
    /// Brings an image that has this name on the host to the registry of that name. The end of the stream without an error is
    /// success; dropping it stops the work.
    fn image_push<'a>(
        &'a self,
        repository: &'a str,
        tag: &'a str,
        login: &'a RegistryLogin,
    ) -> Call<'a, Events<Output>>;
    /// Pulls from a registry what has this digest there, under `repository@digest`. The end of the stream without an error is
    /// success.
    fn image_fetch<'a>(
        &'a self,
        repository: &'a str,
        digest: &'a str,
        login: &'a RegistryLogin,
    ) -> Call<'a, Events<Output>>;
    /// A folder in a container, whether it runs or not, as an archive (tar) in which all is in one folder of that name. Dropping
    /// the stream ends it.
    fn container_pack<'a>(&'a self, id: &'a str, folder: &'a str) -> Call<'a, Events<Bytes>>;
    /// Unpacks an archive of whatever size into a folder in a container: as long as something comes it has no deadline.
    fn container_fill<'a>(&'a self, id: &'a str, folder: &'a str, archive: ContextStream) -> Call<'a, ()>;
}
