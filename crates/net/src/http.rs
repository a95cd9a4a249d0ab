//! What every request shares: a client, addresses without secrets, bodies with an end.

use std::error::Error;
use std::time::Duration;

use reqwest::{Client, ClientBuilder, Response, StatusCode, Url};

/// A client's settings; the caller adds its own.
pub(crate) fn builder() -> ClientBuilder {
    // Another part of the process may have chosen a provider: then that one serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().connect_timeout(Duration::from_secs(10))
}

/// An address without what may be secret: user, password, query and fragment.
pub(crate) fn redacted(address: &str) -> String {
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

/// Whether the same request may succeed later.
pub(crate) fn is_busy(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}

/// What an error says, with its causes ("error sending request" alone helps nobody) and without the address.
pub(crate) fn cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// Reads a body of at most `longest` bytes; `None` if it is longer.
pub(crate) async fn body(reply: &mut Response, longest: u64) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = reply.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() as u64 > longest {
            return Ok(None);
        }
    }
    Ok(Some(body))
}
