//! Parsed value types of containers and images. Each is made only through `TryFrom`/`FromStr`, also when it is
//! deserialised, so a value of one of these types is valid wherever it stands: in the API's bodies, in the
//! database, on the wire and in the agent. Docker's create body is case-insensitive and its last key wins, so a
//! user's JSON is never forwarded: it becomes one of these, and the agent writes Docker's JSON from it.

mod container;
mod document;
mod host;
mod image;
mod name;
mod process;
mod resources;
mod secret;

pub use container::{
    AbsolutePath, CONTAINER_MOVES, ContainerSpec, EnvName, HostPort, PortMapping, PortProtocol, RestartPolicy,
    VolumeMount, argument_problems, env_problems,
};
pub use document::Document;
pub use host::{
    Bind, Capability, Device, DevicePath, DeviceRights, HOST_ACCESS_FEATURE, HostAccess, HostNamespace, NEVER_MOUNTED,
    RuntimeName, SecurityOption, SysctlName, overlap,
};
pub use image::{IMAGE_COPIES, ImageRef, InvalidImageRef, is_digest};
pub use name::{Label, LabelKey, LabelValue, Labels, ResourceName, VolumeName};
pub use process::{Check, DnsLabel, HealthTest, Healthcheck, Link, RunAs, Seconds, StopSignal, TmpfsMount};
pub use resources::{Bytes, MilliCpus, PidsLimit, Resources};
pub use secret::{MAX_SECRET, SECRETS_FOLDER, Secret, SecretForm};

/// Why a value is refused: what was expected, in words for the person who sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

impl Invalid {
    pub(crate) fn new(expected: impl Into<String>) -> Self {
        Self(expected.into())
    }
}

/// Serialises through `Display` and deserialises through `FromStr`: the text form is the only form.
macro_rules! text_value {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use text_value;
