//! Conditional requests (RFC 9110, 8.8.3 and 13) and compressed answers.
//!
//! An entity tag is `"<revision>-<digest>"`: the revision grows with what users change alone, the digest is of the very
//! bytes. So the whole is strong, as a validator of what is cached; and If-Match compares the revision alone, because a
//! heartbeat between GET and PATCH is no reason to refuse the PATCH. What is compressed is another representation, and
//! its tag ends in `-gzip`.

use super::error::ApiError;
use crate::domain::precondition::Precondition;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tower_http::compression::predicate::Predicate;

/// What the tag of a compressed representation ends in.
const COMPRESSED: &str = "-gzip";
/// Answers below this are not compressed: it would save no packet.
const WORTH_COMPRESSING: u64 = 1024;

/// JSON with its entity tag. Whoever keeps it asks again before he uses it, and shows it to nobody else.
pub(super) fn tagged<T: Serialize>(revision: u64, body: &T) -> Response {
    let Ok(bytes) = serde_json::to_vec(body) else { return ApiError::internal().into_response() };
    let tag = format!("\"{revision}-{}\"", hex::encode(&Sha256::digest(&bytes)[..12]));
    let mut response = ([(header::CONTENT_TYPE, "application/json")], bytes).into_response();
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response
}

/// What a list of entity tags names.
#[derive(Debug, PartialEq, Eq)]
enum Tags<'a> {
    Any,
    These(Vec<Tag<'a>>),
}

#[derive(Debug, PartialEq, Eq)]
struct Tag<'a> {
    weak: bool,
    opaque: &'a str,
}

/// Reads `*` or a list of entity tags; nothing where it is neither.
fn tags(text: &str) -> Option<Tags<'_>> {
    let mut rest = text.trim();
    if rest == "*" {
        return Some(Tags::Any);
    }
    let mut tags = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return (!tags.is_empty()).then_some(Tags::These(tags));
        }
        let (weak, quoted) = rest.strip_prefix("W/").map_or((false, rest), |rest| (true, rest));
        let (opaque, after) = quoted.strip_prefix('"')?.split_once('"')?;
        let after = after.trim_start_matches([' ', '\t']);
        if opaque.contains([' ', '\t']) || !(after.is_empty() || after.starts_with(',')) {
            return None;
        }
        tags.push(Tag { weak, opaque });
        rest = after;
    }
}

/// All lines of a header as one. What is not text is nothing that we made.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Vec<&str> = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?")).collect();
    (!lines.is_empty()).then(|| lines.join(","))
}

/// What `If-Match` asks of a change. A weak tag, or one that is not ours, is never the one that a thing has.
pub(super) fn precondition(headers: &HeaderMap) -> Result<Precondition, ApiError> {
    let Some(text) = joined(headers, &header::IF_MATCH) else { return Ok(Precondition::Whatever) };
    match tags(&text) {
        None => Err(ApiError::bad_request("If-Match must be * or a list of quoted entity tags")),
        Some(Tags::Any) => Ok(Precondition::There),
        Some(Tags::These(tags)) => {
            let strong = tags.iter().filter(|tag| !tag.weak);
            Ok(Precondition::Revision(strong.filter_map(|tag| revision(tag.opaque)).collect()))
        }
    }
}

fn revision(opaque: &str) -> Option<u64> {
    let (revision, _) = opaque.split_once('-')?;
    revision.bytes().all(|byte| byte.is_ascii_digit()).then(|| revision.parse().ok()).flatten()
}

/// Whether somebody has what this tag is of, compressed or not.
fn has(text: &str, tag: &HeaderValue) -> bool {
    let bare = |opaque: &str| opaque.strip_suffix(COMPRESSED).unwrap_or(opaque).to_owned();
    let Some(tag) = tag.to_str().ok().map(|tag| bare(tag.trim_matches('"'))) else { return false };
    match tags(text) {
        Some(Tags::Any) => true,
        Some(Tags::These(tags)) => tags.iter().any(|one| bare(one.opaque) == tag),
        // Answered in full, which is right for everybody.
        None => false,
    }
}

