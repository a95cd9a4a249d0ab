//! The signals that end a server.

use std::io;

use tokio::task::JoinHandle;

/// Waits for SIGTERM or Ctrl-C.
#[cfg(unix)]
pub async fn stop_signal() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

/// Waits for Ctrl-C.
#[cfg(not(unix))]
pub async fn stop_signal() -> io::Result<()> {
    tokio::signal::ctrl_c().await
}

/// Waits until the requests that are being answered have their answers, which the task says that answers them. False if
/// it gave some up, or if a signal comes meanwhile.
pub async fn is_drained(task: JoinHandle<bool>) -> bool {
    let second_signal = async {
        if stop_signal().await.is_err() {
            // Without signals there is no second one.
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        drained = task => drained.unwrap_or(false),
        () = second_signal => {
            tracing::warn!("a second signal: the requests that are being answered are given up");
            false
        }
    }
}
