//! A running server: its address, and how it starts and stops.

use std::fmt;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rlar_http::{ConnectionLimits, OpenConnections, StopSignal};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::benchmark_results::ItemTables;
use crate::catalogue::RunCatalogue;
use crate::growth::{GrowthChannel, RunTraces};
use crate::prompt_history::PromptIndexes;
use crate::routes;
use crate::table_cache::TableCache;
use crate::token_texts::TokenTexts;

/// How many ports after the wanted one are tried.
const PORTS: u16 = 50;
/// Threads that read files; each holds at most one step's replies in memory.
const READERS: usize = 6;
const LIMITS: ConnectionLimits =
    ConnectionLimits { max_connections: 64, head_timeout: Duration::from_secs(75), drain: Duration::from_secs(5) };

/// What is viewed, and where.
#[derive(Clone, Debug)]
pub struct ViewOptions {
    /// The folder of a run, or a folder with runs below it.
    pub folder: PathBuf,
    /// The port; if it is in use, the next free one is taken. 0 stands for any free port.
    pub port: u16,
    /// How often the files of the runs are looked at while a page is open; more than 0.
    pub look_every: Duration,
}

impl ViewOptions {
    /// Shows a folder at a port, and looks at its runs every second.
    pub fn new(folder: PathBuf, port: u16) -> Self {
        Self { folder, port, look_every: Duration::from_secs(1) }
    }
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The folder has no runs that can be viewed; the text says why.
    #[error("{0}")]
    Folder(String),
    /// No port can be used.
    #[error("cannot serve at {address} or one of the ports after it: {source}; name another with --port")]
    Port {
        /// The address that was wanted.
        address: SocketAddr,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The operating system gives no threads, or no timers.
    #[error("the server cannot be started: {0}")]
    System(#[from] std::io::Error),
}

/// What all requests share.
#[derive(Debug)]
pub struct ViewState {
    /// The runs.
    pub catalogue: Arc<RunCatalogue>,
    /// Their metrics.
    pub tables: TableCache,
    /// Which steps have which prompts.
    pub prompts: PromptIndexes,
    /// The texts of tokens.
    pub tokens: TokenTexts,
    /// The items of benchmarks of rewards.
    pub items: ItemTables,
    /// The news for open pages.
    pub growth: GrowthChannel,
    /// Turns true when the server stops.
    pub stopped: watch::Receiver<bool>,
}

/// A server that shows runs until it is stopped or dropped.
pub struct ViewServer {
    address: SocketAddr,
    catalogue: Arc<RunCatalogue>,
    runtime: Option<Runtime>,
    stop: watch::Sender<bool>,
    accepting: Option<JoinHandle<bool>>,
}

impl fmt::Debug for ViewServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewServer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl ViewServer {
    /// Finds the runs, and starts to show them on the loopback address.
    pub fn start(options: &ViewOptions) -> Result<Self, ViewError> {
        let catalogue = Arc::new(RunCatalogue::open(&options.folder).map_err(ViewError::Folder)?);
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let builder = builder.worker_threads(2).max_blocking_threads(READERS).thread_name("viewing");
        let runtime = builder.enable_all().build()?;
        let listener = runtime.block_on(async { bind(options.port) })?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let growth = GrowthChannel::default();
        let seen = RunTraces::of(&catalogue);
        runtime.spawn(growth.clone().watch(Arc::clone(&catalogue), seen, options.look_every, stopped.clone()));
        let state = ViewState {
            catalogue: Arc::clone(&catalogue),
            tables: TableCache::default(),
            prompts: PromptIndexes::default(),
            tokens: TokenTexts::default(),
            items: ItemTables::default(),
            growth,
            stopped: stopped.clone(),
        };
        let router = routes::router(Arc::new(state));
        let accepting = runtime.spawn(rlar_http::accept(listener, router, LIMITS, OpenConnections::default(), stopped));
        Ok(Self { address, catalogue, runtime: Some(runtime), stop, accepting: Some(accepting) })
    }

    /// The address and port of the page.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of the page.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The folder that is viewed.
    pub fn folder(&self) -> &Path {
        self.catalogue.root()
    }

    /// Takes SIGTERM and Ctrl-C from here on, for [`ViewServer::wait`]. `None` if the server has stopped.
    pub fn listen(&self) -> std::io::Result<Option<StopSignal>> {
        let Some(runtime) = &self.runtime else { return Ok(None) };
        let _entered = runtime.enter();
        StopSignal::listen().map(Some)
    }

    /// Waits for a signal. Returns at once if the server has stopped.
    pub fn wait(&self, signal: Option<StopSignal>) -> std::io::Result<()> {
        let Some((runtime, mut signal)) = self.runtime.as_ref().zip(signal) else { return Ok(()) };
        runtime.block_on(signal.received())
    }

    /// Stops the server: open requests get their answers, for a few seconds at most.
    pub fn stop(mut self) {
        let _ = self.stop.send(true);
        if let Some((runtime, accepting)) = self.runtime.take().zip(self.accepting.take()) {
            runtime.block_on(rlar_http::is_drained(accepting));
            runtime.shutdown_background();
        }
    }
}

impl Drop for ViewServer {
    /// Stops without waiting for answers.
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Listens at a port of the loopback address, or at the next one that is free.
fn bind(port: u16) -> Result<TcpListener, ViewError> {
    let address = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut tried = port;
    loop {
        match rlar_http::listen(address(tried)) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == ErrorKind::AddrInUse && tried < port.saturating_add(PORTS) => tried += 1,
            Err(source) => return Err(ViewError::Port { address: address(port), source }),
        }
    }
}
