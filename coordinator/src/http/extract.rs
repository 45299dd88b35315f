//! Requests into types: strict JSON bodies, ids in paths, query strings, and the headers that matter to every route.

use super::error::ApiError;
use super::{Context, State, conditional};
use crate::access::{Action, Permit, Principal, authorize};
use crate::domain::Violation;
use crate::domain::page::Page;
use crate::domain::precondition::Precondition;
use crate::service::idempotency::Key;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Uri, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;
use utoipa::IntoParams;

/// The largest JSON body, bytes.
pub(super) const MAX_JSON: usize = 1024 * 1024;
/// The longest that a request may wait for a job.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Who asks. Its presence among a handler's parameters is what makes a route need authentication.
pub(super) struct Caller {
    pub(super) principal: Principal,
    pub(super) context: Context,
    /// How long the caller would wait for a job to end.
    pub(super) wait: Option<Duration>,
    /// Which state he has seen of what he changes or deletes.
    pub(super) seen: Precondition,
    idempotency: Option<String>,
    method: Method,
}

impl FromRequestParts<State> for Caller {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let context = parts.extensions.get::<Context>().cloned().ok_or_else(ApiError::internal)?;
        let principal = super::auth::principal(state, &parts.headers, &context).await?;
        // What is safe or idempotent by itself takes no key, and does not look at one.
        let takes_key = parts.method == Method::POST || parts.method == Method::PATCH;
        let idempotency = if takes_key { idempotency_key(&parts.headers)? } else { None };
        let wait = preferred_wait(&parts.headers);
        let changes = matches!(parts.method, Method::PUT | Method::PATCH | Method::DELETE);
        let seen = if changes { conditional::precondition(&parts.headers)? } else { Precondition::default() };
        Ok(Self { principal, context, wait, seen, idempotency, method: parts.method.clone() })
    }
}

impl Caller {
    /// Leave to do something.
    pub(super) fn may<A: Action>(&self, action: A) -> Result<Permit<A>, ApiError> {
        Ok(authorize(&self.principal, action)?)
    }

    /// The same caller on his own behalf: what an administrator does to a user is his own, also where he acts for somebody.
    pub(super) fn on_own_behalf(mut self) -> Self {
        self.principal.user = self.principal.actor;
        self
    }

    /// The Idempotency-Key, bound to this request. `digest` is of the body.
    pub(super) fn key(&self, digest: [u8; 32]) -> Option<Key> {
        let key = self.idempotency.as_deref()?;
        let mut fingerprint = Sha256::new();
        fingerprint.update(self.method.as_str());
        fingerprint.update(b" ");
        // The same request under either mount is the same request.
        fingerprint.update(self.context.unmounted());
        fingerprint.update(b"\n");
        fingerprint.update(digest);
        Some(Key::new(self.principal.user, key, fingerprint.finalize().into()))
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let printable = |text: &&str| text.bytes().all(|b| (b' '..=b'~').contains(&b));
    let text = value.to_str().ok().filter(|text| (1..=255).contains(&text.len())).filter(printable);
    text.map(|text| Some(text.to_owned()))
        .ok_or_else(|| ApiError::bad_request("Idempotency-Key must be 1 to 255 printable ASCII characters"))
}

/// `Prefer: wait=N` (RFC 7240), at most 60 s.
fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    let preferences = headers.get_all("prefer").into_iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
    let seconds =
        preferences.filter_map(|p| p.trim().strip_prefix("wait=")).find_map(|n| n.trim().parse::<u64>().ok())?;
    Some(Duration::from_secs(seconds).min(MAX_WAIT))
}

/// A JSON body, with a hash of its bytes. Unknown and doubled keys are refused by the types it is read into.
pub(super) struct Json<T> {
    pub(super) value: T,
    pub(super) digest: [u8; 32],
}

impl<T: DeserializeOwned> FromRequest<State> for Json<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, _state: &State) -> Result<Self, ApiError> {
        is_json(media_type(request.headers()).as_deref())?;
        let bytes = body(request, MAX_JSON).await?;
        Ok(Self { value: parse(&bytes)?, digest: Sha256::digest(&bytes).into() })
    }
}

/// A JSON body that may be absent: no bytes are the type's default.
pub(super) struct MaybeJson<T> {
    pub(super) value: T,
    pub(super) digest: [u8; 32],
}

impl<T: DeserializeOwned + Default> FromRequest<State> for MaybeJson<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, _state: &State) -> Result<Self, ApiError> {
        let kind = media_type(request.headers());
        let bytes = body(request, MAX_JSON).await?;
        let digest = Sha256::digest(&bytes).into();
        if bytes.is_empty() {
            return Ok(Self { value: T::default(), digest });
        }
        is_json(kind.as_deref())?;
        Ok(Self { value: parse(&bytes)?, digest })
    }
}

fn is_json(kind: Option<&str>) -> Result<(), ApiError> {
    if kind == Some("application/json") {
        Ok(())
    } else {
        Err(ApiError::unsupported("send JSON, with Content-Type: application/json"))
    }
}

