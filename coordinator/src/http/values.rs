//! Values that the bodies of several resources have: labels, how long a job may wait.

use super::extract::{Check, Object};
use dockerforge_protocol::spec::{LabelKey, LabelValue, Labels};
use jiff::SignedDuration;
use std::collections::BTreeMap;

/// Labels as an object.
pub(super) fn labels(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

/// An object as labels, with all that is wrong with it.
pub(super) fn parse_labels(check: &mut Check, object: &Object<String>) -> Option<Labels> {
    parse_labels_at(check, "/labels", object)
}

/// The same for one that stands elsewhere.
pub(super) fn parse_labels_at(check: &mut Check, at: &str, object: &Object<String>) -> Option<Labels> {
    let mut map = BTreeMap::new();
    for (key, value) in &object.0 {
        let pointer = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
        let (key, value) = (check.parse(&pointer, key), check.parse(&pointer, value));
        map.extend(key.zip(value));
    }
    check.take(at, Labels::try_from(map))
}

/// `key=value` of a query as a label.
pub(super) fn label(check: &mut Check, text: &str) -> Option<(LabelKey, LabelValue)> {
    let Some((key, value)) = text.split_once('=') else {
        check.refuse("label", "expected key=value");
        return None;
    };
    let (key, value) = (check.parse("label", key), check.parse("label", value));
    key.zip(value)
}

/// All labels that a query names.
pub(super) fn label_filter(check: &mut Check, texts: &[String]) -> Option<Labels> {
    let mut wanted = BTreeMap::new();
    for text in texts {
        let Some((key, value)) = label(check, text) else { continue };
        if wanted.insert(key, value.clone()).is_some_and(|other| other != value) {
            check.refuse("label", "expected one value of a label: nothing has two");
        }
    }
    check.take("label", Labels::try_from(wanted))
}

/// How long a job may wait for its host.
pub(super) fn wait(check: &mut Check, seconds: Option<i64>) -> Option<SignedDuration> {
    let seconds = seconds?;
    if !(1..=2_592_000).contains(&seconds) {
        check.refuse("/deadline", "expected 1 to 2592000 seconds");
    }
    Some(SignedDuration::from_secs(seconds))
}
