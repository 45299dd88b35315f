//! A configuration service on loopback: answers what the test says for each server, and notes what it was asked.

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{net::TcpListener, task::JoinSet};

#[derive(Default)]
struct Inner {
    answers: Mutex<BTreeMap<String, (u16, String)>>,
    asked: Mutex<Vec<(String, String)>>,
}

/// See the module. Ends when it is dropped.
pub struct Service {
    address: SocketAddr,
    inner: Arc<Inner>,
    _serving: JoinSet<()>,
}

impl Service {
    /// A service that knows no server.
    pub async fn start() -> Self {
        let inner = Arc::<Inner>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().fallback(answer).with_state(Arc::clone(&inner));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { address, inner, _serving: serving }
    }

    /// The URL of its API.
    pub fn api(&self) -> String {
        format!("http://{}/api/v1/", self.address)
    }

    /// What it answers for a server from now on; a redirect leads to what it is given as text.
    pub fn answers(&self, server: &str, status: u16, text: &str) {
        self.inner.answers.lock().unwrap().insert(server.to_owned(), (status, text.to_owned()));
    }

    /// The paths that it was asked for, each with its `Authorization`.
    pub fn asked(&self) -> Vec<(String, String)> {
        self.inner.asked.lock().unwrap().clone()
    }
}

async fn answer(State(inner): State<Arc<Inner>>, uri: Uri, headers: HeaderMap) -> Response {
    let authorization = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    inner.asked.lock().unwrap().push((uri.to_string(), authorization.unwrap_or_default()));
    let server = uri.path().strip_prefix("/api/v1/servers/").and_then(|rest| rest.strip_suffix("/generate_config"));
    let answers = inner.answers.lock().unwrap();
    let Some((status, text)) = server.and_then(|server| answers.get(server)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let status = StatusCode::from_u16(*status).unwrap();
    if status.is_redirection() {
        return (status, [(header::LOCATION, text.clone())]).into_response();
    }
    (status, text.clone()).into_response()
}
