//! A runtime that does asynchronous network work for callers that block.

use tokio::runtime::{Builder, Handle, Runtime};

/// A tokio runtime with one worker thread, which does the network work of one client.
#[derive(Debug)]
pub struct BackgroundRuntime {
    handle: Handle,
    /// The runtime. `None` only while the struct is dropped.
    runtime: Option<Runtime>,
}

impl BackgroundRuntime {
    /// Starts the runtime with its thread. The error says why the thread cannot start.
    pub fn start() -> Result<Self, String> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|e| format!("cannot start the network runtime: {e}"))?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Runs `work` and blocks until it is done. Inside asynchronous code this is an error, because blocking there would
    /// stop every other task of the calling thread.
    pub fn wait<F: Future>(&self, work: F) -> Result<F::Output, String> {
        if Handle::try_current().is_ok() {
            return Err("this call blocks: make it from a thread that runs no asynchronous code".into());
        }
        Ok(self.handle.block_on(work))
    }
}

impl Drop for BackgroundRuntime {
    fn drop(&mut self) {
        // Dropping a `Runtime` waits for its threads, and doing so inside asynchronous code panics.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
