//! A running server: its state, and how it starts and stops.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rlar_http::{ConnectionLimits, OpenConnections};
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle as TaskHandle;

use crate::alerts::Alerts;
use crate::body::BodyMemory;
use crate::drift::DriftWatch;
use crate::idempotency::IdempotencyKeys;
use crate::libraries::{Libraries, Reloaded, RewardSource};
use crate::metrics::Metrics;
use crate::options::ServeOptions;
use crate::program::ProgramSlots;
use crate::queue::JobQueue;
use crate::serving_delay::{self, ServingDelay};
use crate::shutdown::{self, Signals};
use crate::watch_folder::FolderState;
use crate::{auth, routes, workers};

/// Number of programs of `/run_code` that may wait for each one that runs.
const WAITING_PROGRAMS: usize = 64;

/// What all requests share.
pub type ServeState = Arc<SharedState>;

/// What all requests share.
#[derive(Debug)]
pub struct SharedState {
    /// The options of the server.
    pub options: ServeOptions,
    /// The libraries in service.
    pub libraries: Libraries,
    /// The requests that wait to be scored.
    pub queue: JobQueue,
    /// How long requests wait before they are read.
    pub serving_delay: ServingDelay,
    /// The answers to the latest requests with a key.
    pub keys: IdempotencyKeys,
    /// Memory for bodies.
    pub bodies: BodyMemory,
    /// Where programs run.
    pub programs: ProgramSlots,
    /// Counters and histograms.
    pub metrics: Metrics,
    /// The monitor of rewards.
    pub drift: DriftWatch,
    /// Where alerts go.
    pub alerts: Alerts,
    /// The open connections.
    pub connections: OpenConnections,
    draining: AtomicBool,
}

impl SharedState {
    /// Whether the server is stopping, and takes no further requests for rewards.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Loads the library again, and logs what has changed.
    pub fn reload(&self) -> Result<Reloaded, String> {
        let reloaded = self.libraries.reload();
        let outcome = if reloaded.is_ok() { "ok" } else { "failed" };
        let outcome = crate::metrics::labels(&[crate::metrics::Label { name: "outcome", value: outcome }]);
        self.metrics.count("rlar_reloads_total", "Times that the library was loaded again.", outcome, 1.0);
        match &reloaded {
            Ok(Reloaded { hash, changed: true }) => tracing::info!(library = hash, "another library serves"),
            Ok(Reloaded { hash, changed: false }) => tracing::info!(library = hash, "the library is unchanged"),
            Err(why) => tracing::warn!("the library cannot be loaded again, so the earlier one serves on: {why}"),
        }
        reloaded
    }
}

