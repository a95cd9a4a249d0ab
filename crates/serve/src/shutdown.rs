//! What ends the server: SIGTERM, Ctrl-C, or the end of standard input. SIGHUP loads the library again.

use std::io;

use tokio::task::JoinHandle;

use crate::server::ServeState;

/// Waits for the signal that stops the server, and loads the library again on every SIGHUP until then. With `until_eof`, the
/// end of standard input stops the server as well.
pub async fn wait(state: &ServeState, until_eof: bool) -> io::Result<()> {
    if !until_eof {
        return wait_for_signal(state).await;
    }
    let (ended, end) = tokio::sync::oneshot::channel();
    // Reading cannot be interrupted, so it has a thread that nothing waits for.
    std::thread::Builder::new().name("stdin".into()).spawn(move || {
        // An input that cannot be read has ended, too.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = ended.send(());
    })?;
    tokio::select! {
        stopped = wait_for_signal(state) => stopped,
        _ = end => Ok(()),
    }
}

#[cfg(unix)]
async fn wait_for_signal(state: &ServeState) -> io::Result<()> {
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

#[cfg(not(unix))]
async fn wait_for_signal(_: &ServeState) -> io::Result<()> {
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
