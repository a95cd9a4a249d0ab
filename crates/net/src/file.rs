//! Downloading one file, whole and with the right hash or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::fetch::NetError;
use crate::http::{self, redacted};
use crate::hub::digest::hex;
use crate::retry::{Ended, Failure, Plan, persist, tried};
use crate::secret::Secret;

/// Time without a byte after which a connection counts as broken.
const SILENCE: Duration = Duration::from_mins(1);
/// Tries per file.
const TRIES: u32 = 4;

/// A file that is wanted.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Where it is.
    pub address: &'a str,
    /// Its SHA-256 in hexadecimal; any is right where nobody knows it.
    pub sha256: Option<&'a str>,
    /// Bytes that it may have.
    pub longest: u64,
    /// Who asks; a redirect to another host is not told.
    pub token: Option<&'a Secret>,
    /// Time for everything, retries included.
    pub deadline: Duration,
}

/// Downloads a file and gives its SHA-256. It is written beside `path` first and appears there only once its hash is right;
/// 429, 5xx and broken connections are tried again, from the beginning, after a growing pause. `progress` hears of the bytes
/// that are there and, where the server says it, of those that there will be.
pub fn get_file(wanted: &Wanted, path: &Path, progress: &mut dyn FnMut(u64, Option<u64>)) -> Result<String, NetError> {
    let failed = |message: String| NetError::Request { address: redacted(wanted.address), message };
    let disk = |path: &Path, e: std::io::Error| failed(format!("{}: {e}", path.display()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| failed(format!("cannot start the network runtime: {e}")))?;
    let client = http::builder().read_timeout(SILENCE).build().map_err(|e| failed(http::cause(e)))?;
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{}.part", std::process::id()));
    let part = PathBuf::from(part);
    let plan = Plan { tries: TRIES, deadline: wanted.deadline, each: wanted.deadline };
    let ended = runtime.block_on(persist(&plan, async |number| {
        let once = get_once(&client, wanted, &part, progress).await;
        once.map_err(|failure| match failure {
            Failure::Final(message) => Failure::Final(format!("{message} ({})", tried(number))),
            again @ Failure::Again(..) => again,
        })
    }));
    let hash = ended.map_err(|e| match e {
        Ended::Final(message) | Ended::Tries(message) | Ended::Deadline(message) => {
            let _ = fs::remove_file(&part);
            failed(message)
        }
    })?;
    fs::rename(&part, path).map_err(|e| disk(path, e))?;
    Ok(hash)
}

/// One try, which ends with the bytes on the disk.
async fn get_once(
    client: &reqwest::Client,
    wanted: &Wanted<'_>,
    part: &Path,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<String, Failure<String>> {
    let broken = |e: reqwest::Error| {
        if e.is_builder() { Failure::Final(http::cause(e)) } else { Failure::Again(http::cause(e), None) }
    };
    let disk = |e: std::io::Error| Failure::Final(format!("{}: {e}", part.display()));
    let mut request = client.get(wanted.address);
    if let Some(token) = wanted.token {
        request = request.bearer_auth(token.reveal());
    }
    let mut reply = request.send().await.map_err(broken)?;
    let status = reply.status();
    if !status.is_success() {
        let message = format!("the server answered {status}");
        return Err(if http::is_busy(status) { Failure::Again(message, None) } else { Failure::Final(message) });
    }
    let total = reply.content_length();
    let long = || Failure::Final(format!("the file is longer than {} bytes", wanted.longest));
    if total.is_some_and(|n| n > wanted.longest) {
        return Err(long());
    }
    let mut file = File::create(part).map_err(disk)?;
    let (mut hash, mut done) = (Sha256::new(), 0);
    while let Some(chunk) = reply.chunk().await.map_err(broken)? {
        done += chunk.len() as u64;
        if done > wanted.longest {
            return Err(long());
        }
        hash.update(&chunk);
        file.write_all(&chunk).map_err(disk)?;
        progress(done, total);
    }
    file.sync_all().map_err(disk)?;
    let found = hex(&hash.finalize());
    match wanted.sha256 {
        Some(right) if right != found => Err(Failure::Final(format!(
            "the file has the SHA-256 {found}, not {right}: it is damaged, or its origin has changed since the hash was written down"
        ))),
        _ => Ok(found),
    }
}
