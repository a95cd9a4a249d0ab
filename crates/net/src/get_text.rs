//! Downloads a text into memory.

use std::time::Duration;

use crate::NetError;
use crate::http::{self, redacted};
use crate::retry::{AttemptError, RetryPolicy, tried, with_retries};

/// Maximum number of times that a text is requested.
const TRIES: u32 = 3;

/// Downloads a UTF-8 text of at most `max_bytes` bytes.
///
/// Status 429, 5xx and broken connections are retried after a growing pause. `deadline` covers all tries and pauses.
pub fn get_text(address: &str, max_bytes: u64, deadline: Duration) -> Result<String, NetError> {
    let failed = |message: String| NetError::Request { address: redacted(address), message };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| failed(format!("cannot start the network runtime: {e}")))?;
    let client = http::builder().build().map_err(|e| failed(http::error_chain(e)))?;
    // A long text may take the whole deadline, so a single try has no shorter limit.
    let policy = RetryPolicy { tries: TRIES, deadline, per_try: deadline };
    let text = runtime.block_on(with_retries(&policy, async |number| {
        let attempt = get_once(&client, address, max_bytes).await;
        attempt.map_err(|error| match error {
            AttemptError::Fatal(message) => AttemptError::Fatal(format!("{message} ({})", tried(number))),
            AttemptError::Retry { message, after } => {
                tracing::warn!("{}: {message} ({})", redacted(address), tried(number));
                AttemptError::Retry { message, after }
            }
        })
    }));
    text.map_err(|e| failed(e.into_message()))
}

/// Requests the text once.
async fn get_once(client: &reqwest::Client, address: &str, max_bytes: u64) -> Result<String, AttemptError<String>> {
    let mut response = client.get(address).send().await.map_err(http::attempt_error)?;
    http::check_status(&response)?;
    let body = http::read_body(&mut response, max_bytes).await.map_err(http::attempt_error)?;
    let body = body.ok_or_else(|| AttemptError::Fatal(format!("the response is longer than {max_bytes} bytes")))?;
    String::from_utf8(body).map_err(|_| AttemptError::Fatal("the response is not UTF-8 text".into()))
}
