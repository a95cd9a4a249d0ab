//! A server on loopback that answers by a function.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Response, Uri};
use rlar_http::{ConnectionLimits, OpenConnections, accept, listen};
use rlar_vllm::{VllmServer, VllmSettings};
use serde_json::Value;
use tokio::sync::watch;

/// A request that arrived.
pub struct Received {
    pub method: String,
    /// Path and query.
    pub path: String,
    pub headers: HeaderMap,
    /// The body as JSON; null without one.
    pub body: Value,
}

/// An answer.
pub struct Reply {
    pub status: u16,
    pub body: String,
}

/// A server that runs until it is dropped.
pub struct Served {
    pub url: String,
    _stop: watch::Sender<bool>,
}

impl Served {
    /// A client without a key.
    pub fn client(&self) -> VllmServer {
        VllmServer::new(VllmSettings::new(&self.url)).unwrap()
    }
}

/// Answers every request by a function.
pub fn serve(answer: impl Fn(Received) -> Reply + Send + Sync + 'static) -> Served {
    let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    let handler = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
        let path = uri.path_and_query().map_or(String::new(), ToString::to_string);
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let reply = answer(Received { method: method.to_string(), path, headers, body });
        let response = Response::builder().status(reply.status).header("content-type", "application/json");
        let response = response.body(Body::from(reply.body)).unwrap();
        async move { response }
    };
    let (stop, stopped) = watch::channel(false);
    let limits =
        ConnectionLimits { max_connections: 100, head_timeout: Duration::from_secs(30), drain: Duration::ZERO };
    tokio::spawn(accept(listener, Router::new().fallback(handler), limits, OpenConnections::default(), stopped));
    Served { url, _stop: stop }
}
