//! The error type of the crate.

/// Why a call of a vLLM server failed. Every message names the address, the call and what to do next. None contains the
/// key.
#[derive(Clone, Debug, thiserror::Error)]
pub enum VllmError {
    /// The settings cannot be used.
    #[error("{url}: {message}")]
    Settings {
        /// The address in the settings, without secrets.
        url: String,
        /// What is wrong, and what to write instead.
        message: String,
    },
    /// A server could not be started on this machine.
    #[error("`{command}` {message}")]
    Start {
        /// The command line.
        command: String,
        /// What happened, with the last lines of the log.
        message: String,
    },
    /// The request did not reach the server.
    #[error("{url}: {call}: no connection: {message}. Is the server running, and is this its address?")]
    Unreachable {
        /// The address of the server.
        url: String,
        /// The path of the call.
        call: &'static str,
        /// What went wrong.
        message: String,
    },
    /// The request may have reached the server, but no whole answer came back.
    #[error("{url}: {call}: {message}. Look at the server's log")]
    Lost {
        /// The address of the server.
        url: String,
        /// The path of the call.
        call: &'static str,
        /// What went wrong: a broken connection, or an answer that ends early.
        message: String,
    },
    /// The request may have reached the server, which gave no answer in time.
    #[error("{url}: {call}: no answer within {seconds} s. Look at the server's log")]
    Late {
        /// The address of the server.
        url: String,
        /// The path of the call.
        call: &'static str,
        /// How long the answer was waited for.
        seconds: f64,
    },
    /// The server failed: status 500 or above.
    #[error("{url}: {call}: the server failed with status {status}: {message}")]
    Failed {
        /// The address of the server.
        url: String,
        /// The path of the call.
        call: &'static str,
        /// The HTTP status.
        status: u16,
        /// The server's reason.
        message: String,
    },
    /// The server refuses the key: status 401 or 403.
    #[error(
        "{url}: {call}: the server refuses {key} (status {status}). Give the key with which `--api-key` started it"
    )]
    KeyRefused {
        /// The address of the server.
        url: String,
        /// The path of the call.
        call: &'static str,
        /// The HTTP status.
        status: u16,
        /// Which key: its environment variable, or that there is none.
        key: String,
    },
    /// The server does not have this call, because of how it was started, or because it is no vLLM server.
    #[error("{url}: {call}: the server does not know this call. {how}")]
    NoSuchCall {
        /// The address of the server.
        url: String,
        /// The path of the call.
        call: &'static str,
        /// How vLLM is started so that it has the call.
        how: &'static str,
    },
    /// The server refuses a request: another status below 500.
    #[error("{url}: {call}: the server answered {status}: {message}")]
    Refused {
        /// The address of the server.
        url: String,
        /// The path of the call.
        call: &'static str,
        /// The HTTP status.
        status: u16,
        /// The server's reason.
        message: String,
    },
    /// An answer is not what the protocol says.
    #[error("{url}: {call}: the answer cannot be used: {message}. Check the server's version")]
    Malformed {
        /// The address of the server.
        url: String,
        /// The path of the call.
        call: &'static str,
        /// What is wrong with the answer.
        message: String,
    },
    /// A log-prob is NaN or infinite. vLLM writes −9999 for both.
    #[error(
        "{url}: {call}: the log-prob of token {position} of the completion is not a finite number. The weights may contain \
         NaN: lower the learning rate, or compare the precision of server and trainer"
    )]
    NotFinite {
        /// The address of the server.
        url: String,
        /// The path of the call.
        call: &'static str,
        /// Index of the token in the completion, from 0.
        position: usize,
    },
    /// The server could not clear its prefix cache, so that it would go on with keys and values of other weights.
    #[error(
        "{url}: reset_prefix_cache: the server says that its prefix cache was not cleared. Other requests may hold it: give \
         rlar servers of its own"
    )]
    CacheNotReset {
        /// The address of the server.
        url: String,
    },
}

impl VllmError {
    /// Whether the state of the server's weights is unknown after this error of a call that changes them: the call was
    /// taken, or may have been.
    pub fn leaves_weights_unknown(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Lost { .. } | Self::Late { .. } | Self::Malformed { .. })
    }

    /// Whether every server would answer the same to this request.
    pub fn is_the_requests_fault(&self) -> bool {
        match self {
            Self::Settings { .. } | Self::KeyRefused { .. } | Self::NoSuchCall { .. } => true,
            Self::Refused { status, .. } => matches!(status, 400 | 422),
            _ => false,
        }
    }
}
