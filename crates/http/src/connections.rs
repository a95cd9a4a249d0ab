//! Accepts connections and serves HTTP/1.1 on them, within bounds: their number, the time of a head, the size of a head.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

/// Longest time for the head of a request, and for which a connection may be idle. Clients of other engines keep their
/// connections for up to a minute.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// Maximum size of the head of a request, and of what is read ahead, in bytes.
const MAX_HEAD: usize = 64 << 10;

/// Longest time for which a client may take nothing of its answer.
#[cfg(target_os = "linux")]
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// Wait after a connection could not be accepted, usually because too many files are open.
const AFTER_ERROR: Duration = Duration::from_millis(50);

/// The bounds of a server's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Largest number of open connections; further ones wait until one closes.
    pub max_connections: usize,
    /// Longest time that a shutdown waits for requests that are being answered.
    pub drain: Duration,
}

/// The number of open connections. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct OpenConnections(Arc<AtomicUsize>);

impl OpenConnections {
    /// How many connections are open.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// An open connection, counted until it is dropped.
struct CountedConnection(OpenConnections);

impl CountedConnection {
    fn new(open: OpenConnections) -> Self {
        open.0.fetch_add(1, Ordering::Relaxed);
        Self(open)
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts connections until `stopped` turns true. Then idle connections are closed, and the others get the answers to the
/// requests that they have sent, for at most the time to drain. Returns whether all of them got their answers.
pub async fn accept(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    open: OpenConnections,
    mut stopped: watch::Receiver<bool>,
) -> bool {
    let places = Arc::new(Semaphore::new(limits.max_connections.max(1)));
    let graceful = GracefulShutdown::new();
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            Some((next_stream(&listener).await, place))
        };
        let accepted = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => break,
            accepted = next => accepted,
        };
        let Some((stream, place)) = accepted else { break };
        set_options(&stream);
        let mut builder = http1::Builder::new();
        // A client may close its sending half and still read the answer.
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).half_close(true).max_buf_size(MAX_HEAD);
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
        let counted = CountedConnection::new(open.clone());
        tokio::spawn(async move {
            let _held = (place, counted);
            if let Err(error) = connection.await {
                tracing::debug!("a connection ended: {error}");
            }
        });
    }
    drop(listener);
    let is_drained = timeout(limits.drain, graceful.shutdown()).await.is_ok();
    if !is_drained {
        tracing::warn!("some requests were not answered within {:?} and are given up", limits.drain);
    }
    is_drained
}

/// Sends small answers at once, and closes a connection whose client does not take its answer. A system that does not know
/// these options serves without them.
fn set_options(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, ANSWER_TIMEOUT.as_millis() as u32);
}

/// The next connection. Errors pass: when no more files can be opened, others are closed sooner or later.
async fn next_stream(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!("a connection cannot be accepted: {error}");
                sleep(AFTER_ERROR).await;
            }
        }
    }
}
