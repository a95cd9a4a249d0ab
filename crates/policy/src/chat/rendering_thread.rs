//! Threads with a large stack, on which chat templates are rendered.

use std::cell::Cell;
use std::thread::Builder;

use crate::error::PolicyError;

/// Size of a rendering thread's stack, in bytes: enough for the deepest expression that fits into the longest template.
const STACK: usize = 1 << 29;

thread_local! {
    /// Whether this thread has the large stack.
    static IS_RENDERING: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` on a thread whose stack is large enough for any chat template, so that a deeply nested template of a
/// hostile model cannot overflow it. All conversations that `work` renders are rendered on that thread, and a template is
/// compiled once for all of them: without this, every rendering starts a thread of its own. Within `work`, the function
/// runs its own work on the same thread.
///
/// Fails if the thread cannot be started, or ends by a panic.
pub fn on_rendering_thread<R: Send>(work: impl FnOnce() -> R + Send) -> Result<R, PolicyError> {
    if IS_RENDERING.get() {
        return Ok(work());
    }
    let wrong = |what: String| PolicyError::Tokenizer(format!("chat template: {what}"));
    std::thread::scope(|scope| {
        let marked = || {
            IS_RENDERING.set(true);
            work()
        };
        let thread = Builder::new().stack_size(STACK).spawn_scoped(scope, marked);
        let thread = thread.map_err(|e| wrong(format!("cannot start a thread to render it: {e}")))?;
        thread.join().map_err(|_| wrong("rendering it failed".into()))
    })
}
