//! How long requests wait before a thread of the server reads them: when more connections have something to say than the
//! threads can serve, the queue of items stays short, and requests wait in their connections instead.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::yield_now;

use crate::server::ServeState;

/// Time between measurements while the threads have little to do. When they have more, one follows the other.
const EVERY: Duration = Duration::from_millis(20);

/// The delay of threads that have little to do.
const LITTLE: Duration = Duration::from_millis(1);

/// How long a task waits for a thread that works for others before it.
#[derive(Debug)]
pub struct ServingDelay {
    began: Instant,
    /// When the task that is measured was given to the threads, in microseconds from the beginning.
    given: AtomicU64,
    /// How long the last one waited, in microseconds.
    last: AtomicU64,
}

impl Default for ServingDelay {
    fn default() -> Self {
        Self { began: Instant::now(), given: AtomicU64::new(u64::MAX), last: AtomicU64::new(0) }
    }
}

impl ServingDelay {
    fn now(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }

    /// How long a request that is being read now has probably waited for a thread.
    pub fn get(&self) -> Duration {
        // A task that still waits has waited until now.
        let waits = self.now().saturating_sub(self.given.load(Ordering::Relaxed));
        Duration::from_micros(waits.max(self.last.load(Ordering::Relaxed)))
    }
}

/// Starts the thread that measures the delay until the server ends.
pub fn measure(state: &ServeState, threads: &Handle) -> io::Result<()> {
    let (state, threads) = (Arc::downgrade(state), threads.clone());
    let measure = move || {
        loop {
            let Some(state) = state.upgrade() else { return };
            let delay = &state.serving_delay;
            if delay.get() < LITTLE {
                thread::sleep(EVERY);
            }
            let (done, waiting) = channel();
            let given = delay.now();
            delay.given.store(given, Ordering::Relaxed);
            threads.spawn(async move {
                // A task from outside waits for those from outside, and then for those that the threads have of their own.
                yield_now().await;
                let delay = &state.serving_delay;
                delay.last.store(delay.now() - given, Ordering::Relaxed);
                delay.given.store(u64::MAX, Ordering::Relaxed);
                let _ = done.send(());
            });
            if waiting.recv().is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("delay".into()).spawn(measure).map(drop)
}
