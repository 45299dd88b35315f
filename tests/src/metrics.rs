//! What the ops address serves to Prometheus, read strictly: a line that is not of the text format fails the test.

use crate::client::Api;
use std::{collections::BTreeSet, net::SocketAddr};

/// One scrape.
#[derive(Debug)]
pub struct Metrics {
    /// The page.
    pub text: String,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Metrics {
    /// Scrapes `/metrics` at an address.
    ///
    /// # Panics
    /// If that does not answer 200 with the text format.
    pub async fn scrape(address: SocketAddr) -> Self {
        let answer = Api::anonymous(address).get("/metrics").await;
        assert_eq!(answer.status, 200, "{answer}");
        Self::read(answer.text)
    }

    fn read(text: String) -> Self {
        let mut described = BTreeSet::new();
        let mut samples = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.split(' ');
                let (what, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                assert!(matches!(what, "HELP" | "TYPE") && words.next().is_some(), "{line}");
                assert!(described.insert((what.to_owned(), name.to_owned())), "twice: {line}");
                continue;
            }
            let sample = sample(line).unwrap_or_else(|| panic!("not of the text format: {line}"));
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| sample.name.strip_suffix(end));
            let has = |what: &str| {
                [Some(sample.name.as_str()), family]
                    .into_iter()
                    .flatten()
                    .any(|name| described.contains(&(what.to_owned(), name.to_owned())))
            };
            assert!(has("HELP") && has("TYPE"), "not described: {line}");
            samples.push(sample);
        }
        Self { text, samples }
    }

    /// The value of the one sample of this name that has these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |sample: &&Sample| {
            labels.iter().all(|(name, value)| sample.labels.iter().any(|(n, v)| n == name && v == value))
        };
        let mut found = self.samples.iter().filter(|sample| sample.name == name).filter(has);
        let one = found.next()?;
        assert!(found.next().is_none(), "{name} {labels:?} is not one sample:\n{}", self.text);
        Some(one.value)
    }

    /// The values of one label of a metric.
    pub fn labels(&self, name: &str, label: &str) -> Vec<String> {
        let of_metric = self.samples.iter().filter(|sample| sample.name == name);
        of_metric.flat_map(|s| s.labels.iter().filter(|(n, _)| n == label).map(|(_, value)| value.clone())).collect()
    }

    /// The names of all samples.
    pub fn names(&self) -> BTreeSet<String> {
        self.samples.iter().map(|sample| sample.name.clone()).collect()
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (head, value) = line.rsplit_once(' ')?;
    let (name, labels) = match head.split_once('{') {
        None => (head, ""),
        Some((name, rest)) => (name, rest.strip_suffix('}')?),
    };
    let mut read = Vec::new();
    // No value of ours holds a quote or a comma.
    for label in labels.split(',').filter(|label| !label.is_empty()) {
        let (name, value) = label.split_once('=')?;
        read.push((name.to_owned(), value.strip_prefix('"')?.strip_suffix('"')?.to_owned()));
    }
    let named = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    Some(Sample { name: named.then(|| name.to_owned())?, labels: read, value: value.parse().ok()? })
}
