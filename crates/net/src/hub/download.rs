//! Downloads a model: finds the commit of the revision, checks sizes, then downloads file after file into the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::Method;
use rustix::fs::statvfs;

use crate::hub::cache::Cache;
use crate::hub::connection::{RequestContext, time_left};
use crate::hub::fetch::RemoteFile;
use crate::hub::model::Sibling;
use crate::hub::{Hub, HubError, names};

/// Limits of one download of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HubLimits {
    /// Largest size of one file, in bytes.
    pub file: u64,
    /// Largest size of all requested files together, in bytes; files that are already in the cache count too.
    pub all: u64,
    /// Maximum time for the whole download.
    pub deadline: Duration,
}

impl Default for HubLimits {
    /// No limit on sizes, and one day for the download.
    fn default() -> Self {
        Self { file: u64::MAX, all: u64::MAX, deadline: Duration::from_hours(24) }
    }
}

/// How much of one file has been downloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DownloadProgress<'a> {
    /// The file's path in the model.
    pub name: &'a str,
    /// Number of bytes on disk, including those of an earlier download that was interrupted.
    pub done: u64,
    /// The file's size in bytes.
    pub total: u64,
}

impl Hub {
    /// Downloads files of a model and returns the folder that contains them. An empty `names` downloads all files.
    ///
    /// A branch or tag is replaced by its commit first, so that all files are of the same commit. Sizes are checked
    /// against the limits and the free disk space before the first file is requested. An interrupted download, also one
    /// whose process was killed, continues where it stopped, and a file enters the cache only once its hash is right.
    /// `progress` is called for every chunk that arrives.
    ///
    /// If `revision` is a commit and all requested files are in the cache, no request is sent. In offline mode, a
    /// branch or tag stands for the commit that it had at its last download.
    pub fn download(
        &self,
        id: &str,
        revision: &str,
        names: &[&str],
        limits: &HubLimits,
        progress: &mut dyn FnMut(&DownloadProgress),
    ) -> Result<PathBuf, HubError> {
        names::id(id)?;
        names::revision(revision)?;
        names.iter().try_for_each(|name| names::file(name))?;
        let cache = Cache::new(&self.0.settings.cache, id);
        if self.0.settings.offline {
            return self.cached(&cache, id, revision, names);
        }
        // If no file names are given, the cache must contain the list of the commit's files.
        if names::is_hash(revision, 40)
            && (!names.is_empty() || cache.tree(revision)?.is_some())
            && let Ok(folder) = self.cached(&cache, id, revision, names)
        {
            return Ok(folder);
        }
        self.wait(self.download_missing(&cache, (id, revision), names, limits, progress))
    }

    /// The snapshot folder that contains the requested files; [`HubError::Offline`] if one of them is not in the cache.
    fn cached(&self, cache: &Cache, id: &str, revision: &str, names: &[&str]) -> Result<PathBuf, HubError> {
        let commit = cache.commit(revision)?.filter(|commit| cache.snapshot(commit).is_dir());
        let commit = commit.ok_or_else(|| self.not_cached(format!("{id} at `{revision}`")))?;
        let listed = cache.tree(&commit)?.filter(|_| names.is_empty()).unwrap_or_default();
        let files = listed.iter().map(String::as_str).chain(names.iter().copied());
        match files.into_iter().find(|name| !cache.has(&commit, name)) {
            Some(name) => Err(self.not_cached(format!("{name} of {id} at `{revision}`"))),
            None => Ok(cache.snapshot(&commit)),
        }
    }

