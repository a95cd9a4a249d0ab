//! How a client reaches a server and how long it waits.

use std::time::Duration;

use rlar_net::Secret;

/// How a client reaches a server and how long it waits.
#[derive(Clone, Debug)]
pub struct TinkerSettings {
    /// The server's address, such as `http://127.0.0.1:8000`, without `/api/v1`.
    pub url: String,
    /// The key that is sent as `X-API-Key`; `None` sends none.
    pub key: Option<Secret>,
    /// How long the client waits for what.
    pub deadlines: Deadlines,
    /// How often a request is sent again.
    pub retries: Retries,
    /// Time between two heartbeats of a session. SkyRL forgets a session after 300 s without one.
    pub heartbeat: Duration,
}

impl TinkerSettings {
    /// The default waits for a server, without a key.
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            key: None,
            deadlines: Deadlines::default(),
            retries: Retries::default(),
            heartbeat: Duration::from_secs(10),
        }
    }
}

/// How long the client waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// For the answer to one try of a request. The answer acknowledges work, it does not wait for it.
    pub answer: Duration,
    /// For one question after a result. Servers hold the question for minutes while they work, but what lies between drops
    /// connections that are silent for long, so the client asks again after this time.
    pub poll: Duration,
    /// For a result, with all questions. The first pass of a server can take minutes, because it compiles.
    pub result: Duration,
    /// For the download of an adapter.
    pub download: Duration,
    /// After the last heartbeat that the server answered, how long a session counts as alive.
    pub session: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            answer: Duration::from_mins(1),
            poll: Duration::from_secs(45),
            result: Duration::from_mins(30),
            download: Duration::from_mins(10),
            session: Duration::from_mins(5),
        }
    }
}

/// How often a request is sent again, where that is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Maximum number of tries in a row that fail; zero counts as one.
    pub tries: u32,
    /// The pause after the first failure. It doubles with every further one.
    pub first_pause: Duration,
    /// The longest pause.
    pub max_pause: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self { tries: 7, first_pause: Duration::from_millis(500), max_pause: Duration::from_secs(15) }
    }
}

impl Retries {
    /// The pause after `failures` tries in a row failed, counted from 1.
    pub(crate) fn pause(&self, failures: u32) -> Duration {
        self.first_pause.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1))).min(self.max_pause)
    }
}