/// Whether gzip is acceptable (RFC 9110, 12.5.3). Nobody is refused for what he does not accept.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let text = joined(headers, &header::ACCEPT_ENCODING).unwrap_or_default();
    let mut by_star = false;
    for one in text.split(',') {
        let mut parts = one.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let wanted = weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0));
        if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
            return wanted;
        }
        by_star |= coding == "*" && wanted;
    }
    by_star
}

/// What is worth compressing: whole JSON and text, nothing that is sent piece by piece.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compressible;

impl Predicate for Compressible {
    fn should_compress<B: axum::body::HttpBody>(&self, response: &axum::http::Response<B>) -> bool {
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let text = kind.ends_with("json") || kind.starts_with("text/") && kind != "text/event-stream";
        text && response.body().size_hint().exact().is_some_and(|size| size >= WORTH_COMPRESSING)
    }
}

/// Around the layer that compresses: tells it what is acceptable, names what it made, and answers 304 to whoever has it.
pub(super) async fn answer(mut request: Request, next: Next) -> Response {
    let gzip = takes_gzip(request.headers());
    // In a form that leaves nothing to refuse: what was done is not answered 406.
    request.headers_mut().remove(header::ACCEPT_ENCODING);
    if gzip {
        request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let held = if reads { joined(request.headers(), &header::IF_NONE_MATCH) } else { None };
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let compressed = headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding == "gzip");
    let Some(tag) = headers.get(header::ETAG).cloned() else { return response };
    if !headers.contains_key(header::VARY) {
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    if compressed
        && let Some(text) = tag.to_str().ok().and_then(|tag| tag.strip_suffix('"'))
        && let Ok(own) = HeaderValue::from_str(&format!("{text}{COMPRESSED}\""))
    {
        headers.insert(header::ETAG, own);
    }
    if response.status() == StatusCode::OK && held.is_some_and(|held| has(&held, &tag)) {
        let mut unchanged = StatusCode::NOT_MODIFIED.into_response();
        std::mem::swap(unchanged.headers_mut(), response.headers_mut());
        for of_the_body in [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CONTENT_ENCODING] {
            unchanged.headers_mut().remove(of_the_body);
        }
        return unchanged;
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, text: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_bytes(text.as_bytes()).unwrap())])
    }

    #[test]
    fn if_match_is_star_or_tags_of_which_strong_ones_of_ours_name_revisions() {
        let read = |text: &str| precondition(&with(header::IF_MATCH, text)).ok();
        assert_eq!(precondition(&HeaderMap::new()).ok(), Some(Precondition::Whatever));
        assert_eq!(read(" * "), Some(Precondition::There));
        assert_eq!(read("\"7-ab\""), Some(Precondition::Revision(vec![7])));
        assert_eq!(
            read("\"7-ab-gzip\" ,, \"8-\",W/\"9-ab\", \"x\", \"a,b\", \"\", \"+5-a\""),
            Some(Precondition::Revision(vec![7, 8]))
        );
        for bad in ["", ",", "7-ab", "\"7-ab", "\"a\"\"b\"", "\"a\" b", "w/\"a\"", "*, \"a\"", "\"a b\"", "\u{e4}"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn who_has_it_in_either_form_is_told_that_it_did_not_change() {
        let tag = HeaderValue::from_static("\"7-ab-gzip\"");
        assert!(["\"7-ab\"", "W/\"7-ab\"", "\"x\", \"7-ab-gzip\"", "*"].into_iter().all(|held| has(held, &tag)));
        assert!(["\"8-ab\"", "\"7-ac\"", "7-ab", "\"7\""].into_iter().all(|held| !has(held, &tag)));
    }

    #[test]
    fn gzip_is_sent_to_whoever_takes_it_alone() {
        let takes = |text: &str| takes_gzip(&with(header::ACCEPT_ENCODING, text));
        assert!(["gzip", "br, GZIP;q=0.5", "*", "x-gzip", "deflate;q=1.0, *;q=0.1"].into_iter().all(takes));
        assert!(!["", "br", "gzip;q=0", "*, gzip;q=0", "identity;q=0", "gzip;q=x", "*;q=0.0"].into_iter().any(takes));
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
