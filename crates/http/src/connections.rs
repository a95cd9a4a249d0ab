//! Accepts connections and serves HTTP/1.1 on them, within bounds: their number, the time of a head, the size of a head.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

/// Maximum size of the head of a request, and of what is read ahead, in bytes.
const MAX_HEAD: usize = 64 << 10;

/// Number of connections that may wait to be accepted, as far as the system allows.
const WAITING: u32 = 4096;

/// Longest time for which a client may take nothing of its answer.
#[cfg(target_os = "linux")]
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// Wait after a connection could not be accepted, usually because too many files are open. It doubles with every further
/// failure.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// Longest wait after a connection could not be accepted.
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// The bounds of a server's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Largest number of open connections; further ones wait until one closes.
    pub max_connections: usize,
    /// Longest time for the head of a request to arrive, and for which a connection may be idle.
    pub head_timeout: Duration,
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

/// Starts to listen at an address, on a thread of the runtime. Many connections that come at once wait to be accepted: one that
/// found no place would be tried again by its client's system, but only after a second.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A server that is started again gets the address of the one before.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING)
}

/// Accepts connections within the limits until `stopped` turns true. Then idle connections are closed, and the others get the
/// answers to the requests that they have sent, for at most the time to drain. Returns whether all of them got their answers.
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
        builder.timer(TokioTimer::new()).half_close(true).max_buf_size(MAX_HEAD);
        builder.header_read_timeout(limits.head_timeout);
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
    let mut pause = FIRST_PAUSE;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // The client has gone before it was accepted.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(error) => {
                if pause == FIRST_PAUSE {
                    tracing::warn!("connections cannot be accepted and have to wait: {error}");
                }
                sleep(pause).await;
                pause = (2 * pause).min(MAX_PAUSE);
            }
        }
    }
}