/// The type and subtype of a Content-Type, in lower case.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// How much of a body that is too large is still taken: a connection that is closed with unread bytes is reset, and the
/// answer that says why is lost with it.
const MAX_DISCARDED: usize = 16 * 1024 * 1024;

async fn body(request: Request, limit: usize) -> Result<Bytes, ApiError> {
    use http_body_util::BodyExt;
    let mut body = request.into_body();
    let mut taken = Vec::new();
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::bad_request("the body ended before it was complete"))?;
        let Ok(data) = frame.into_data() else { continue };
        total += data.len();
        if total <= limit {
            taken.extend_from_slice(&data);
        } else if total > limit + MAX_DISCARDED {
            break;
        }
    }
    if total > limit {
        return Err(ApiError::too_large(format!("a JSON body may have {limit} bytes")));
    }
    Ok(taken.into())
}

/// Malformed JSON is 400 with the position; JSON that is something else than what is read here is 422 with the pointer.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value: T = serde_path_to_error::deserialize(ObjectsOnly(&mut deserializer)).map_err(|error| {
        let inner = error.inner();
        match inner.classify() {
            serde_json::error::Category::Data => {
                let text = inner.to_string();
                let detail = text.split(" at line ").next().unwrap_or(&text).to_owned();
                ApiError::invalid(vec![Violation { pointer: pointer(error.path()), detail }])
            }
            _ => ApiError::bad_request(format!("this is not JSON: {inner}")),
        }
    })?;
    deserializer.end().map_err(|error| ApiError::bad_request(format!("this is not one JSON value: {error}")))?;
    Ok(value)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter().fold(String::new(), |mut pointer, segment| {
        pointer.push('/');
        match segment {
            Segment::Seq { index } => pointer.push_str(&index.to_string()),
            Segment::Map { key } => pointer.push_str(&key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { variant } => pointer.push_str(variant),
            Segment::Unknown => pointer.push('?'),
        }
        pointer
    })
}

/// A JSON object whose keys the sender chooses; a doubled one is refused.
#[derive(Debug, Default)]
pub(super) struct Object<V>(pub(super) BTreeMap<String, V>);

impl<V: Serialize> Serialize for Object<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Object<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<V>(std::marker::PhantomData<V>);
        impl<'de, V: Deserialize<'de>> serde::de::Visitor<'de> for Visitor<V> {
            type Value = Object<V>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: serde::de::MapAccess<'de>>(self, mut access: M) -> Result<Object<V>, M::Error> {
                let mut map = BTreeMap::new();
                while let Some((key, value)) = access.next_entry::<String, V>()? {
                    if map.insert(key.clone(), value).is_some() {
                        return Err(serde::de::Error::custom(format!("duplicate key `{key}`")));
                    }
                }
                Ok(Object(map))
            }
        }
        deserializer.deserialize_map(Visitor(std::marker::PhantomData))
    }
}

/// Reads a struct from an object alone. Derived code also takes an array, its elements in the order of the fields.
pub(super) struct ObjectsOnly<D>(pub(super) D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for ObjectsOnly<D> {
    type Error = D::Error;

    fn deserialize_struct<V: serde::de::Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(visitor)
    }

    fn deserialize_any<V: serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The derived code of a type with `#[serde(remote = "Self")]`, through [`ObjectsOnly`]; after `read` of types that are
/// never shown.
macro_rules! objects_only {
    (read $($name:ident),* $(,)?) => {$(
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::deserialize(crate::http::extract::ObjectsOnly(deserializer))
            }
        }
    )*};
    ($($name:ident),* $(,)?) => {$(
        objects_only!(read $name);
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Self::serialize(self, serializer)
            }
        }
    )*};
}
pub(super) use objects_only;

/// A member of a patch (RFC 7396): what is absent stays.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Patched<T> {
    /// It stays as it is.
    #[default]
    Absent,
    /// `null`.
    Null,
    /// This from now on.
    Value(T),
}

impl<T> From<Option<T>> for Patched<T> {
    fn from(said: Option<T>) -> Self {
        said.map_or(Self::Null, Self::Value)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patched<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.into())
    }
}

/// Collects all that is wrong with a body before any of it is answered.
#[derive(Default)]
pub(super) struct Check {
    violations: Vec<Violation>,
}

impl Check {
    /// A text as the type it should be.
    pub(super) fn parse<T: FromStr<Err: std::fmt::Display>>(&mut self, pointer: &str, text: &str) -> Option<T> {
        self.take(pointer, text.parse::<T>())
    }

    /// A conversion's result, or a violation.
    pub(super) fn take<T, E: std::fmt::Display>(&mut self, pointer: &str, result: Result<T, E>) -> Option<T> {
        result.inspect_err(|error| self.refuse(pointer, error.to_string())).ok()
    }

    /// A violation.
    pub(super) fn refuse(&mut self, pointer: &str, detail: impl Into<String>) {
        self.violations.push(Violation::new(pointer, detail));
    }

