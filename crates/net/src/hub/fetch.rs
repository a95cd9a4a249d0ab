//! Downloads the bytes of one file, with as many requests as necessary.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Instant;

use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE};
use reqwest::{Method, Response, StatusCode, Url};

use crate::http::redacted;
use crate::hub::cache::Cache;
use crate::hub::connection::{RequestContext, header_text, time_left};
use crate::hub::{DownloadProgress, Hub, HubError, digest, lock};
use crate::retry::{AttemptError, RetryPolicy};

/// A file on the Hub, with the hash and size that the Hub announced.
pub(crate) struct RemoteFile {
    pub address: Url,
    /// The model's id.
    pub id: String,
    pub commit: String,
    /// The file's path in the model.
    pub name: String,
    /// The SHA-256 (64 digits) of a file in Git LFS, or else the git blob id (SHA-1, 40 digits).
    pub hash: String,
    /// The size of the file, in bytes.
    pub size: u64,
}

impl RemoteFile {
    fn progress(&self, done: u64) -> DownloadProgress<'_> {
        DownloadProgress { name: &self.name, done, total: self.size }
    }

    fn has_size_of(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() == self.size)
    }
}

/// A file on disk of which a part has been downloaded.
struct PartialFile<'a> {
    path: &'a Path,
    file: File,
    /// Number of bytes written so far.
    length: u64,
}

impl<'a> PartialFile<'a> {
    /// Opens or creates a file, to continue after its last byte. A file that is longer than `max_bytes` is emptied
    /// first.
    fn open(path: &'a Path, max_bytes: u64) -> Result<Self, HubError> {
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(HubError::io(path))?;
        let length = file.metadata().map_err(HubError::io(path))?.len();
        let mut partial = Self { path, file, length };
        if length > max_bytes {
            partial.clear()?;
        }
        partial.file.seek(SeekFrom::Start(partial.length)).map_err(HubError::io(path))?;
        Ok(partial)
    }

    fn clear(&mut self) -> Result<(), HubError> {
        self.length = 0;
        let cleared = self.file.set_len(0).and_then(|()| self.file.rewind());
        cleared.map_err(HubError::io(self.path))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        self.file.write_all(bytes).map_err(HubError::io(self.path))?;
        self.length += bytes.len() as u64;
        Ok(())
    }
}

