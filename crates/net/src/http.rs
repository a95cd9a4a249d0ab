//! Shared HTTP code: the client's defaults, addresses without secrets, error messages and bodies of limited size.

use std::error::Error;
use std::time::Duration;

use reqwest::{Client, ClientBuilder, Response, StatusCode, Url};

use crate::retry::AttemptError;

/// An HTTP client builder with the crate's defaults: TLS by rustls with the `ring` provider, and at most 10 s to
/// connect.
pub fn builder() -> ClientBuilder {
    // Fails if another part of the process has already installed a provider, which then serves here as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().connect_timeout(Duration::from_secs(10))
}

/// A URL without the parts that may be secret: user, password, query and fragment.
pub fn redacted(address: &str) -> String {
    match Url::parse(address) {
        Ok(mut url) => {
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.set_query(None);
            url.set_fragment(None);
            url.to_string()
        }
        Err(_) => "an address that cannot be parsed".into(),
    }
}

/// Whether the same request may succeed later: status 429 or 5xx.
pub(crate) fn is_retryable(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}

/// Gives an error for every status but success. The error can be retried if [`is_retryable`] holds for the status.
pub(crate) fn check_status(response: &Response) -> Result<(), AttemptError<String>> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let message = format!("the server answered {status}");
    Err(if is_retryable(status) { AttemptError::retry(message) } else { AttemptError::Fatal(message) })
}

/// Converts an error of `reqwest` to one that is retried, or to a fatal one if the request could not even be built.
pub(crate) fn attempt_error(error: reqwest::Error) -> AttemptError<String> {
    if error.is_builder() { AttemptError::Fatal(error_chain(error)) } else { AttemptError::retry(error_chain(error)) }
}

/// The message of an error followed by those of its causes, without the URL. The causes are needed because the
/// outermost message is only "error sending request".
pub fn error_chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// Reads the body of a response; `None` if the body is longer than `max_bytes` bytes.
pub async fn read_body(response: &mut Response, max_bytes: u64) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() as u64 > max_bytes {
            return Ok(None);
        }
    }
    Ok(Some(body))
}
