//! What ends the server: SIGTERM, Ctrl-C, or the end of standard input. SIGHUP loads the library again.

use std::io;

use rlar_http::StopSignal;

use crate::server::ServeState;

/// The signals that a server answers. Once there is a value of this type, they no longer end the process by themselves.
#[derive(Debug)]
pub struct Signals {
    stop: StopSignal,
    #[cfg(unix)]
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    /// Takes the signals from here on. Needs a running tokio runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            stop: StopSignal::listen()?,
            #[cfg(unix)]
            hangup: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?,
        })
    }
}

/// Waits for the signal that stops the server, and loads the library again on every SIGHUP until then. With `until_eof`, the
/// end of standard input stops the server as well.
pub async fn wait(state: &ServeState, signals: Signals, until_eof: bool) -> io::Result<()> {
    if !until_eof {
        return wait_for_signal(state, signals).await;
    }
    let (ended, end) = tokio::sync::oneshot::channel();
    // Reading cannot be interrupted, so it has a thread that nothing waits for.
    std::thread::Builder::new().name("stdin".into()).spawn(move || {
        // An input that cannot be read has ended, too.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = ended.send(());
    })?;
    tokio::select! {
        stopped = wait_for_signal(state, signals) => stopped,
        _ = end => Ok(()),
    }
}

#[cfg(unix)]
async fn wait_for_signal(state: &ServeState, mut signals: Signals) -> io::Result<()> {
    use crate::server::reload_apart;

    loop {
        tokio::select! {
            stopped = signals.stop.received() => return stopped,
            _ = signals.hangup.recv() => {
                // What goes wrong is in the log.
                let _ = reload_apart(state).await;
            }
        }
    }
}

#[cfg(not(unix))]
async fn wait_for_signal(_: &ServeState, mut signals: Signals) -> io::Result<()> {
    signals.stop.received().await
}
