//! Ctrl-C and SIGTERM: after the first signal the step in progress is finished, the second ends the program at once.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use crate::output::print_error;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Starts to watch for Ctrl-C and SIGTERM.
pub fn watch() -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot watch for Ctrl-C")?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            while signal().await.is_ok() {
                if INTERRUPTED.swap(true, Ordering::SeqCst) {
                    std::process::exit(1);
                }
                // Without standard error the step ends all the same.
                let _ = print_error("finishing this step; Ctrl-C again to stop at once\n");
            }
        });
    });
    Ok(())
}

/// The flag that the first Ctrl-C or SIGTERM sets.
pub fn flag() -> &'static AtomicBool {
    &INTERRUPTED
}

/// Whether the program was asked to stop.
pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

#[cfg(unix)]
async fn signal() -> std::io::Result<()> {
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminated.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn signal() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
