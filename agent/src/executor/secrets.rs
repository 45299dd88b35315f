//! The secrets of a container: asked of the coordinator when they are needed, put where the container finds them, and taken
//! out of what a program writes. What must hold: no value is in the journal, in a note, in a log or in a message of ours.

use super::Ended;
use super::work::{Work, failed};
use crate::docker::ContextStream;
use bytes::Bytes;
use dockerforge_protocol::ids::SecretId;
use dockerforge_protocol::report::FailureKind;
use dockerforge_protocol::spec::{ContainerSpec, SecretForm};
use futures_util::StreamExt;
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;

/// Values by their ids.
pub type Values = BTreeMap<SecretId, SecretString>;

/// Values shorter than this are not taken out of output: too much else looks like them.
const SHORTEST: usize = 4;
/// What stands in place of a value.
pub(super) const STARS: &[u8] = b"********";

/// The values that a spec names, from the coordinator.
pub(super) async fn fetch(work: &Work<'_>, spec: &ContainerSpec) -> Result<Values, Ended> {
    if spec.secrets.is_empty() {
        return Ok(Values::new());
    }
    let values = of_job(work).await?;
    match spec.secrets.iter().find(|(_, secret)| !values.contains_key(&secret.id)) {
        Some((name, _)) => {
            Err(failed(FailureKind::SecretsUnavailable, format!("the coordinator does not give the secret {name}")))
        }
        None => Ok(values),
    }
}

/// Every value that the coordinator gives for this job.
pub(super) async fn of_job(work: &Work<'_>) -> Result<Values, Ended> {
    let values = work.unless_stopped(work.settings.supplies.secrets(work.attempt.job)).await?;
    values.map_err(|error| failed(FailureKind::SecretsUnavailable, error.to_string()))
}

/// `NAME=value` of each secret that is a variable.
pub(super) fn env(spec: &ContainerSpec, values: &Values) -> Vec<String> {
    of_form(spec, values, SecretForm::Env).map(|(name, value)| format!("{name}={}", value.expose_secret())).collect()
}

/// An archive of the secrets that are files; none where none is. Readable by all in the container: who its programs run as
/// is its image's business.
pub(super) fn archive(spec: &ContainerSpec, values: &Values) -> Result<Option<Bytes>, Ended> {
    if !has_files(spec) {
        return Ok(None);
    }
    let mut archive = tar::Builder::new(Vec::new());
    for (name, value) in of_form(spec, values, SecretForm::File) {
        let bytes = value.expose_secret().as_bytes();
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o444);
        header.set_size(bytes.len() as u64);
        archive
            .append_data(&mut header, &name, bytes)
            .map_err(|error| failed(FailureKind::Internal, format!("the secret {name} cannot be packed: {error}")))?;
    }
    let bytes = archive
        .into_inner()
        .map_err(|error| failed(FailureKind::Internal, format!("the secrets cannot be packed: {error}")))?;
    Ok(Some(bytes.into()))
}

/// An archive that is there whole, as a stream.
pub(super) fn stream(archive: Bytes) -> ContextStream {
    futures_util::stream::iter([Ok(archive)]).boxed()
}

/// Whether a container has secrets as files.
pub(super) fn has_files(spec: &ContainerSpec) -> bool {
    spec.secrets.values().any(|secret| secret.form == SecretForm::File)
}

fn of_form<'a>(
    spec: &'a ContainerSpec,
    values: &'a Values,
    form: SecretForm,
) -> impl Iterator<Item = (String, &'a SecretString)> {
    let named = spec.secrets.iter().filter(move |(_, secret)| secret.form == form);
    named.filter_map(|(name, secret)| Some((name.to_string(), values.get(&secret.id)?)))
}

/// Takes values out of a stream of bytes, also where one comes in two pieces.
#[derive(Default)]
pub(super) struct Redactor {
    /// By their first byte, for a key of many lines is many values. The longest first, so that of two that begin alike the whole is
    /// taken out.
    values: BTreeMap<u8, Vec<SecretString>>,
    /// What may be the beginning of one.
    held: Vec<u8>,
}