/// Loads the library again on a thread of its own: it may ask the network, which blocks and must not be done on the threads
/// of the runtime.
pub async fn reload_apart(state: &ServeState) -> Result<Reloaded, String> {
    let (sender, reloaded) = oneshot::channel();
    let state = Arc::clone(state);
    let loading = std::thread::Builder::new().name("loading".into()).spawn(move || {
        // Nobody waits for it after a shutdown.
        let _ = sender.send(state.reload());
    });
    loading.map_err(|error| format!("no thread can be started: {error}"))?;
    reloaded.await.unwrap_or_else(|_| Err("loading it panicked".into()))
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The options are wrong; the text says which and what to do.
    #[error("{0}")]
    Options(String),
    /// The library cannot be loaded.
    #[error("{0}")]
    Library(String),
    /// The address cannot be used.
    #[error("cannot serve at {address}: {source}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The operating system gives no threads, or no timers.
    #[error("the server cannot be started: {0}")]
    System(#[from] std::io::Error),
}

/// A server that answers requests until it is stopped or dropped.
pub struct RewardServer {
    address: SocketAddr,
    state: ServeState,
    /// `None` once the server has stopped.
    running: Option<RunningParts>,
}

/// What runs while a server does.
struct RunningParts {
    runtime: Runtime,
    stop: watch::Sender<bool>,
    accepting: TaskHandle<bool>,
    watching: Option<TaskHandle<()>>,
    workers: Vec<JoinHandle<()>>,
}

impl fmt::Debug for RewardServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RewardServer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl RewardServer {
    /// Loads the library, and starts to answer requests.
    pub fn start(options: ServeOptions, source: RewardSource) -> Result<Self, ServeError> {
        if let Some(why) = auth::refusal(options.address, options.token.as_ref()) {
            return Err(ServeError::Options(why));
        }
        if !(0.0..=1.0).contains(&options.failure_limit) {
            let why = format!("the failure limit is {}; it must be from 0 to 1", options.failure_limit);
            return Err(ServeError::Options(why));
        }
        let max_connections = rlar_http::allow_open_files(options.max_connections);
        let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("serving").enable_all().build()?;
        let address = options.address;
        let listener = runtime.block_on(async { rlar_http::listen(address) });
        let listener = listener.map_err(|source| ServeError::Address { address, source })?;
        let address = listener.local_addr()?;
        let folder = source.folder.clone();
        let seen = folder.as_deref().map(FolderState::read).unwrap_or_default();
        let state = Arc::new(SharedState {
            libraries: Libraries::load(source).map_err(ServeError::Library)?,
            queue: JobQueue::new(options.queue, options.workers),
            serving_delay: ServingDelay::default(),
            keys: IdempotencyKeys::default(),
            bodies: BodyMemory::default(),
            programs: ProgramSlots::new(options.workers, WAITING_PROGRAMS * options.workers.max(1)),
            metrics: Metrics::default(),
            drift: DriftWatch::default(),
            alerts: Alerts::start(options.webhook.as_deref())?,
            connections: OpenConnections::default(),
            draining: AtomicBool::new(false),
            options,
        });
        let workers = workers::start(&state)?;
        let (stop, stopped) = watch::channel(false);
        let router = routes::router(&state);
        let ServeOptions { head_timeout, drain, .. } = state.options;
        let limits = ConnectionLimits { max_connections, head_timeout, drain };
        let open = state.connections.clone();
        let accepting = runtime.spawn(rlar_http::accept(listener, router, limits, open, stopped));
        serving_delay::measure(&state, runtime.handle())?;
        let watching = folder.zip(state.options.watch);
        let watching = watching.map(|(folder, every)| runtime.spawn(watch(Arc::clone(&state), folder, seen, every)));
        let running = RunningParts { runtime, stop, accepting, watching, workers };
        Ok(Self { address, state, running: Some(running) })
    }

    /// The address and port at which the server accepts connections.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of the server.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Loads the library again; the error says why the earlier one serves on.
    pub fn reload(&self) -> Result<(), String> {
        self.state.reload().map(drop)
    }

    /// Takes SIGTERM, Ctrl-C and SIGHUP from here on, for [`RewardServer::wait`]. `None` if the server has stopped.
    pub fn listen(&self) -> std::io::Result<Option<Signals>> {
        let Some(running) = &self.running else { return Ok(None) };
        let _entered = running.runtime.enter();
        Signals::listen().map(Some)
    }

    /// Waits for SIGTERM or Ctrl-C, with `until_eof` also for the end of standard input, and loads the library again on every
    /// SIGHUP. Returns at once if the server has stopped.
    pub fn wait(&self, signals: Option<Signals>, until_eof: bool) -> std::io::Result<()> {
        let Some((running, signals)) = self.running.as_ref().zip(signals) else { return Ok(()) };
        running.runtime.block_on(shutdown::wait(&self.state, signals, until_eof))
    }

    /// Stops the server: no connection and no request for rewards is taken any more, those that are being answered get
    /// their answers, for at most [`ServeOptions::drain`]. Meanwhile a second signal ends the process at once.
    pub fn stop(mut self) {
        if let Some(running) = self.running.take() {
            tracing::info!("stopping: open requests get their answers; a second signal ends at once");
            running.stop(&self.state, true);
        }
    }
}

impl RunningParts {
    fn stop(self, state: &SharedState, waits: bool) {
        state.draining.store(true, Ordering::SeqCst);
        let Self { runtime, stop, accepting, watching, workers } = self;
        if let Some(watching) = watching {
            watching.abort();
        }
        let _ = stop.send(true);
        let is_drained = waits && runtime.block_on(rlar_http::is_drained(accepting));
        state.queue.close();
        if is_drained {
            // What still waits is for clients that have gone; its scores enter the cache.
            for worker in workers {
                let _ = worker.join();
            }
        }
        runtime.shutdown_background();
    }
}

impl Drop for RewardServer {
    /// Stops without waiting for answers.
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop(&self.state, false);
        }
    }
}

/// Loads the library again whenever its folder has changed.
async fn watch(state: ServeState, folder: std::path::PathBuf, mut seen: FolderState, every: std::time::Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let looking = tokio::task::spawn_blocking({
            let folder = folder.clone();
            move || FolderState::read(&folder)
        });
        let Ok(now) = looking.await else { continue };
        if now != seen {
            // The reason of a failure is in the log; the next change is another chance.
            let _ = reload_apart(&state).await;
            seen = now;
        }
    }
}
