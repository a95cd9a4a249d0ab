//! Fetching a text.

use std::time::Duration;

use crate::http::{self, redacted};
use crate::retry::{Ended, Failure, Plan, persist, tried};

/// What can go wrong on the network.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The request failed for good.
    #[error("{address}: {message}")]
    Request {
        /// The address, without user, password and query.
        address: String,
        /// What happened, after how many tries.
        message: String,
    },
}

/// Tries per request.
const TRIES: u32 = 3;

/// Fetches a text of at most `longest` bytes. The deadline covers everything, retries included; 429, 5xx
/// and broken connections are tried again after a growing pause.
pub fn get_text(address: &str, longest: u64, deadline: Duration) -> Result<String, NetError> {
    let failed = |message: String| NetError::Request { address: redacted(address), message };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| failed(format!("cannot start the network runtime: {e}")))?;
    let client = http::builder().build().map_err(|e| failed(http::cause(e)))?;
    // A long text may need all the time there is.
    let plan = Plan { tries: TRIES, deadline, each: deadline };
    let ended = runtime.block_on(persist(&plan, async |number| {
        let once = get_once(&client, address, longest).await;
        once.map_err(|failure| match failure {
            Failure::Final(message) => Failure::Final(format!("{message} ({})", tried(number))),
            Failure::Again(message, asked) => {
                tracing::warn!("{}: {message} ({})", redacted(address), tried(number));
                Failure::Again(message, asked)
            }
        })
    }));
    ended.map_err(|e| match e {
        Ended::Final(message) | Ended::Tries(message) | Ended::Deadline(message) => failed(message),
    })
}

/// One try.
async fn get_once(client: &reqwest::Client, address: &str, longest: u64) -> Result<String, Failure<String>> {
    let broken = |e: reqwest::Error| {
        if e.is_builder() { Failure::Final(http::cause(e)) } else { Failure::Again(http::cause(e), None) }
    };
    let mut reply = client.get(address).send().await.map_err(broken)?;
    let status = reply.status();
    if !status.is_success() {
        let message = format!("the server answered {status}");
        return Err(if http::is_busy(status) { Failure::Again(message, None) } else { Failure::Final(message) });
    }
    let body = http::body(&mut reply, longest).await.map_err(broken)?;
    let body = body.ok_or_else(|| Failure::Final(format!("the answer is longer than {longest} bytes")))?;
    String::from_utf8(body).map_err(|_| Failure::Final("the answer is not text".into()))
}
