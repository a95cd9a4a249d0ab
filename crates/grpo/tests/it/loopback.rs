//! HTTP servers of the tests.

use std::time::Duration;

use axum::Router;
use rlar_http::{ConnectionLimits, OpenConnections, accept, listen};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

/// An HTTP server on loopback that runs until it is dropped.
pub struct LoopbackServer {
    pub url: String,
    _stop: watch::Sender<bool>,
    runtime: Option<Runtime>,
}

impl LoopbackServer {
    /// Serves on a free port.
    pub fn start(router: Router) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let guard = runtime.enter();
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = watch::channel(false);
        let limits =
            ConnectionLimits { max_connections: 100, head_timeout: Duration::from_secs(30), drain: Duration::ZERO };
        tokio::spawn(accept(listener, router, limits, OpenConnections::default(), stopped));
        drop(guard);
        Self { url, _stop: stop, runtime: Some(runtime) }
    }
}

impl Drop for LoopbackServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
