//! Sends a JSON value to an address, such as a webhook.

use std::time::Duration;

use serde_json::Value;

use crate::NetError;
use crate::http::{self, redacted};
use crate::retry::{RetryPolicy, with_retries};

/// Maximum number of times that a value is sent.
const TRIES: u32 = 3;

/// Posts a JSON value, and ignores what the answer says besides its status.
///
/// Status 429, 5xx and broken connections are retried after a growing pause, so the value may arrive more than once.
/// `deadline` covers all tries and pauses.
pub fn post_json(address: &str, value: &Value, deadline: Duration) -> Result<(), NetError> {
    let failed = |message: String| NetError::Request { address: redacted(address), message };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| failed(format!("cannot start the network runtime: {e}")))?;
    let client = http::builder().build().map_err(|e| failed(http::error_chain(e)))?;
    let policy = RetryPolicy { tries: TRIES, deadline, per_try: deadline / TRIES };
    let sent = runtime.block_on(with_retries(&policy, async |_| {
        let response = client.post(address).json(value).send().await.map_err(http::attempt_error)?;
        http::check_status(&response)
    }));
    sent.map_err(|e| failed(e.into_message()))
}
