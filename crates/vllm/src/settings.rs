//! How a client reaches a server and how long it waits.

use std::time::Duration;

use rlar_net::Secret;

/// How a client reaches a server and how long it waits.
#[derive(Clone, Debug)]
pub struct VllmSettings {
    /// The server's address, such as `http://127.0.0.1:8000`, without `/v1`.
    pub url: String,
    /// The key that is sent as `Authorization: Bearer`; `None` sends none.
    pub key: Option<Secret>,
    /// Longest time for a completion.
    pub completion: Duration,
    /// Longest time for a call that changes weights. Loading a large model from a network disk takes minutes.
    pub weights: Duration,
    /// Longest time for any other call.
    pub answer: Duration,
}

impl VllmSettings {
    /// The default waits for a server, without a key.
    pub fn new(url: &str) -> Self {
        let minutes = Duration::from_mins(10);
        Self { url: url.to_owned(), key: None, completion: minutes, weights: minutes, answer: Duration::from_mins(1) }
    }
}
