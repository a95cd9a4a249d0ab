//! Signals: SIGTERM and Ctrl-C stop the server, SIGHUP loads the library again.

use std::io;

use tokio::task::JoinHandle;

use crate::server::ServeState;

/// Waits for the signal that stops the server, and loads the library again on every SIGHUP until then.
#[cfg(unix)]
pub async fn wait(state: &ServeState) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    use crate::server::reload_apart;

    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => {
                // What goes wrong is in the log.
                let _ = reload_apart(state).await;
            }
        }
    }
}

/// Waits for Ctrl-C.
#[cfg(not(unix))]
pub async fn wait(_: &ServeState) -> io::Result<()> {
    tokio::signal::ctrl_c().await
}

/// Waits until the requests that are being answered have their answers, which the task says that answers them. False if
/// it gave some up, or if a signal comes meanwhile.
pub async fn is_drained(task: JoinHandle<bool>) -> bool {
    tokio::select! {
        drained = task => drained.unwrap_or(false),
        () = second_signal() => {
            tracing::warn!("a second signal: the requests that are being answered are given up");
            false
        }
    }
}

#[cfg(unix)]
async fn second_signal() {
    use tokio::signal::unix::{SignalKind, signal};

    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        // Without signals there is no second one.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn second_signal() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}