    /// The whole, if nothing was wrong; `None` among its parts only if something was.
    pub(super) fn finish<T>(self, whole: Option<T>) -> Result<T, ApiError> {
        match whole {
            Some(whole) if self.violations.is_empty() => Ok(whole),
            _ => Err(ApiError::invalid(self.violations)),
        }
    }
}

/// Where the reader of a live stream was, as an event source says it when it comes back.
pub(super) fn last_event_id<T: FromStr<Err: std::fmt::Display>>(check: &mut Check, headers: &HeaderMap) -> Option<T> {
    check.parse("Last-Event-ID", headers.get("last-event-id")?.to_str().unwrap_or_default())
}

/// An id in a path. One that is not even an id names nothing.
pub(super) struct Id<T>(pub(super) T);

impl<T: FromStr + Send> FromRequestParts<State> for Id<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let path = axum::extract::Path::<BTreeMap<String, String>>::from_request_parts(parts, state).await;
        let text = path.ok().and_then(|axum::extract::Path(map)| map.get("id").cloned()).unwrap_or_default();
        text.parse().map(Id).map_err(|_| ApiError::nothing(&text))
    }
}

/// A query string. Unknown parameters are refused.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<State> for Query<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _state: &State) -> Result<Self, ApiError> {
        query(&parts.uri).map(Self)
    }
}

fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    match axum::extract::Query::<T>::try_from_uri(uri) {
        Ok(axum::extract::Query(value)) => Ok(value),
        Err(rejection) => {
            let text = rejection.body_text();
            let detail = text.rsplit_once("query string: ").map_or(text.as_str(), |(_, detail)| detail);
            // "unknown field `x`, …" or "x: invalid digit …"
            let named = detail.split('`').nth(1).or_else(|| detail.split_once(": ").map(|(name, _)| name));
            let pointer = named.unwrap_or("?").to_owned();
            Err(ApiError::invalid(vec![Violation::new(pointer, detail)]))
        }
    }
}

/// A query string beside its `label` parameters, which may be repeated.
pub(super) struct Labelled<T>(pub(super) T, pub(super) Vec<String>);

/// What [`Labelled`] reads beside the rest.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documents a parameter that may be repeated")]
pub(super) struct LabelParam {
    /// Only those with this label, `key=value`; may be repeated: with all of them.
    label: Option<String>,
}

impl<T: DeserializeOwned> FromRequestParts<State> for Labelled<T> {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _state: &State) -> Result<Self, ApiError> {
        let text = parts.uri.query().unwrap_or_default();
        let (labels, rest): (Vec<&str>, Vec<&str>) = text.split('&').partition(|pair| pair.starts_with("label="));
        let uri = |pairs: Vec<&str>| {
            let uri = format!("/?{}", pairs.join("&")).parse::<Uri>();
            uri.map_err(|_| ApiError::bad_request("the query cannot be read"))
        };
        let labels: Vec<(String, String)> = query(&uri(labels)?)?;
        Ok(Self(query(&uri(rest)?)?, labels.into_iter().map(|(_, value)| value).collect()))
    }
}

/// Reads `limit`.
pub(super) fn limit(check: &mut Check, limit: Option<u32>) -> u32 {
    let limit = limit.unwrap_or(Page::DEFAULT);
    if !(1..=Page::MAX).contains(&limit) {
        check.refuse("limit", format!("expected 1 to {}", Page::MAX));
    }
    limit
}

/// Parameters that may be repeated.
const REPEATED: [&str; 2] = ["label", "build_arg"];

/// A query string as it was written, for parameters that may be repeated. Those that may not be are not.
pub(super) struct Pairs(pub(super) Vec<(String, String)>);

impl Pairs {
    /// The query of a request whose handler takes it apart itself.
    pub(super) fn from_request(request: &Request) -> Result<Self, ApiError> {
        Self::of(request.uri())
    }

    fn of(uri: &Uri) -> Result<Self, ApiError> {
        let pairs: Vec<(String, String)> =
            axum::extract::Query::try_from_uri(uri).map_err(|_| ApiError::bad_request("the query cannot be read"))?.0;
        let doubled = |(i, (key, _)): (usize, &(String, String))| {
            (!REPEATED.contains(&key.as_str()) && pairs[..i].iter().any(|(earlier, _)| earlier == key))
                .then(|| key.clone())
        };
        match pairs.iter().enumerate().find_map(doubled) {
            Some(key) => Err(ApiError::invalid(vec![Violation::new(key, "this parameter is given twice")])),
            None => Ok(Self(pairs)),
        }
    }
}

impl FromRequestParts<State> for Pairs {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _state: &State) -> Result<Self, ApiError> {
        Self::of(&parts.uri)
    }
}

/// Reads `limit` and `after`, where `after` is an id of the listed kind.
pub(super) fn page<T: FromStr<Err: std::fmt::Display>>(
    check: &mut Check,
    limit: Option<u32>,
    after: Option<&str>,
    uuid: impl Fn(T) -> uuid::Uuid,
) -> Page {
    let limit = self::limit(check, limit);
    let after = after.and_then(|text| check.parse::<T>("after", text)).map(uuid);
    Page { limit, after }
}
