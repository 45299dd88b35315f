//! A receiver of webhooks: keeps what it is sent, and answers what the test says.

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::hmac;
use serde_json::Value;
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::{net::TcpListener, task::JoinSet};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    headers: HeaderMap,
    body: Bytes,
}

/// See the module. Ends when it is dropped.
pub struct Receiver {
    address: SocketAddr,
    inner: Arc<Inner>,
    _serving: JoinSet<()>,
}

struct Inner {
    answer: AtomicU16,
    received: Mutex<Vec<Received>>,
}

impl Receiver {
    /// A receiver on loopback that answers this status.
    pub async fn start(answer: u16) -> Self {
        let inner = Arc::new(Inner { answer: answer.into(), received: Mutex::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().fallback(take).with_state(Arc::clone(&inner));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { address, inner, _serving: serving }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// What it answers from now on.
    pub fn answer(&self, status: u16) {
        self.inner.answer.store(status, Ordering::SeqCst);
    }

    /// What it was sent so far.
    pub fn received(&self) -> Vec<Received> {
        self.inner.received.lock().unwrap().clone()
    }
}

async fn take(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    inner.received.lock().unwrap().push(Received { headers, body });
    StatusCode::from_u16(inner.answer.load(Ordering::SeqCst)).unwrap()
}

impl Received {
    /// A header.
    ///
    /// # Panics
    /// If it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {:?}", self.headers)).to_str().unwrap()
    }

    /// The body.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Checks signature and time as a receiver should (Standard Webhooks 1.0).
    ///
    /// # Panics
    /// If it was not signed under this secret, now.
    pub fn verify(&self, secret: &str) {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("a secret begins with whsec_")).unwrap();
        let time = self.header("webhook-timestamp");
        let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().abs_diff(time.parse().unwrap());
        assert!(age < 300, "signed {age} s ago");
        let content = [self.header("webhook-id").as_bytes(), b".", time.as_bytes(), b".", &self.body].concat();
        let signature = self.header("webhook-signature").strip_prefix("v1,").expect("a signature of version 1");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        hmac::verify(&key, &content, &STANDARD.decode(signature).unwrap()).expect("a good signature");
    }
}
