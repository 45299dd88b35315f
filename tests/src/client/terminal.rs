//! A terminal as its user sees it: a websocket (RFC 6455) on the public API.

use super::Api;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{
    Error, Message,
    client::IntoClientRequest,
    http::{HeaderValue, header},
};
use tokio_tungstenite::{WebSocketStream, client_async};

/// An open terminal.
pub struct Terminal {
    socket: WebSocketStream<TcpStream>,
    /// All that the program wrote so far.
    pub text: String,
}

/// Why a terminal is not open: the status and the problem's type.
pub type NotOpen = (u16, String);

impl Terminal {
    /// Opens a terminal at a path with a query, with the user's key unless the query has a ticket.
    pub async fn open(api: &Api, path: &str, origin: Option<&str>) -> Result<Self, NotOpen> {
        let address = api.base.trim_start_matches("http://");
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        if let Some(authorization) = &api.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, HeaderValue::from_str(authorization).unwrap());
        }
        if let Some(origin) = origin {
            request.headers_mut().insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        let stream = TcpStream::connect(address).await.unwrap();
        match client_async(request, stream).await {
            Ok((socket, _)) => Ok(Self { socket, text: String::new() }),
            Err(Error::Http(response)) => {
                let body = response.body().clone().unwrap_or_default();
                let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
                let kind = problem["type"].as_str().unwrap_or_default().rsplit(':').next().unwrap_or_default();
                Err((response.status().as_u16(), kind.to_owned()))
            }
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// Types.
    pub async fn send(&mut self, text: &str) {
        self.socket.send(Message::Binary(text.as_bytes().to_vec().into())).await.unwrap();
    }

    /// Gives it another size.
    pub async fn resize(&mut self, cols: u16, rows: u16) {
        let text = json!({"resize": {"cols": cols, "rows": rows}}).to_string();
        self.socket.send(Message::Text(text.into())).await.unwrap();
    }

    /// Reads until the program has written this.
    ///
    /// # Panics
    /// If it ends before, or takes longer than half a minute.
    pub async fn until(&mut self, text: &str) {
        while !self.text.contains(text) {
            let next = tokio::time::timeout(Duration::from_secs(30), self.socket.next()).await;
            match next.unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.text)) {
                Some(Ok(Message::Binary(bytes))) => self.text.push_str(&String::from_utf8_lossy(&bytes)),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no {text:?} in {:?}, but {other:?}", self.text),
            }
        }
    }

    /// Reads to the end and answers what the server said of the exit.
    pub async fn exit(&mut self) -> Value {
        let mut exit = Value::Null;
        while let Some(Ok(message)) = tokio::time::timeout(Duration::from_secs(30), self.socket.next()).await.unwrap() {
            match message {
                Message::Binary(bytes) => self.text.push_str(&String::from_utf8_lossy(&bytes)),
                Message::Text(text) => exit = serde_json::from_str(&text).unwrap(),
                _ => {}
            }
        }
        exit
    }

    /// Reads to the end and answers why the server closed it.
    pub async fn closed(&mut self) -> String {
        let mut reason = String::new();
        while let Some(Ok(message)) = self.socket.next().await {
            if let Message::Close(Some(frame)) = message {
                reason = frame.reason.to_string();
            }
        }
        reason
    }
}
