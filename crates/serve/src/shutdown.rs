//! What ends the server: SIGTERM, Ctrl-C, or the end of standard input. SIGHUP loads the library again.

use std::io;

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
    let mut stopped = std::pin::pin!(rlar_http::stop_signal());
    loop {
        tokio::select! {
            stopped = &mut stopped => return stopped,
            _ = hangup.recv() => {
                // What goes wrong is in the log.
                let _ = reload_apart(state).await;
            }
        }
    }
}

#[cfg(not(unix))]
async fn wait_for_signal(_: &ServeState) -> io::Result<()> {
    rlar_http::stop_signal().await
}
