//! A server on loopback that answers by a function.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Response, Uri};
use rlar_http::{ConnectionLimits, OpenConnections, accept, listen};
use rlar_tinker::{Retries, TinkerSettings};
use serde_json::Value;
use tokio::sync::watch;

/// A request that arrived.
pub struct Received {
    pub method: String,
    /// The path below `/api/v1/`.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Received {
    /// The body as JSON; null without one.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// An answer.
pub struct Reply {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Vec<u8>,
    pub location: Option<String>,
}

/// JSON with a status.
pub fn json(status: u16, value: &Value) -> Reply {
    text(status, "application/json", &value.to_string())
}

/// A text with a status.
pub fn text(status: u16, content_type: &'static str, body: &str) -> Reply {
    Reply { status, content_type, body: body.as_bytes().to_vec(), location: None }
}

/// A server that runs until it is dropped.
pub struct Served {
    pub address: SocketAddr,
    _stop: watch::Sender<bool>,
}

impl Served {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Answers every request by a function.
pub fn serve(answer: impl Fn(Received) -> Reply + Send + Sync + 'static) -> Served {
    let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    let handler = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
        let path = uri.path().strip_prefix("/api/v1/").unwrap_or(uri.path()).to_owned();
        let reply = answer(Received { method: method.to_string(), path, headers, body: body.to_vec() });
        let mut response = Response::builder().status(reply.status).header("content-type", reply.content_type);
        if let Some(location) = reply.location {
            response = response.header("location", location);
        }
        let response = response.body(Body::from(reply.body)).unwrap();
        async move { response }
    };
    let (stop, stopped) = watch::channel(false);
    let limits =
        ConnectionLimits { max_connections: 100, head_timeout: Duration::from_secs(30), drain: Duration::ZERO };
    let router = Router::new().fallback(handler);
    tokio::spawn(accept(listener, router, limits, OpenConnections::default(), stopped));
    Served { address, _stop: stop }
}

/// Settings with short pauses, and with one heartbeat at the start.
pub fn settings(url: &str) -> TinkerSettings {
    let retries = Retries { tries: 3, first_pause: Duration::from_millis(1), max_pause: Duration::from_millis(2) };
    TinkerSettings { retries, heartbeat: Duration::from_hours(1), ..TinkerSettings::new(url) }
}