impl Hub {
    /// Downloads the bytes of a file into the cache, unless they are there already. A lock keeps other processes and
    /// threads from downloading the same bytes at the same time.
    pub(crate) async fn fetch(
        &self,
        cache: &Cache,
        file: &RemoteFile,
        deadline: Instant,
        progress: &mut dyn FnMut(&DownloadProgress<'_>),
    ) -> Result<(), HubError> {
        let blob = cache.blob(&file.hash);
        let _lock = lock::acquire(&cache.lock(&file.hash), deadline).await?;
        // Where there are no links, whoever held the lock before may have moved the bytes into the snapshot already.
        if file.has_size_of(&blob) || cache.has(&file.commit, &file.name) {
            progress(&file.progress(file.size));
            return Ok(());
        }
        let path = cache.incomplete(&file.hash);
        loop {
            let mut partial = PartialFile::open(&path, file.size)?;
            let was_resumed = partial.length > 0;
            self.fill(&mut partial, file, deadline, progress).await?;
            let found = if file.hash.len() == 64 { digest::lfs(&path) } else { digest::git(&path) };
            let found = found.map_err(HubError::io(&path))?;
            if found == file.hash {
                let moved = partial.file.sync_all().and_then(|()| fs::rename(&path, &blob));
                return moved.map_err(HubError::io(&blob));
            }
            fs::remove_file(&path).map_err(HubError::io(&path))?;
            // The hash is wrong, perhaps because of the bytes of an earlier download: try once more from the first
            // byte.
            if !was_resumed {
                let RemoteFile { id, name, hash, .. } = file;
                let (id, name, expected) = (id.clone(), name.clone(), hash.clone());
                return Err(HubError::Damaged { id, name, expected, found });
            }
        }
    }

    /// Requests the missing bytes of a file until it is complete. When all tries have failed but brought new bytes, the
    /// tries are counted from the beginning again.
    async fn fill(
        &self,
        partial: &mut PartialFile<'_>,
        file: &RemoteFile,
        deadline: Instant,
        progress: &mut dyn FnMut(&DownloadProgress<'_>),
    ) -> Result<(), HubError> {
        let context = RequestContext::new(&file.id, &file.commit, Some(&file.name));
        progress(&file.progress(partial.length));
        while partial.length < file.size {
            let before = partial.length;
            let attempt = async || self.fill_once(partial, file, &context, progress).await;
            // A large file may take the whole deadline, so a single try is ended only by the idle timeout.
            let (deadline, per_try) = (time_left(deadline), time_left(deadline));
            let policy = RetryPolicy { tries: self.0.settings.tries, deadline, per_try };
            match self.0.request_with(&file.address, &context, &policy, attempt).await {
                Err(HubError::Request { .. }) if partial.length > before => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Sends one request for the missing bytes, and writes those that arrive.
    async fn fill_once(
        &self,
        partial: &mut PartialFile<'_>,
        file: &RemoteFile,
        context: &RequestContext<'_>,
        progress: &mut dyn FnMut(&DownloadProgress<'_>),
    ) -> Result<(), AttemptError<HubError>> {
        let from = (partial.length > 0).then_some(partial.length);
        let idle_timeout = self.0.settings.idle_timeout;
        let idle = || AttemptError::retry(format!("no byte was received within {} s", idle_timeout.as_secs_f64()));
        let sent = tokio::time::timeout(idle_timeout, self.0.send(&Method::GET, &file.address, from, context)).await;
        let mut response = sent.map_err(|_| idle())??.response;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            partial.clear().map_err(AttemptError::Fatal)?;
            let message = "the server cannot continue the download where it stopped; the download starts again";
            return Err(AttemptError::retry(message.into()));
        }
        if response.status() != StatusCode::PARTIAL_CONTENT {
            partial.clear().map_err(AttemptError::Fatal)?;
        }
        check_announced(&response, partial.length, file.size).map_err(|message| {
            let address = redacted(response.url().as_str());
            AttemptError::Fatal(HubError::Reply { address, message })
        })?;
        while partial.length < file.size {
            let chunk = tokio::time::timeout(idle_timeout, response.chunk()).await.map_err(|_| idle())?;
            let Some(chunk) = chunk.map_err(|e| self.0.connection_error(e))? else {
                let message = format!("the response ended after {} of {} bytes", partial.length, file.size);
                return Err(AttemptError::retry(message));
            };
            // Bytes beyond the announced size are dropped: the hash shows whether the file is right without them.
            let room = usize::try_from(file.size - partial.length).unwrap_or(usize::MAX);
            partial.append(&chunk[..chunk.len().min(room)]).map_err(AttemptError::Fatal)?;
            progress(&file.progress(partial.length));
        }
        Ok(())
    }
}

/// Checks by the headers of a response that the file has `size` bytes, as the Hub announced, and that a partial
/// response (status 206) goes from byte `from` to the end of the file. The error says what is wrong.
fn check_announced(response: &Response, from: u64, size: u64) -> Result<(), String> {
    let headers = response.headers();
    if response.status() == StatusCode::PARTIAL_CONTENT {
        let range = header_text(headers, CONTENT_RANGE.as_str()).unwrap_or_default();
        let expected = format!("bytes {from}-{}/{size}", size - 1);
        return if range == expected { Ok(()) } else { Err(format!("Content-Range is {range:?}, not {expected:?}")) };
    }
    let length = header_text(headers, CONTENT_LENGTH.as_str()).and_then(|n| n.parse::<u64>().ok());
    match length.filter(|length| *length != size) {
        Some(length) => Err(format!("the file was announced with {size} bytes, and the response has {length}")),
        None => Ok(()),
    }
}
