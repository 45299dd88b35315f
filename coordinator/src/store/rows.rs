//! Stored values back into types. Every type here was valid when it was stored; one that is not says that something
//! else wrote to the database.

use super::StoreError;
use crate::domain::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(super) fn time(column: &'static str, micros: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(micros).map_err(|_| StoreError::corrupt(column, micros.to_string()))
}

pub(super) fn maybe_time(column: &'static str, micros: Option<i64>) -> Result<Option<Timestamp>, StoreError> {
    micros.map(|micros| time(column, micros)).transpose()
}

pub(super) fn unsigned<T: TryFrom<i64>>(column: &'static str, value: i64) -> Result<T, StoreError> {
    T::try_from(value).map_err(|_| StoreError::corrupt(column, value.to_string()))
}

/// A stored document or word of a serde type.
pub(super) fn json<T: DeserializeOwned>(column: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|e| StoreError::corrupt(column, format!("{text} ({e})")))
}

pub(super) fn maybe_json<T: DeserializeOwned>(
    column: &'static str,
    text: Option<&str>,
) -> Result<Option<T>, StoreError> {
    text.map(|text| json(column, text)).transpose()
}

/// The document to store. Our own types with text keys and no maps of other keys always serialise.
pub(super) fn document<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// A text that is stored as it is written.
pub(super) fn text<T: std::str::FromStr>(column: &'static str, value: &str) -> Result<T, StoreError> {
    value.parse().map_err(|_| StoreError::corrupt(column, value))
}

/// A stored word.
pub(super) fn word<T>(column: &'static str, value: &str, parsed: Option<T>) -> Result<T, StoreError> {
    parsed.ok_or_else(|| StoreError::corrupt(column, value))
}
