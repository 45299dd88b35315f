//! A JSON object of a person's making: attributes, parameters, a schema. Bounded in size and depth, so that whatever
//! walks through it ends; with the two ways in which such objects are put together.

use super::Invalid;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// The most bytes that its text may have.
const MAX_BYTES: usize = 256 * 1024;
/// The deepest nesting of objects and lists in it.
const MAX_DEPTH: usize = 32;

/// A JSON object. Its keys are in alphabetical order, so that equal objects have equal texts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Document(Map<String, Value>);

impl Document {
    /// Its members.
    #[must_use]
    pub const fn members(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The same as a value.
    #[must_use]
    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// This with another one laid over it: objects are merged member by member, all else is replaced.
    ///
    /// # Errors
    /// [`Invalid`] where the result would be too large.
    pub fn merged(&self, over: &Self) -> Result<Self, Invalid> {
        let mut whole = self.0.clone();
        merge(&mut whole, &over.0, 0);
        Self::try_from(Value::Object(whole))
    }

    /// This with a merge patch (RFC 7396) applied: like [`Self::merged`], and `null` removes a member.
    ///
    /// # Errors
    /// [`Invalid`] where the result would be too large.
    pub fn patched(&self, patch: &Self) -> Result<Self, Invalid> {
        let mut whole = self.0.clone();
        apply(&mut whole, &patch.0, 0);
        Self::try_from(Value::Object(whole))
    }
}

fn merge(whole: &mut Map<String, Value>, over: &Map<String, Value>, depth: usize) {
    for (key, value) in over {
        match (whole.get_mut(key), value) {
            (Some(Value::Object(below)), Value::Object(above)) if depth < MAX_DEPTH => merge(below, above, depth + 1),
            _ => {
                whole.insert(key.clone(), value.clone());
            }
        }
    }
}

fn apply(whole: &mut Map<String, Value>, patch: &Map<String, Value>, depth: usize) {
    for (key, value) in patch {
        match value {
            Value::Null => {
                whole.remove(key);
            }
            Value::Object(members) if depth < MAX_DEPTH => {
                let below = whole.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
                if !below.is_object() {
                    *below = Value::Object(Map::new());
                }
                if let Value::Object(below) = below {
                    apply(below, members, depth + 1);
                }
            }
            other => {
                whole.insert(key.clone(), other.clone());
            }
        }
    }
}

fn check(value: &Value, depth: usize) -> Result<(), Invalid> {
    if depth > MAX_DEPTH {
        return Err(Invalid::new(format!("expected at most {MAX_DEPTH} levels of objects and lists")));
    }
    match value {
        Value::Object(members) => members.iter().try_for_each(|(key, value)| {
            if key.contains('\0') {
                return Err(Invalid::new("expected names without NUL characters"));
            }
            check(value, depth + 1)
        }),
        Value::Array(items) => items.iter().try_for_each(|item| check(item, depth + 1)),
        Value::String(text) if text.contains('\0') => Err(Invalid::new("expected texts without NUL characters")),
        _ => Ok(()),
    }
}

impl TryFrom<Value> for Document {
    type Error = Invalid;
    fn try_from(value: Value) -> Result<Self, Invalid> {
        check(&value, 0)?;
        let Value::Object(members) = value else { return Err(Invalid::new("expected an object")) };
        let size = serde_json::to_vec(&members).map_or(usize::MAX, |text| text.len());
        if size > MAX_BYTES {
            return Err(Invalid::new(format!("expected at most {MAX_BYTES} bytes of JSON, this has {size}")));
        }
        Ok(Self(members))
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(value: Value) -> Document {
        Document::try_from(value).unwrap()
    }

    #[test]
    fn what_is_laid_over_wins_member_by_member_and_lists_are_replaced_whole() {
        let below = document(json!({"a": {"x": 1, "y": [1, 2]}, "b": 1, "c": null}));
        let above = document(json!({"a": {"y": [3], "z": {}}, "b": {"n": 1}, "d": null}));
        let merged = below.merged(&above).unwrap();
        assert_eq!(merged, document(json!({"a": {"x": 1, "y": [3], "z": {}}, "b": {"n": 1}, "c": null, "d": null})));
    }

    /// The cases of RFC 7396, appendix A, that are about objects.
    #[test]
    fn a_merge_patch_is_applied_as_its_standard_says() {
        for (target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            assert_eq!(document(target).patched(&document(patch)).unwrap(), document(result));
        }
    }

    #[test]
    fn what_is_no_object_too_deep_or_too_large_is_refused() {
        for bad in [json!([]), json!(null), json!({"a": "\u{0}"}), json!({"a\u{0}": 1})] {
            assert!(Document::try_from(bad.clone()).is_err(), "{bad}");
        }
        let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!({ "a": inner }));
        assert!(Document::try_from(nested(MAX_DEPTH)).is_ok());
        assert!(Document::try_from(nested(MAX_DEPTH + 1)).is_err());
        assert!(Document::try_from(json!({"a": "x".repeat(MAX_BYTES)})).is_err());
    }
}
