//! Downloads one file to disk. The file appears there only once it is complete and its hash is right.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::NetError;
use crate::hex::hex;
use crate::http::{self, redacted};
use crate::retry::{AttemptError, RetryPolicy, tried, with_retries};
use crate::secret::Secret;

/// A connection that delivers no byte for this long counts as broken.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// Maximum number of times that a file is requested.
const TRIES: u32 = 4;

/// A file to download.
#[derive(Clone, Debug)]
pub struct FileDownload<'a> {
    /// The URL of the file.
    pub address: &'a str,
    /// The expected SHA-256 in lower-case hexadecimal; `None` accepts any content.
    pub sha256: Option<&'a str>,
    /// Largest allowed size of the file, in bytes; a larger file is an error.
    pub max_bytes: u64,
    /// The token that is sent as a bearer token to the host of `address`, and never to another host that a redirect
    /// points to; `None` sends no token.
    pub token: Option<&'a Secret>,
    /// Maximum time for all tries together with the pauses between them.
    pub deadline: Duration,
}

/// Downloads a file and returns its SHA-256 in hexadecimal.
///
/// The bytes go to a temporary file beside `path`, which is renamed to `path` only once the hash is right. Status 429,
/// 5xx and broken connections are retried from the first byte, after a growing pause. `progress` is called with the
/// bytes received so far and, if the server announced it, the size of the file.
pub fn get_file(
    download: &FileDownload,
    path: &Path,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<String, NetError> {
    let failed = |message: String| NetError::Request { address: redacted(download.address), message };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| failed(format!("cannot start the network runtime: {e}")))?;
    let client = http::builder().read_timeout(IDLE_TIMEOUT).build().map_err(|e| failed(http::error_chain(e)))?;
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{}.part", std::process::id()));
    let part = PathBuf::from(part);
    let policy = RetryPolicy { tries: TRIES, deadline: download.deadline, per_try: download.deadline };
    let hash = runtime.block_on(with_retries(&policy, async |number| {
        let attempt = get_once(&client, download, &part, progress).await;
        attempt.map_err(|error| match error {
            AttemptError::Fatal(message) => AttemptError::Fatal(format!("{message} ({})", tried(number))),
            retry @ AttemptError::Retry { .. } => retry,
        })
    }));
    let hash = hash.map_err(|e| {
        let _ = fs::remove_file(&part);
        failed(e.into_message())
    })?;
    fs::rename(&part, path).map_err(|e| failed(format!("{}: {e}", path.display())))?;
    Ok(hash)
}

/// Requests the file once: writes the response to `part`, synced to disk, and returns its hash.
async fn get_once(
    client: &reqwest::Client,
    download: &FileDownload<'_>,
    part: &Path,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<String, AttemptError<String>> {
    let disk = |e: std::io::Error| AttemptError::Fatal(format!("{}: {e}", part.display()));
    let mut request = client.get(download.address);
    if let Some(token) = download.token {
        request = request.bearer_auth(token.reveal());
    }
    let mut response = request.send().await.map_err(http::attempt_error)?;
    http::check_status(&response)?;
    let total = response.content_length();
    let too_long = || AttemptError::Fatal(format!("the file is longer than {} bytes", download.max_bytes));
    if total.is_some_and(|n| n > download.max_bytes) {
        return Err(too_long());
    }
    let mut file = File::create(part).map_err(disk)?;
    let (mut hasher, mut received) = (Sha256::new(), 0);
    while let Some(chunk) = response.chunk().await.map_err(http::attempt_error)? {
        received += chunk.len() as u64;
        if received > download.max_bytes {
            return Err(too_long());
        }
        hasher.update(&chunk);
        file.write_all(&chunk).map_err(disk)?;
        progress(received, total);
    }
    file.sync_all().map_err(disk)?;
    let hash = hex(&hasher.finalize());
    match download.sha256 {
        Some(expected) if expected != hash => Err(AttemptError::Fatal(format!(
            "the file has the SHA-256 {hash}, not {expected}: it is damaged, or it has changed at its origin since that hash was recorded"
        ))),
        _ => Ok(hash),
    }
}
