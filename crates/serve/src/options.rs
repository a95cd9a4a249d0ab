//! How a server is run: its address, its limits, and what it does when a format cannot say that a reply was not scored.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use rlar_data::ScoredPart;

use crate::auth::AccessToken;

/// What the formats of other engines answer for a reply without a reward, because they have no word for it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum OnFailure {
    /// An HTTP error (503), never a number.
    #[default]
    Error,
    /// The answer is held back while scoring is tried again; an HTTP error when the time is over.
    Hold,
    /// This number, which the user chose. The metric `rlar_chosen_values_total` counts such answers.
    Value(f64),
}

impl FromStr for OnFailure {
    type Err = String;

    /// Reads `error`, `hold` or `value=X` with a finite number.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "error" => return Ok(Self::Error),
            "hold" => return Ok(Self::Hold),
            _ => {}
        }
        let value = text.strip_prefix("value=").and_then(|number| number.parse::<f64>().ok());
        match value.filter(|value| value.is_finite()) {
            Some(value) => Ok(Self::Value(value)),
            None => Err(format!("`{text}` is none of `error`, `hold` and `value=X` with a finite number X")),
        }
    }
}

/// The options of a server.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Where the server accepts connections; port 0 stands for any free port. Addresses that are not loopback need a
    /// token.
    pub address: SocketAddr,
    /// The token that requests must carry; `None` lets in every process of this machine.
    pub token: Option<AccessToken>,
    /// Largest number of items that wait to be scored; at least 1. A request beyond it is answered with 429.
    pub queue: usize,
    /// Number of batches that are scored at once, and of programs of `/run_code`; at least 1.
    pub workers: usize,
    /// What formats answer that cannot say that a reply was not scored.
    pub on_failure: OnFailure,
    /// Largest share of a tool's latest 256 scores, from 0 to 1, that may fail; beyond it the tool is suspended.
    pub failure_limit: f64,
    /// An address to which alerts are posted as JSON: drifting rewards, and tools that are suspended; `None` for none.
    pub webhook: Option<String>,
    /// Which part of each reply is scored.
    pub scored: ScoredPart,
    /// Largest size of a request's body, in bytes.
    pub max_body: usize,
    /// Largest number of open connections, of which there may be fewer if the system allows too few open files; further
    /// ones wait until one closes.
    pub max_connections: usize,
    /// Longest time for the head of a request to arrive, and for which a connection may be idle. Clients of other engines
    /// keep their connections for up to a minute.
    pub head_timeout: Duration,
    /// Longest time for which a request's body may take to arrive.
    pub body_timeout: Duration,
    /// Longest time that a shutdown waits for requests that are being answered.
    pub drain: Duration,
    /// How often the library's folder is looked at; `None` leaves that to `POST /v1/reload`.
    pub watch: Option<Duration>,
}

impl Default for ServeOptions {
    /// Any free port of the loopback address without a token, 16,384 waiting items, 4 workers, and no number for a failure.
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            token: None,
            queue: 16_384,
            workers: 4,
            on_failure: OnFailure::Error,
            failure_limit: 0.5,
            webhook: None,
            scored: ScoredPart::default(),
            max_body: 16 << 20,
            max_connections: 4096,
            head_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(30),
            drain: Duration::from_mins(5),
            watch: Some(Duration::from_secs(2)),
        }
    }
}
