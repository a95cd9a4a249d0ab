//! A limit on the number of chats under way that adapts to what the server can take.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Limits the number of chats under way. The limit is between 1 and a maximum, at which it begins. It halves when the
/// server is overloaded, and grows by one after as many successes as its size (additive increase, multiplicative
/// decrease, as TCP does).
#[derive(Debug)]
pub struct AdaptiveLimit {
    state: Mutex<LimitState>,
    permits: Semaphore,
}

#[derive(Debug)]
struct LimitState {
    most: usize,
    limit: usize,
    /// Number of permits that are held beyond the limit. They are not given to others when they are returned.
    surplus: usize,
    /// Number of successes since the limit changed last.
    successes: usize,
    /// The number of the current round, from 0. A round ends when one of its requests finds the server overloaded.
    round: u64,
}

/// The permission for one chat, until it is dropped.
#[derive(Debug)]
pub struct ChatPermit<'a> {
    limit: &'a AdaptiveLimit,
    permit: Option<SemaphorePermit<'a>>,
}

impl AdaptiveLimit {
    /// A limit that begins at its maximum; zero counts as one.
    pub fn new(most: usize) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        let state = LimitState { most, limit: most, surplus: 0, successes: 0, round: 0 };
        Self { state: Mutex::new(state), permits: Semaphore::new(most) }
    }

    /// The number of chats that may be under way now.
    pub fn limit(&self) -> usize {
        self.state().limit
    }

    /// The number of the current round. A request remembers the round in which it began, for
    /// [`AdaptiveLimit::overloaded`]: if several requests of one round find the server overloaded, the limit is lowered
    /// only once.
    pub fn round(&self) -> u64 {
        self.state().round
    }

    /// Waits until fewer chats than the limit are under way. Those who wait are served in turn.
    pub async fn acquire(&self) -> ChatPermit<'_> {
        // The semaphore is never closed, so there is always a permit.
        ChatPermit { limit: self, permit: self.permits.acquire().await.ok() }
    }

    /// Lowers the maximum, for a server that says how many chats it takes; zero counts as one.
    pub fn cap(&self, most: usize) {
        let mut state = self.state();
        state.most = state.most.min(most.max(1));
        let most = state.most;
        self.lower(&mut state, most);
    }

    /// Halves the limit, because the server could not take a request that began in this round, and begins the next
    /// round. Returns the new limit; `None` if the limit stays, because another request of the same round has lowered
    /// it, or because it is 1.
    pub fn overloaded(&self, round: u64) -> Option<usize> {
        let mut state = self.state();
        if round != state.round {
            return None;
        }
        let (before, half) = (state.limit, (state.limit / 2).max(1));
        state.round += 1;
        self.lower(&mut state, half);
        (half < before).then_some(half)
    }

    /// Counts a request that the server has answered. After as many answers as the limit, the limit grows by one, up to
    /// its maximum.
    pub fn succeeded(&self) {
        let mut state = self.state();
        state.successes += 1;
        if state.limit < state.most && state.successes >= state.limit {
            state.limit += 1;
            state.successes = 0;
            if state.surplus > 0 {
                state.surplus -= 1;
            } else {
                self.permits.add_permits(1);
            }
        }
    }

    fn lower(&self, state: &mut LimitState, limit: usize) {
        let surplus = state.limit.saturating_sub(limit);
        state.limit -= surplus;
        state.successes = 0;
        state.surplus += surplus - self.permits.forget_permits(surplus);
    }

    fn state(&self) -> MutexGuard<'_, LimitState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ChatPermit<'_> {
    fn drop(&mut self) {
        let mut state = self.limit.state();
        if state.surplus > 0
            && let Some(permit) = self.permit.take()
        {
            state.surplus -= 1;
            permit.forget();
        }
    }
}
