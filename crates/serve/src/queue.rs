//! The requests that wait to be scored. Their number of items is bounded; what is too much is refused, not delayed.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::intake::ReadyItem;
use crate::served_library::ServedLibrary;
use crate::wire::ItemAnswer;

/// The items of one request that are to be scored together.
#[derive(Debug)]
pub struct ScoringJob {
    /// The library whose tools score.
    pub library: Arc<ServedLibrary>,
    /// The items, at least one.
    pub items: Vec<ReadyItem>,
    /// When no more scoring may begin.
    pub deadline: Instant,
    /// Gets one answer per item, in order. A closed one means that the client has gone.
    pub reply: oneshot::Sender<Vec<ItemAnswer>>,
    /// The id of the request, for log lines.
    pub request: String,
}

/// A request that finds the queue full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull {
    /// Time after which there is probably room again.
    pub retry_after: Duration,
}

/// The queue of jobs, which workers take in batches.
#[derive(Debug)]
pub struct JobQueue {
    state: Mutex<QueueState>,
    changed: Condvar,
    capacity: usize,
}

#[derive(Debug, Default)]
struct QueueState {
    jobs: VecDeque<ScoringJob>,
    /// Number of items of `jobs`.
    waiting: usize,
    /// Number of items that are being scored.
    running: usize,
    /// Whether no more jobs come, so that workers end when the queue is empty.
    closed: bool,
    /// Scored items per second and worker lately; 0 before the first batch.
    rate: f64,
}

/// How full a queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLoad {
    /// Number of items that wait.
    pub waiting: usize,
    /// Number of items that are being scored.
    pub running: usize,
}

impl JobQueue {
    /// An empty queue in which at most `capacity` items wait.
    pub fn new(capacity: usize) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), capacity: capacity.max(1) }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job. A job with more items than the queue holds is taken when nothing else waits.
    pub fn push(&self, job: ScoringJob) -> Result<(), QueueFull> {
        let mut state = self.lock();
        let count = job.items.len();
        if state.closed || (state.waiting > 0 && state.waiting + count > self.capacity) {
            let seconds = if state.rate > 0.0 { state.waiting as f64 / state.rate } else { 1.0 };
            return Err(QueueFull { retry_after: Duration::from_secs_f64(seconds.clamp(1.0, 60.0)) });
        }
        state.waiting += count;
        state.jobs.push_back(job);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Takes the oldest job, and further ones with the same library while they have at most `most` items together. Waits for
    /// a job; `None` when the queue is closed and empty.
    pub fn take(&self, most: usize) -> Option<Vec<ScoringJob>> {
        let mut state = self.lock();
        loop {
            if let Some(first) = state.jobs.pop_front() {
                let mut count = first.items.len();
                let mut taken = vec![first];
                while let Some(next) = state.jobs.front() {
                    if count + next.items.len() > most || !Arc::ptr_eq(&next.library, &taken[0].library) {
                        break;
                    }
                    count += next.items.len();
                    taken.extend(state.jobs.pop_front());
                }
                state.waiting -= count;
                state.running += count;
                return Some(taken);
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Says that a batch of this many items is done, and how long it took.
    pub fn done(&self, items: usize, took: Duration) {
        let mut state = self.lock();
        state.running = state.running.saturating_sub(items);
        let rate = items as f64 / took.as_secs_f64().max(1e-6);
        state.rate = if state.rate > 0.0 { 0.8 * state.rate + 0.2 * rate } else { rate };
    }

    /// Refuses further jobs; workers end when those that wait are done.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// How full the queue is.
    pub fn load(&self) -> QueueLoad {
        let state = self.lock();
        QueueLoad { waiting: state.waiting, running: state.running }
    }

    /// Largest number of items that may wait.
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}
