//! A network runtime for callers that block.

use tokio::runtime::{Builder, Handle, Runtime};

/// A tokio runtime with one worker thread, which does the network work of one client.
#[derive(Debug)]
pub(crate) struct BackgroundRuntime {
    handle: Handle,
    /// `None` only while this is dropped.
    runtime: Option<Runtime>,
}

impl BackgroundRuntime {
    /// Starts the thread; the error is a message.
    pub fn start() -> Result<Self, String> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|e| format!("cannot start the network runtime: {e}"))?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Blocks until `work` is done. Inside asynchronous code this is an error, because blocking there would stop every
    /// other task of the thread.
    pub fn wait<F: Future>(&self, work: F) -> Result<F::Output, String> {
        if Handle::try_current().is_ok() {
            return Err("this call blocks: make it from a thread that runs no asynchronous code".into());
        }
        Ok(self.handle.block_on(work))
    }
}

impl Drop for BackgroundRuntime {
    fn drop(&mut self) {
        // Dropping a `Runtime` waits for its threads, which panics inside asynchronous code.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
