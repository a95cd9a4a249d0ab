//! The phases and calls of reward tools that a run has in progress at the moment, for the display of its progress.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time after which a call of a reward tool that is still scoring is shown to the user as slow.
const SLOW: Duration = Duration::from_secs(2);

/// What a run is doing at the moment, for people to read. The parts of the run write to it, and a progress bar shows
/// it; clones are the same activity.
#[derive(Clone, Debug, Default)]
pub struct Activity(Arc<Mutex<Vec<Arc<Work>>>>);

/// Work in progress: a phase, or a call of a tool.
#[derive(Debug)]
struct Work {
    kind: WorkKind,
    name: String,
    /// Name of the items that are counted, such as `replies`.
    unit: &'static str,
    /// Number of items to be done; 0 for a phase without a known number.
    total: usize,
    done: AtomicUsize,
    tokens: AtomicUsize,
    begun: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WorkKind {
    Phase,
    Tool,
}

/// Keeps a phase of a run, or a call of a reward tool, in progress: it ends when this value is dropped.
#[derive(Debug)]
pub struct OngoingWork {
    activity: Activity,
    work: Arc<Work>,
}

impl Activity {
    /// Begins the phase `name`, such as `sampling`, which ends when the returned value is dropped. `total` is the
    /// number of items to be done, of the kind `unit`, such as `replies`; with 0, no such number is shown.
    pub fn phase(&self, name: &str, total: usize, unit: &'static str) -> OngoingWork {
        self.begin(WorkKind::Phase, name, total, unit)
    }

    /// Begins a call of the reward tool `name` that scores `replies` replies. The call ends when the returned value is
    /// dropped.
    pub fn tool(&self, name: &str, replies: usize) -> OngoingWork {
        self.begin(WorkKind::Tool, name, replies, "replies")
    }

    fn begin(&self, kind: WorkKind, name: &str, total: usize, unit: &'static str) -> OngoingWork {
        let work = Arc::new(Work {
            kind,
            name: name.to_owned(),
            unit,
            total,
            done: AtomicUsize::new(0),
            tokens: AtomicUsize::new(0),
            begun: Instant::now(),
        });
        self.lock().push(Arc::clone(&work));
        OngoingWork { activity: self.clone(), work }
    }

    /// One line about the work that is in progress at `now`: the reward tool that has been scoring for the longest
    /// time, if that is more than two seconds, then all phases. Empty if there is neither.
    pub fn describe(&self, now: Instant) -> String {
        let works = self.lock();
        let slow = works.iter().filter(|w| w.kind == WorkKind::Tool && now.duration_since(w.begun) > SLOW);
        let slowest = slow.min_by_key(|w| w.begun).map(|w| {
            let seconds = now.duration_since(w.begun).as_secs();
            format!("`{}` has been scoring {} {} for {seconds} s", w.name, w.total, w.unit)
        });
        let phases = works.iter().filter(|w| w.kind == WorkKind::Phase).map(|w| w.phase());
        slowest.into_iter().chain(phases).collect::<Vec<_>>().join(", ")
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Work>>> {
        // A thread that panicked cannot have left the list half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work {
    fn phase(&self) -> String {
        let Self { name, unit, total, .. } = self;
        let (done, tokens) = (self.done.load(Ordering::Relaxed), self.tokens.load(Ordering::Relaxed));
        match (total, tokens) {
            (0, 0) => name.clone(),
            (0, _) => format!("{name} ({tokens} tokens)"),
            (_, 0) => format!("{name} {done}/{total} {unit}"),
            _ => format!("{name} {done}/{total} {unit} ({tokens} tokens)"),
        }
    }
}

impl OngoingWork {
    /// Counts `n` more items, such as replies, as done.
    pub fn add(&self, n: usize) {
        self.work.done.fetch_add(n, Ordering::Relaxed);
    }

    /// Sets the number of items, such as replies, that are done to `n`.
    pub fn set(&self, n: usize) {
        self.work.done.store(n, Ordering::Relaxed);
    }

    /// Adds 1 to the number of tokens that is shown for the work, such as tokens sampled so far.
    pub fn add_token(&self) {
        self.work.tokens.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets the number of tokens that is shown for the work, such as tokens sampled so far, to `n`.
    pub fn set_tokens(&self, n: usize) {
        self.work.tokens.store(n, Ordering::Relaxed);
    }
}

impl Drop for OngoingWork {
    fn drop(&mut self) {
        self.activity.lock().retain(|work| !Arc::ptr_eq(work, &self.work));
    }
}
