//! A server of a folder of models, `FOLDER/owner/name/files…`, that speaks the Hub's protocol.
//!
//! It is for machines without a way to the Hub: with `HF_ENDPOINT` set to its address, the official client and a
//! [`Hub`](crate::hub::Hub) find and download what is in the folder. It reads only. Tags, task, library, licence,
//! downloads and likes come from the YAML at the top of a model's README. A commit is a hash of a model's files, which are
//! hashed when they are first asked for: the first answer about a large model takes as long as reading it.

mod access;
mod api;
mod card;
mod files;
mod http;
mod shelf;

use std::collections::HashMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::hub::serve::shelf::Shelf;

pub use http::{Request, Response};

/// Connections at once; another one is closed at once.
const CONNECTIONS: usize = 128;

/// What may answer a request instead of the server; nothing leaves it to the server.
pub type Hook = Box<dyn Fn(&Request) -> Option<Response> + Send + Sync>;

/// A running server. Dropping it ends its connections.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    shelf: Shelf,
    hook: Option<Hook>,
    stopped: AtomicBool,
    next: AtomicU64,
    /// The connections that are open, to be ended.
    open: Mutex<HashMap<u64, TcpStream>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Server {
    /// Starts to serve a folder at an address; port 0 takes a free one. Who reaches the address reads everything in
    /// the folder. The hook sees each request first.
    pub fn start(folder: &Path, address: &str, hook: Option<Hook>) -> io::Result<Self> {
        let shelf = Shelf::of(folder)?;
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let (stopped, next, open) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::default());
        let shared = Arc::new(Shared { shelf, hook, stopped, next, open });
        let serving = shared.clone();
        let accepting = std::thread::Builder::new().spawn(move || serving.accept(&listener))?;
        Ok(Self { address, shared, accepting: Some(accepting) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `HF_ENDPOINT` should be.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        for stream in self.shared.lock().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the thread that waits for connections.
        let mut to = self.address;
        if to.ip().is_unspecified() {
            to.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        let woken = TcpStream::connect_timeout(&to, Duration::from_secs(1)).is_ok();
        if let Some(thread) = self.accepting.take().filter(|_| woken) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else {
                // Too many open files, mostly: others end.
                std::thread::sleep(Duration::from_millis(50));
                continue;
            };
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let mut open = self.lock();
            if open.len() >= CONNECTIONS {
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

    /// Answers the requests of a connection until one side ends it.
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        http::prepare(stream)?;
        let mut unread = Vec::new();
        while !self.stopped.load(Ordering::SeqCst) {
            let request = match http::read(stream, &mut unread)? {
                http::Read::Request(request) => request,
                http::Read::Closed => return Ok(()),
                http::Read::Wrong(status, why) => {
                    return http::write(stream, Response::text(status, why), false, false).map(|_| ());
                }
            };
            let hooked = self.hook.as_ref().and_then(|hook| hook(&request));
            let response = hooked.unwrap_or_else(|| api::answer(&self.shelf, &request));
            let stays = request.stays_open();
            if !http::write(stream, response, request.method == "HEAD", stays)? {
                return Ok(());
            }
        }
        Ok(())
    }
}
