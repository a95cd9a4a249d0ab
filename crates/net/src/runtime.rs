//! Network work for callers that block.

use tokio::runtime::{Builder, Handle, Runtime};

/// A thread that does a client's network work.
#[derive(Debug)]
pub(crate) struct Background {
    handle: Handle,
    /// Taken when this is dropped.
    runtime: Option<Runtime>,
}

impl Background {
    /// Starts the thread, or says why not.
    pub fn start() -> Result<Self, String> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|e| format!("cannot start the network runtime: {e}"))?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Waits for an answer. In asynchronous code that is an error: waiting would stop everything else there.
    pub fn wait<F: Future>(&self, work: F) -> Result<F::Output, String> {
        if Handle::try_current().is_ok() {
            return Err("it blocks: ask from a thread that runs no asynchronous code".into());
        }
        Ok(self.handle.block_on(work))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // An ordinary drop would wait for the worker, which is forbidden in asynchronous code and panics there.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
