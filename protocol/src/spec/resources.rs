//! Limits on what a container may use.

use super::Invalid;
use serde::{Deserialize, Serialize};

macro_rules! bounded {
    ($(#[$doc:meta])* $name:ident($inner:ty) in $min:expr => $max:expr, $expected:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "u64", into = "u64")]
        pub struct $name($inner);

        impl $name {
            /// The value in the unit the type's page names.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }
        }
        impl TryFrom<u64> for $name {
            type Error = Invalid;
            fn try_from(value: u64) -> Result<Self, Invalid> {
                if ($min..=$max).contains(&value) {
                    <$inner>::try_from(value).map(Self).map_err(|_| Invalid::new($expected))
                } else {
                    Err(Invalid::new($expected))
                }
            }
        }
        impl From<$name> for u64 {
            fn from(value: $name) -> u64 {
                u64::from(value.0)
            }
        }
    };
}

bounded! {
    /// Thousandths of one processor.
    MilliCpus(u32) in 10 => 1_024_000, "expected 0.01 to 1024 processors"
}
bounded! {
    /// Bytes of memory. Docker Engine API 1.41 refuses less than 6 MiB.
    Bytes(u64) in 6 * 1024 * 1024 => 1 << 44, "expected 6 MiB to 16 TiB, in bytes"
}
bounded! {
    /// The number of processes and threads.
    PidsLimit(u32) in 1 => 4_194_304, "expected 1 to 4194304 processes"
}

/// Limits of a container; what is absent is not limited by us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Processor time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<MilliCpus>,
    /// Memory; swap is not given on top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<PidsLimit>,
}

impl Resources {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
