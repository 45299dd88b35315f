//! Names and labels that a user chooses.

use super::{Invalid, text_value};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// The name of a user, host, image or container: 1 to 63 characters, lower-case letters, digits, `-`, `_` and
/// `.`, beginning and ending with a letter or digit. Usable as a DNS label wherever it has no `_` or `.`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName(String);

/// The name of a named volume: as a [`ResourceName`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeName(String);

const NAME_RULE: &str =
    "expected 1 to 63 characters of a-z, 0-9, '-', '_' or '.', beginning and ending with a letter or digit";

fn is_name(text: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|&b| alnum(b) || matches!(b, b'-' | b'_' | b'.'))
        && bytes.first().copied().is_some_and(alnum)
        && bytes.last().copied().is_some_and(alnum)
}

macro_rules! name_type {
    ($name:ident) => {
        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = Invalid;
            fn from_str(text: &str) -> Result<Self, Invalid> {
                if is_name(text) { Ok(Self(text.to_owned())) } else { Err(Invalid::new(NAME_RULE)) }
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        text_value!($name);
    };
}
name_type!(ResourceName);
name_type!(VolumeName);

/// A label's key: 1 to 128 characters of `a-z 0-9 . - _ /`, beginning and ending with a letter or digit, and not
/// under `dev.dockerforge`, which is how Dockerforge marks what is its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelKey(String);

impl LabelKey {
    /// Keys with this prefix are Dockerforge's own.
    pub const RESERVED: &'static str = "dev.dockerforge";

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LabelKey {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = text.as_bytes();
        let formed = (1..=128).contains(&bytes.len())
            && bytes.iter().all(|&b| alnum(b) || matches!(b, b'-' | b'_' | b'.' | b'/'))
            && bytes.first().copied().is_some_and(alnum)
            && bytes.last().copied().is_some_and(alnum);
        if !formed {
            return Err(Invalid::new(
                "expected a label key of 1 to 128 characters of a-z, 0-9, '.', '-', '_' or '/', beginning and ending with a letter or digit",
            ));
        }
        if text.starts_with(Self::RESERVED) {
            return Err(Invalid::new("label keys under dev.dockerforge are reserved"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for LabelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
text_value!(LabelKey);

/// A label's value: at most 1024 bytes, no control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelValue(String);

impl LabelValue {
    /// The value as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LabelValue {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.len() <= 1024 && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::new("expected at most 1024 bytes without control characters"))
        }
    }
}

impl fmt::Display for LabelValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
text_value!(LabelValue);

/// One label.
pub type Label = (LabelKey, LabelValue);

/// A user's labels on a resource: at most 64.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<LabelKey, LabelValue>", into = "BTreeMap<LabelKey, LabelValue>")]
pub struct Labels(BTreeMap<LabelKey, LabelValue>);

impl Labels {
    /// The labels in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&LabelKey, &LabelValue)> {
        self.0.iter()
    }
}

impl TryFrom<BTreeMap<LabelKey, LabelValue>> for Labels {
    type Error = Invalid;
    fn try_from(map: BTreeMap<LabelKey, LabelValue>) -> Result<Self, Invalid> {
        if map.len() > 64 { Err(Invalid::new("expected at most 64 labels")) } else { Ok(Self(map)) }
    }
}

impl From<Labels> for BTreeMap<LabelKey, LabelValue> {
    fn from(labels: Labels) -> Self {
        labels.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_lower_case_and_begin_and_end_with_a_letter_or_digit() {
        for good in ["a", "blog", "my-blog.2", "0_1"] {
            assert!(good.parse::<ResourceName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a b", "a/b", "../x", "a\n", &"a".repeat(64), "ñ"] {
            assert!(bad.parse::<ResourceName>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn the_reserved_label_prefix_is_refused() {
        assert!("dev.dockerforge.user".parse::<LabelKey>().is_err());
        assert!("com.example/tier".parse::<LabelKey>().is_ok());
        assert!("UPPER".parse::<LabelKey>().is_err());
    }
}
