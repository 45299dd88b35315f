//! The setting of how many requests a user may make: a number, or `off`. 0 is not a way to say off: it would let nobody in.

use crate::domain::rate::Rate;
use serde::{Deserialize, Serialize, Serializer};
use std::num::NonZeroU32;
use std::str::FromStr;

/// Requests a second.
const PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(49);
/// Requests at once.
const BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(199);

/// Requests a second, or any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub enum RateSetting {
    /// Nothing is counted.
    Off,
    /// So many.
    PerSecond(NonZeroU32),
}

/// As it stands in the file.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u32),
    Word(String),
}

impl TryFrom<Written> for RateSetting {
    type Error = String;
    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Number(number) => number.to_string().parse(),
            Written::Word(word) => word.parse(),
        }
    }
}

impl FromStr for RateSetting {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let wrong = |_| format!("expected 1 to {} requests a second, or off, not {text}", u32::MAX);
        text.parse().map(Self::PerSecond).map_err(wrong)
    }
}

impl Serialize for RateSetting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str("off"),
            Self::PerSecond(number) => serializer.serialize_u32(number.get()),
        }
    }
}

impl Default for RateSetting {
    fn default() -> Self {
        Self::PerSecond(PER_SECOND)
    }
}

impl RateSetting {
    /// With how many at once.
    pub(super) fn with(self, burst: Option<NonZeroU32>) -> Option<Rate> {
        match self {
            Self::Off => None,
            Self::PerSecond(per_second) => Some(Rate { per_second, burst: burst.unwrap_or(BURST) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, ServeArgs};
    use super::*;

    #[test]
    fn a_rate_is_a_number_or_off_and_0_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("coordinator.toml");
        let load = |text: &str| {
            std::fs::write(&file, text).unwrap();
            Config::load(&ServeArgs { config: Some(file.clone()), ..ServeArgs::default() }).map(|config| config.rate)
        };
        let rate = |per_second, burst| Rate {
            per_second: NonZeroU32::new(per_second).unwrap(),
            burst: NonZeroU32::new(burst).unwrap(),
        };
        assert_eq!(load("").unwrap(), Some(rate(50, 200)));
        assert_eq!(load("rate-limit = 7\nrate-burst = 9").unwrap(), Some(rate(7, 9)));
        assert_eq!(load("rate-limit = \"off\"").unwrap(), None);
        for bad in ["rate-limit = 0", "rate-limit = -1", "rate-limit = \"on\"", "rate-burst = 0", "rate-limit = 1.5"] {
            assert!(load(bad).is_err(), "{bad} was accepted");
        }
        let flag = ServeArgs { rate_limit: Some(RateSetting::Off), ..ServeArgs::default() };
        assert_eq!(Config::load(&flag).unwrap().rate, None);
    }
}