impl Redactor {
    pub(super) fn new(values: Values) -> Self {
        Self::of(values.into_values().collect())
    }

    /// Takes these values out.
    pub(super) fn of(values: Vec<SecretString>) -> Self {
        let mut by_first = BTreeMap::<u8, Vec<SecretString>>::new();
        for value in values.into_iter().filter(|value| value.expose_secret().len() >= SHORTEST) {
            let first = value.expose_secret().as_bytes()[0];
            by_first.entry(first).or_default().push(value);
        }
        for values in by_first.values_mut() {
            values.sort_by_key(|value| std::cmp::Reverse(value.expose_secret().len()));
        }
        Self { values: by_first, held: Vec::new() }
    }

    /// The values that begin as this does, or may.
    fn like(&self, rest: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
        let values = rest.first().and_then(|first| self.values.get(first));
        values.into_iter().flatten().map(|value| value.expose_secret().as_bytes())
    }

    /// What can be shown after one more piece.
    pub(super) fn pass(&mut self, piece: &[u8]) -> Vec<u8> {
        if self.values.is_empty() {
            return piece.to_vec();
        }
        self.held.extend_from_slice(piece);
        let mut shown = Vec::with_capacity(self.held.len());
        let mut at = 0;
        while let Some(rest) = self.held.get(at..).filter(|rest| !rest.is_empty()) {
            let whole = self.like(rest).find(|v| rest.starts_with(v));
            // A longer one that is not whole yet comes before a shorter one that is.
            let begun = self.like(rest);
            if begun.take_while(|v| whole.is_none_or(|whole| v.len() > whole.len())).any(|v| v.starts_with(rest)) {
                break;
            }
            if let Some(value) = whole {
                shown.extend_from_slice(STARS);
                at += value.len();
            } else {
                shown.push(rest[0]);
                at += 1;
            }
        }
        self.held.drain(..at);
        shown
    }

    /// What was held back, at the end of the stream.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        let mut shown = Vec::new();
        while !self.held.is_empty() {
            // No more comes: what is held begins a value and is none, but a shorter one may stand in it.
            let (length, show) = match self.like(&self.held).filter(|v| self.held.starts_with(v)).map(<[u8]>::len).max()
            {
                Some(length) => (length, STARS.to_vec()),
                None => (1, self.held[..1].to_vec()),
            };
            shown.extend_from_slice(&show);
            self.held.drain(..length);
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(values: &[&str], pieces: &[&str]) -> String {
        let values = values.iter().map(|value| (SecretId::new(), SecretString::from(*value))).collect();
        let mut redactor = Redactor::new(values);
        let mut shown: Vec<u8> = pieces.iter().flat_map(|piece| redactor.pass(piece.as_bytes())).collect();
        shown.extend(redactor.rest());
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn a_value_is_not_shown_however_the_output_is_cut() {
        let text = "user=ana pass=s3cr$et\\' end s3cr";
        for cut in 0..=text.len() {
            assert_eq!(redacted(&["s3cr$et\\'"], &[&text[..cut], &text[cut..]]), "user=ana pass=******** end s3cr");
        }
        let bytes: Vec<String> = text.chars().map(String::from).collect();
        let bytes: Vec<&str> = bytes.iter().map(String::as_str).collect();
        assert_eq!(redacted(&["s3cr$et\\'"], &bytes), "user=ana pass=******** end s3cr");
    }

    #[test]
    fn of_values_that_begin_alike_the_longest_is_taken_out_and_what_begins_none_is_shown() {
        assert_eq!(redacted(&["abcd", "abcdefgh"], &["abcdefgh abcde", "f abcd"]), "******** ********ef ********");
        assert_eq!(redacted(&["aaab"], &["aaaa", "ab"]), "aa********");
        assert_eq!(redacted(&["abc"], &["abc is short"]), "abc is short");
        assert_eq!(redacted(&[], &["nothing ", "is held"]), "nothing is held");
    }
}
