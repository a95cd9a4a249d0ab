//! Downloading a model: what is asked, checked and written in which order.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::Method;
use rustix::fs::statvfs;

use crate::hub::cache::Cache;
use crate::hub::fetch::Piece;
use crate::hub::link::{About, left};
use crate::hub::model::Sibling;
use crate::hub::{Hub, HubError, names};

/// What a download may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one file.
    pub file: u64,
    /// Bytes of all files together, in the cache or not.
    pub all: u64,
    /// Time for everything.
    pub deadline: Duration,
}

impl Default for Limits {
    /// Any number of bytes within a day.
    fn default() -> Self {
        Self { file: u64::MAX, all: u64::MAX, deadline: Duration::from_hours(24) }
    }
}

/// How far a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The file.
    pub name: &'a str,
    /// Bytes that are there.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

impl Hub {
    /// Downloads files of a model, all of them if none is named, and gives the folder they are in.
    ///
    /// A branch or tag is made a commit first, and everything comes from that commit. Sizes are checked against the
    /// limits and the disk before a byte is asked for, and while bytes come. What was begun is continued, also after
    /// a kill; a file is in the cache only once its hash is right. `progress` hears of every piece that came.
    ///
    /// Nothing is asked where a whole commit is in the cache. Offline, the cache's last commit of a branch counts.
    pub fn download(
        &self,
        id: &str,
        revision: &str,
        names: &[&str],
        limits: &Limits,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<PathBuf, HubError> {
        names::id(id)?;
        names::revision(revision)?;
        names.iter().try_for_each(|name| names::file(name))?;
        let cache = Cache::of(&self.0.settings.cache, id);
        if self.0.settings.offline {
            return self.cached(&cache, id, revision, names);
        }
        let is_known = |commit: &String| Ok(!names.is_empty() || cache.tree(commit)?.is_some());
        if names::is_hash(revision, 40)
            && is_known(&revision.to_owned())?
            && let Ok(folder) = self.cached(&cache, id, revision, names)
        {
            return Ok(folder);
        }
        self.wait(self.get(&cache, (id, revision), names, limits, progress))
    }

    /// The folder of files that are all in the cache.
    fn cached(&self, cache: &Cache, id: &str, revision: &str, names: &[&str]) -> Result<PathBuf, HubError> {
        let commit = cache.commit(revision)?.filter(|commit| cache.snapshot(commit).is_dir());
        let commit = commit.ok_or_else(|| self.missing(format!("{id} at `{revision}`")))?;
        let listed = cache.tree(&commit)?.filter(|_| names.is_empty()).unwrap_or_default();
        let wanted = listed.iter().map(String::as_str).chain(names.iter().copied());
        match wanted.into_iter().find(|name| !cache.has(&commit, name)) {
            Some(name) => Err(self.missing(format!("{name} of {id} at `{revision}`"))),
            None => Ok(cache.snapshot(&commit)),
        }
    }

    async fn get(
        &self,
        cache: &Cache,
        (id, revision): (&str, &str),
        names: &[&str],
        limits: &Limits,
        progress: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<PathBuf, HubError> {
        let deadline = Instant::now().checked_add(limits.deadline).unwrap_or_else(far);
        let info = self.ask_info(id, revision, limits.deadline.min(self.0.settings.deadline)).await?;
        let wanted = chosen(id, &info.siblings, names)?;
        limits.check(id, wanted.iter().map(|f| (f.name.as_str(), f.size.unwrap_or_default())))?;
        let mut pieces = Vec::new();
        for file in &wanted {
            if !cache.has(&info.commit, &file.name) {
                pieces.push(self.ask_piece(id, &info.commit, file, deadline).await?);
            }
        }
        limits.check(id, pieces.iter().map(|p| (p.name.as_str(), p.size)))?;
        cache.prepare(&info.commit)?;
        room(cache, &pieces)?;
        cache.note_tree(&info.commit, &info.siblings)?;
        cache.refer(revision, &info.commit)?;
        for piece in &pieces {
            self.fetch(cache, piece, deadline, progress).await?;
            cache.link(&info.commit, &piece.name, &piece.hash)?;
        }
        Ok(cache.snapshot(&info.commit))
    }

    /// Asks for a file's hash and size, which must be those that the model's list has.
    async fn ask_piece(&self, id: &str, commit: &str, file: &Sibling, deadline: Instant) -> Result<Piece, HubError> {
        let address = self.file_address(id, commit, &file.name);
        let about = About::new(id, commit, Some(&file.name));
        let time = left(deadline).min(self.0.settings.deadline);
        let once = async || self.0.send(&Method::HEAD, &address, None, &about).await;
        let said = self.0.ask(&address, &about, time, once).await?.file;
        let wrong = |what: String| Err(self.0.unclear(&address, what));
        if said.commit.as_deref() != Some(commit) {
            return wrong(format!("X-Repo-Commit is {}", said.commit.as_deref().unwrap_or("missing")));
        }
        let hash = said.etag.unwrap_or_default();
        if !names::is_hash(&hash, 40) && !names::is_hash(&hash, 64) {
            return wrong(format!("the ETag {hash:?} is no hash of git or Git LFS"));
        }
        let Some(size) = said.size.or(file.size) else { return wrong("it does not say the size".into()) };
        if file.size.is_some_and(|listed| listed != size) || file.hash().is_some_and(|listed| listed != hash) {
            return wrong(format!(
                "the file has another size or hash than the model's list says: {size} bytes, {hash}"
            ));
        }
        Ok(Piece { address, id: id.into(), commit: commit.into(), name: file.name.clone(), hash, size })
    }
}

impl Limits {
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

/// The files with some names, or all.
fn chosen<'a>(id: &str, files: &'a [Sibling], names: &[&str]) -> Result<Vec<&'a Sibling>, HubError> {
    if names.is_empty() {
        return Ok(files.iter().collect());
    }
    let find = |name: &&str| {
        let found = files.iter().find(|file| file.name == *name);
        found.ok_or_else(|| HubError::File { id: id.into(), name: (*name).into() })
    };
    names.iter().map(find).collect()
}

/// Whether the disk has room for what is not there yet.
fn room(cache: &Cache, pieces: &[Piece]) -> Result<(), HubError> {
    let length = |path: &Path| fs::metadata(path).map_or(0, |m| m.len());
    let missing = |piece: &Piece| {
        let is_there = cache.blob(&piece.hash).exists();
        if is_there { 0 } else { piece.size.saturating_sub(length(&cache.incomplete(&piece.hash))) }
    };
    let need = pieces.iter().map(missing).fold(0, u64::saturating_add);
    let path = cache.root();
    let disk = statvfs(path).map_err(|e| HubError::io(path)(e.into()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if need > free { Err(HubError::Disk { path: path.to_owned(), need, free }) } else { Ok(()) }
}

/// A deadline for those who set none that a clock can show.
fn far() -> Instant {
    Instant::now() + Duration::from_hours(24 * 365)
}
