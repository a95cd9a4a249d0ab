//! Which of several servers gets the next request: the one with the fewest in progress.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Number of requests in a row that fail before a server rests.
const FAILURES: u32 = 3;

/// How long a server rests. Then it gets one request, and others once that has succeeded.
const REST: Duration = Duration::from_secs(30);

/// How many requests each of several servers has in progress, and which of them fail. Servers are named by their index.
#[derive(Debug)]
pub struct LeastOutstanding {
    servers: Mutex<Vec<ServerLoad>>,
}

#[derive(Debug, Default)]
struct ServerLoad {
    /// Number of requests in progress.
    outstanding: usize,
    /// Number of requests in a row that failed.
    failures: u32,
    /// When the last of them failed.
    failed: Option<Instant>,
}

impl ServerLoad {
    fn is_resting(&self) -> bool {
        let is_recent = self.failed.is_some_and(|at| at.elapsed() < REST);
        self.failures >= FAILURES && (is_recent || self.outstanding > 0)
    }
}

/// A request that a server has in progress, until this is dropped.
#[derive(Debug)]
pub struct ServerLease<'a> {
    loads: &'a LeastOutstanding,
    index: usize,
}

impl LeastOutstanding {
    /// Servers without requests.
    pub fn new(servers: usize) -> Self {
        Self { servers: Mutex::new((0..servers).map(|_| ServerLoad::default()).collect()) }
    }

    /// Chooses the server for a request among those with these indices: one that has not `failed` on this request, that
    /// does not rest after failures on others, and of these the one with the fewest requests in progress. Where all have
    /// failed or rest, one of them is chosen nevertheless. `None` without any server.
    pub fn lease(&self, servers: impl IntoIterator<Item = usize>, failed: &[usize]) -> Option<ServerLease<'_>> {
        let mut loads = self.lock();
        let rank = |index: usize| {
            let load = loads.get(index)?;
            Some((failed.contains(&index), load.is_resting(), load.outstanding, index))
        };
        let (.., index) = servers.into_iter().filter_map(rank).min()?;
        loads[index].outstanding += 1;
        Some(ServerLease { loads: self, index })
    }

    /// Forgets the failures of a server, because it was mended.
    pub fn forget_failures(&self, index: usize) {
        if let Some(load) = self.lock().get_mut(index) {
            load.failures = 0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<ServerLoad>> {
        // No change of the counts can be left half done.
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerLease<'_> {
    /// The index of the server.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Says that the server has answered the request.
    pub fn succeeded(&self) {
        self.loads.forget_failures(self.index);
    }

    /// Says that the server has failed on the request. Returns whether it rests now, after too many failures in a row.
    pub fn failed(&self) -> bool {
        let load = &mut self.loads.lock()[self.index];
        load.failures = load.failures.saturating_add(1);
        load.failed = Some(Instant::now());
        load.failures >= FAILURES
    }
}

impl Drop for ServerLease<'_> {
    fn drop(&mut self) {
        let load = &mut self.loads.lock()[self.index];
        load.outstanding = load.outstanding.saturating_sub(1);
    }
}
