//! The pages for readers: `/docs`, Swagger UI over `/openapi.json` with everything it needs in this program, and `/docs/problems`,
//! the types of problems. What must hold: nothing is loaded from elsewhere, so both work where there is no internet.

use super::super::error::ApiError;
use super::super::problems::{self, Kind};
use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use std::fmt::Write;
use std::sync::Arc;
use utoipa_swagger_ui::Config;

/// What a page may load: what is ours. Swagger UI styles elements as it goes, and has its icons as data.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The pages, for the root: their links name it.
pub(in crate::http) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let config = Config::new(["/openapi.json"])
        .validator_url("none")
        .try_it_out_enabled(true)
        .display_request_duration(true)
        .default_models_expand_depth(0)
        .doc_expansion("none")
        .filter(true);
    let config = Arc::new(config);
    let first = Arc::clone(&config);
    Router::new()
        .route("/docs", get(|| async { Redirect::permanent("/docs/") }))
        .route("/v1/docs", get(|| async { Redirect::permanent("/docs/") }))
        .route("/docs/", get(move |uri: Uri| async move { file("index.html", uri.path(), first) }))
        .route("/docs/problems", get(|| async { (policy(), Html(list())) }))
        .route(
            "/docs/{file}",
            get(move |Path(name): Path<String>, uri: Uri| async move { file(&name, uri.path(), config) }),
        )
}

fn policy() -> [(header::HeaderName, HeaderValue); 2] {
    [
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ]
}

/// A file of Swagger UI.
fn file(name: &str, path: &str, config: Arc<Config<'static>>) -> Response {
    match utoipa_swagger_ui::serve(name, config) {
        Ok(Some(file)) => {
            (policy(), [(header::CONTENT_TYPE, file.content_type)], file.bytes.into_owned()).into_response()
        }
        Ok(None) => ApiError::no_route(path).into_response(),
        Err(error) => {
            tracing::error!(error = &*error, "a page of the documentation could not be made");
            ApiError::internal().into_response()
        }
    }
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}\
                     h1{font-size:1.6rem}h2{font-size:1.1rem;margin:2rem 0 .2rem}code{background:#eee;padding:.1em .3em;border-radius:3px}\
                     p{margin:.2rem 0}.status{color:#777;font-weight:normal}";

/// The types of problems as a page.
fn list() -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Problems · Dockerforge</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body><h1>Types of problems</h1>\
         <p>Every error of the <a href=\"/docs/\">API</a> is an RFC 9457 problem, <code>application/problem+json</code>. Its \
         <code>type</code> is <code>{}</code> and one of these names: branch on that, and show <code>detail</code>. \
         <code>request_id</code>, also in the header <code>x-request-id</code>, is how the operator finds the request in the log.</p>",
        problems::URN
    );
    for Kind { name, status, title, meaning, remedy } in problems::ALL {
        // What is written to a String cannot fail.
        let _ = write!(
            page,
            "<h2 id=\"{name}\"><code>{name}</code> <span class=\"status\">{}</span> {title}</h2><p>{}</p><p>{}</p>",
            status.as_u16(),
            code(meaning),
            code(remedy)
        );
    }
    page.push_str("</body></html>");
    page
}

/// A text of ours with its names between back quotes as code.
fn code(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let marked = text.split('`').enumerate();
    marked.map(|(i, part)| if i % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() }).collect()
}
