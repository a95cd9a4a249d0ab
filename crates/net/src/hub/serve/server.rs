//! The server of local models: accepts connections and answers their requests.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::hub::serve::local_models::LocalModels;
use crate::hub::serve::{HttpRequest, HttpResponse, api, http1};

/// Maximum number of open connections; a further connection is closed immediately.
const MAX_CONNECTIONS: usize = 128;

/// A function that is called with each request before the server answers. If the function gives a response, that
/// response is sent; with `None`, the server answers.
pub type Hook = Box<dyn Fn(&HttpRequest) -> Option<HttpResponse> + Send + Sync>;

/// A running server of local models. Dropping the value closes all connections and stops the server.
pub struct HubServer {
    address: SocketAddr,
    state: Arc<ServerState>,
    accepting: Option<JoinHandle<()>>,
}

struct ServerState {
    models: LocalModels,
    hook: Option<Hook>,
    stopped: AtomicBool,
    /// The number that the next connection gets.
    next: AtomicU64,
    /// The open connections by their numbers, so that they can be closed when the server stops.
    open: Mutex<HashMap<u64, TcpStream>>,
}

impl fmt::Debug for HubServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubServer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl HubServer {
    /// Serves the models in a folder at an address, such as `127.0.0.1:0`, where port 0 stands for any free port.
    /// Everyone who can reach the address can read every model in the folder.
    pub fn start(folder: &Path, address: &str, hook: Option<Hook>) -> io::Result<Self> {
        let models = LocalModels::new(folder)?;
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let (stopped, next, open) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::default());
        let state = Arc::new(ServerState { models, hook, stopped, next, open });
        let serving = state.clone();
        let accepting = std::thread::Builder::new().spawn(move || serving.accept(&listener))?;
        Ok(Self { address, state, accepting: Some(accepting) })
    }

    /// The address and port at which the server accepts connections.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of the server, for the environment variable `HF_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for HubServer {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        for stream in self.state.lock().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Connects once, in order to wake the thread that waits for connections.
        let mut own_address = self.address;
        if own_address.ip().is_unspecified() {
            own_address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        let woken = TcpStream::connect_timeout(&own_address, Duration::from_secs(1)).is_ok();
        if let Some(thread) = self.accepting.take().filter(|_| woken) {
            let _ = thread.join();
        }
    }
}

impl ServerState {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts connections until the server stops. Each connection gets its own thread.
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else {
                // The usual cause is too many open files: wait until other connections have closed.
                std::thread::sleep(Duration::from_millis(50));
                continue;
            };
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let mut open = self.lock();
            if open.len() >= MAX_CONNECTIONS {
                continue;
            }
            let Ok(handle) = stream.try_clone() else { continue };
            open.insert(number, handle);
            drop(open);
            let serving = self.clone();
            let served = std::thread::Builder::new().spawn(move || {
                let ended = serving.serve(&stream);
                if let Err(e) = ended
                    && !matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::WouldBlock)
                {
                    tracing::debug!("a connection ended: {e}");
                }
                serving.lock().remove(&number);
                let _ = stream.shutdown(Shutdown::Both);
            });
            if served.is_err() {
                self.lock().remove(&number);
            }
        }
    }

    /// Answers the requests on a connection, one after another, until the client or the server closes it.
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        http1::prepare(stream)?;
        let mut unread = Vec::new();
        while !self.stopped.load(Ordering::SeqCst) {
            let request = match http1::read(stream, &mut unread)? {
                http1::Incoming::Request(request) => request,
                http1::Incoming::Closed => return Ok(()),
                http1::Incoming::Invalid { status, message } => {
                    return http1::write(stream, HttpResponse::text(status, message), false, false).map(|_| ());
                }
            };
            let hooked = self.hook.as_ref().and_then(|hook| hook(&request));
            let response = hooked.unwrap_or_else(|| api::answer(&self.models, &request));
            let keep_alive = request.keeps_alive();
            if !http1::write(stream, response, request.method == "HEAD", keep_alive)? {
                return Ok(());
            }
        }
        Ok(())
    }
}
