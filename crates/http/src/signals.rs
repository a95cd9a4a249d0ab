//! The signals that end a server.

use std::io;

use tokio::task::JoinHandle;

/// SIGTERM and Ctrl-C. Once there is a value of this type, they no longer end the process by themselves.
#[derive(Debug)]
pub struct StopSignal {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl StopSignal {
    /// Takes the signals from here on. Needs a running tokio runtime.
    pub fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next signal, which may have come since [`StopSignal::listen`].
    pub async fn received(&mut self) -> io::Result<()> {
        tokio::select! {
            _ = self.interrupt.recv() => Ok(()),
            _ = self.terminate.recv() => Ok(()),
        }
    }
}

#[cfg(not(unix))]
impl StopSignal {
    /// Takes Ctrl-C.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for Ctrl-C.
    pub async fn received(&mut self) -> io::Result<()> {
        tokio::signal::ctrl_c().await
    }
}

/// Waits until the requests that are being answered have their answers, which the task says that answers them. False if
/// it gave some up, or if a signal comes meanwhile.
pub async fn is_drained(task: JoinHandle<bool>) -> bool {
    let second_signal = async {
        let received: io::Result<()> = async { StopSignal::listen()?.received().await }.await;
        if received.is_err() {
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