    /// Downloads the requested files that the cache lacks, and returns the snapshot folder.
    async fn download_missing(
        &self,
        cache: &Cache,
        (id, revision): (&str, &str),
        names: &[&str],
        limits: &HubLimits,
        progress: &mut dyn FnMut(&DownloadProgress<'_>),
    ) -> Result<PathBuf, HubError> {
        let deadline = Instant::now().checked_add(limits.deadline).unwrap_or_else(far_future);
        let info = self.request_info(id, revision, limits.deadline.min(self.0.settings.deadline)).await?;
        let requested = select(id, &info.siblings, names)?;
        limits.check(id, requested.iter().map(|f| (f.name.as_str(), f.size.unwrap_or_default())))?;
        let mut missing = Vec::new();
        for file in &requested {
            if !cache.has(&info.commit, &file.name) {
                missing.push(self.request_headers(id, &info.commit, file, deadline).await?);
            }
        }
        limits.check(id, missing.iter().map(|f| (f.name.as_str(), f.size)))?;
        cache.prepare(&info.commit)?;
        check_disk(cache, &missing)?;
        cache.write_tree(&info.commit, &info.siblings)?;
        cache.write_ref(revision, &info.commit)?;
        for file in &missing {
            // Where there are no links, another process may take the blob into its own snapshot in between.
            for last in [false, false, true] {
                let is_new = !cache.blob(&file.hash).exists();
                self.fetch(cache, file, deadline, progress).await?;
                match cache.place(&info.commit, &file.name, &file.hash, self.0.settings.symlinks, is_new) {
                    Err(error) if last => return Err(error),
                    Err(_) if !cache.blob(&file.hash).exists() && !cache.has(&info.commit, &file.name) => {}
                    Err(error) if !cache.has(&info.commit, &file.name) => return Err(error),
                    _ => break,
                }
            }
        }
        Ok(cache.snapshot(&info.commit))
    }

    /// Requests the hash and size of a file (HEAD). An error if they differ from those in the model's list of files.
    async fn request_headers(
        &self,
        id: &str,
        commit: &str,
        file: &Sibling,
        deadline: Instant,
    ) -> Result<RemoteFile, HubError> {
        let address = self.file_address(id, commit, &file.name);
        let context = RequestContext::new(id, commit, Some(&file.name));
        let time = time_left(deadline).min(self.0.settings.deadline);
        let attempt = async || self.0.send(&Method::HEAD, &address, None, &context).await;
        let headers = self.0.request(&address, &context, time, attempt).await?.file;
        let wrong = |what: String| Err(self.0.invalid(&address, what));
        if headers.commit.as_deref() != Some(commit) {
            return wrong(format!("X-Repo-Commit is {}", headers.commit.as_deref().unwrap_or("missing")));
        }
        let hash = headers.etag.unwrap_or_default();
        if !names::is_hash(&hash, 40) && !names::is_hash(&hash, 64) {
            return wrong(format!("the ETag {hash:?} is not a hash of git or Git LFS"));
        }
        let Some(size) = headers.size.or(file.size) else { return wrong("it does not give the size".into()) };
        if file.size.is_some_and(|listed| listed != size) || file.hash().is_some_and(|listed| listed != hash) {
            return wrong(format!("size and hash differ from the model's list of files: {size} bytes, {hash}"));
        }
        Ok(RemoteFile { address, id: id.into(), commit: commit.into(), name: file.name.clone(), hash, size })
    }
}

impl HubLimits {
    /// Gives [`HubError::TooLarge`] if a file, or all together, exceed a limit. `files` are names with sizes in bytes.
    fn check<'a>(&self, id: &str, files: impl Iterator<Item = (&'a str, u64)>) -> Result<(), HubError> {
        let mut all = 0_u64;
        for (name, bytes) in files {
            if bytes > self.file {
                return Err(HubError::TooLarge { what: format!("{name} of {id}"), bytes, limit: self.file });
            }
            all = all.saturating_add(bytes);
        }
        if all > self.all {
            return Err(HubError::TooLarge { what: format!("the download of {id}"), bytes: all, limit: self.all });
        }
        Ok(())
    }
}

/// The files with the given names, or all files if `names` is empty. [`HubError::File`] if a name is not in `files`.
fn select<'a>(id: &str, files: &'a [Sibling], names: &[&str]) -> Result<Vec<&'a Sibling>, HubError> {
    if names.is_empty() {
        return Ok(files.iter().collect());
    }
    let find = |name: &&str| {
        let found = files.iter().find(|file| file.name == *name);
        found.ok_or_else(|| HubError::File { id: id.into(), name: (*name).into() })
    };
    names.iter().map(find).collect()
}

/// Gives [`HubError::Disk`] if the disk has too little space for the bytes that are still to be downloaded.
fn check_disk(cache: &Cache, files: &[RemoteFile]) -> Result<(), HubError> {
    let length = |path: &Path| fs::metadata(path).map_or(0, |m| m.len());
    let missing_bytes = |file: &RemoteFile| {
        let is_cached = cache.blob(&file.hash).exists();
        if is_cached { 0 } else { file.size.saturating_sub(length(&cache.incomplete(&file.hash))) }
    };
    let need = files.iter().map(missing_bytes).fold(0, u64::saturating_add);
    let path = cache.root();
    let disk = statvfs(path).map_err(|e| HubError::io(path)(e.into()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if need > free { Err(HubError::Disk { path: path.to_owned(), need, free }) } else { Ok(()) }
}

/// A time one year from now, in place of a deadline that is too far away for an [`Instant`].
fn far_future() -> Instant {
    Instant::now() + Duration::from_hours(24 * 365)
}
