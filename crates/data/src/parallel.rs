//! Work on all processor cores.

use std::num::NonZero;
use std::thread::{available_parallelism, scope};

/// Smallest number of items for which a thread is started.
const MIN_SHARE: usize = 256;

/// Splits `items` into one share for each processor core, calls `work` with all shares at the same time, and returns the
/// results in the order of the shares. Few items are one share. A panic of `work` becomes one of the caller.
///
/// The threads end with the call. Those that compute with tensors are others, because their number, on which sums depend,
/// must stay that of the run's start.
pub fn on_all_cores<T: Send, R: Send>(items: Vec<T>, work: impl Fn(Vec<T>) -> R + Sync) -> Vec<R> {
    // Asking for the number of cores reads files, which takes longer than the work on a few items.
    if items.len() <= MIN_SHARE {
        return vec![work(items)];
    }
    let cores = available_parallelism().map_or(1, NonZero::get);
    let share = items.len().div_ceil(cores).max(MIN_SHARE);
    let (mut shares, mut items) = (Vec::with_capacity(cores), items.into_iter());
    while items.len() > 0 {
        shares.push(items.by_ref().take(share).collect::<Vec<T>>());
    }
    let work = &work;
    scope(|scope| {
        let started: Vec<_> = shares.into_iter().map(|share| scope.spawn(move || work(share))).collect();
        started.into_iter().map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}
