//! The requests that wait to be scored. Their number of items is bounded, and so is the time that they are expected to wait:
//! what is too much, or would be too late, is refused at once, not delayed.

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
    /// When the job entered the queue.
    pub queued: Instant,
    /// When no more scoring may begin.
    pub deadline: Instant,
    /// Gets one answer per item, in order. A closed one means that the client has gone.
    pub reply: oneshot::Sender<Vec<ItemAnswer>>,
    /// The id of the request, for log lines.
    pub request: String,
}

/// Why a job is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOff {
    /// Too many items wait.
    Full {
        /// Time after which there is probably room again.
        retry_after: Duration,
    },
    /// What waits will probably be scored only after the job's deadline.
    TooLate {
        /// How long the job would probably wait.
        wait: Duration,
        /// Time after which the job's deadline is probably long enough.
        retry_after: Duration,
    },
}

/// Longest time that a refused client is told to wait.
const MAX_RETRY: Duration = Duration::from_mins(1);

/// Share of what was measured that still counts after the next batch.
const KEPT: f64 = 0.9;

/// The queue of jobs, which workers take in batches.
#[derive(Debug)]
pub struct JobQueue {
    state: Mutex<QueueState>,
    changed: Condvar,
    capacity: usize,
    /// Number of threads that take jobs.
    workers: usize,
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
    /// Items of the latest batches, the older ones counting less.
    scored: f64,
    /// Seconds that workers needed for these items, added over the workers.
    busy: f64,
}

impl QueueState {
    /// How long a job that enters now will probably wait: the time that the workers need for what waits, or, when they are
    /// held up by what they score now, as long as the oldest job has waited already. 0 when nothing waits.
    fn expected_wait(&self, workers: usize) -> Duration {
        let Some(oldest) = self.jobs.front() else { return Duration::ZERO };
        let item = if self.scored > 0.0 { self.busy / self.scored } else { 0.0 };
        let work = Duration::try_from_secs_f64(self.waiting as f64 * item / workers as f64).unwrap_or(Duration::MAX);
        work.max(oldest.queued.elapsed())
    }
}

/// How full a queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLoad {
    /// Number of items that wait.
    pub waiting: usize,
    /// Number of items that are being scored.
    pub running: usize,
    /// How long an item that enters now will probably wait.
    pub expected_wait: Duration,
}

impl JobQueue {
    /// An empty queue in which at most `capacity` items wait for this many workers.
    pub fn new(capacity: usize, workers: usize) -> Self {
        let (capacity, workers) = (capacity.max(1), workers.max(1));
        Self { state: Mutex::default(), changed: Condvar::new(), capacity, workers }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a job with this many items would be taken now, whose scoring must begin within `time`. A job with more items
    /// than the queue holds is taken when nothing else waits.
    pub fn check(&self, items: usize, time: Duration) -> Result<(), PutOff> {
        self.check_locked(&self.lock(), items, time)
    }

    fn check_locked(&self, state: &QueueState, items: usize, time: Duration) -> Result<(), PutOff> {
        let wait = state.expected_wait(self.workers);
        if state.closed || (state.waiting > 0 && state.waiting + items > self.capacity) {
            return Err(PutOff::Full { retry_after: wait.min(MAX_RETRY) });
        }
        if wait >= time {
            return Err(PutOff::TooLate { wait, retry_after: wait.saturating_sub(time).min(MAX_RETRY) });
        }
        Ok(())
    }

    /// Adds a job, if [`Self::check`] takes it.
    pub fn push(&self, job: ScoringJob) -> Result<(), PutOff> {
        let mut state = self.lock();
        let count = job.items.len();
        self.check_locked(&state, count, job.deadline.saturating_duration_since(job.queued))?;
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
        state.scored = KEPT * state.scored + items as f64;
        state.busy = KEPT * state.busy + took.as_secs_f64();
    }

    /// Refuses further jobs; workers end when those that wait are done.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// How full the queue is.
    pub fn load(&self) -> QueueLoad {
        let state = self.lock();
        let expected_wait = state.expected_wait(self.workers);
        QueueLoad { waiting: state.waiting, running: state.running, expected_wait }
    }

    /// Largest number of items that may wait.
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}
