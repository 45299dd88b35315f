//! What an image is brought from one Docker Engine to another with. Called by `exports` and by the executor.

use super::{Call, ContextStream, Events, Output};
use bytes::Bytes;

/// The part of a Docker Engine that gives images away and takes them in.
pub trait Transfer: Send + Sync + 'static {
    /// Docker's ids of all images that are more than a step of another.
    fn image_ids(&self) -> Call<'_, Vec<String>>;
    /// An image as an archive (tar) in Docker's own form, with its configuration and its layers as files. Dropping the stream
    /// ends it.
    fn image_save<'a>(&'a self, reference: &'a str) -> Call<'a, Events<Bytes>>;
    /// Takes images in from such an archive, in which the files of layers that the host has, on the same layers below them, may be
    /// missing. The end of the stream without an error is success.
    fn image_load(&self, archive: ContextStream) -> Call<'_, Events<Output>>;
}
