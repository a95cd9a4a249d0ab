//! Getting the bytes of one file, in as many pieces as it takes.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Instant;

use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE};
use reqwest::{Method, Response, StatusCode, Url};

use crate::http::redacted;
use crate::hub::cache::Cache;
use crate::hub::link::{About, left, text};
use crate::hub::{Hub, HubError, Progress, digest, lock};
use crate::retry::{Failure, Plan};

/// A file as the Hub announced it.
pub(crate) struct Piece {
    pub address: Url,
    pub id: String,
    pub commit: String,
    pub name: String,
    /// SHA-256 of 64 digits for what is in Git LFS, else git's SHA-1 of 40.
    pub hash: String,
    pub size: u64,
}

impl Piece {
    fn progress(&self, done: u64) -> Progress<'_> {
        Progress { name: &self.name, done, total: self.size }
    }

    fn is_whole(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() == self.size)
    }
}

/// A file that fills.
struct Vessel<'a> {
    path: &'a Path,
    file: File,
    done: u64,
}

impl<'a> Vessel<'a> {
    fn open(path: &'a Path, most: u64) -> Result<Self, HubError> {
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(HubError::io(path))?;
        let done = file.metadata().map_err(HubError::io(path))?.len();
        let mut vessel = Self { path, file, done };
        if done > most {
            vessel.empty()?;
        }
        vessel.file.seek(SeekFrom::Start(vessel.done)).map_err(HubError::io(path))?;
        Ok(vessel)
    }

    fn empty(&mut self) -> Result<(), HubError> {
        self.done = 0;
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(HubError::io(self.path))
    }

    fn pour(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        self.file.write_all(bytes).map_err(HubError::io(self.path))?;
        self.done += bytes.len() as u64;
        Ok(())
    }
}

impl Hub {
    /// Puts a file's bytes into the cache, unless they are there. One process at a time works on a file.
    pub(crate) async fn fetch(
        &self,
        cache: &Cache,
        piece: &Piece,
        deadline: Instant,
        progress: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<(), HubError> {
        let blob = cache.blob(&piece.hash);
        let _lock = lock::take(&cache.lock(&piece.hash), deadline).await?;
        if piece.is_whole(&blob) {
            progress(&piece.progress(piece.size));
            return Ok(());
        }
        let path = cache.incomplete(&piece.hash);
        loop {
            let mut vessel = Vessel::open(&path, piece.size)?;
            let was_begun = vessel.done > 0;
            self.fill(&mut vessel, piece, deadline, progress).await?;
            let found = if piece.hash.len() == 64 { digest::lfs(&path) } else { digest::git(&path) };
            let found = found.map_err(HubError::io(&path))?;
            if found == piece.hash {
                let moved = vessel.file.sync_all().and_then(|()| fs::rename(&path, &blob));
                return moved.map_err(HubError::io(&blob));
            }
            fs::remove_file(&path).map_err(HubError::io(&path))?;
            // What was there before may be what is wrong.
            if !was_begun {
                let Piece { id, name, hash, .. } = piece;
                let (id, name, expected) = (id.clone(), name.clone(), hash.clone());
                return Err(HubError::Damaged { id, name, expected, found });
            }
        }
    }

    /// Asks for what is missing, again and again while more comes.
    async fn fill(
        &self,
        vessel: &mut Vessel<'_>,
        piece: &Piece,
        deadline: Instant,
        progress: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<(), HubError> {
        let about = About::new(&piece.id, &piece.commit, Some(&piece.name));
        progress(&piece.progress(vessel.done));
        while vessel.done < piece.size {
            let before = vessel.done;
            let once = async || self.fill_once(vessel, piece, &about, progress).await;
            // A long file may need all the time there is; silence ends a try.
            let plan = Plan { tries: self.0.settings.tries, deadline: left(deadline), each: left(deadline) };
            match self.0.insist(&piece.address, &about, &plan, once).await {
                Err(HubError::Request { .. }) if vessel.done > before => {}
                ended => ended?,
            }
        }
        Ok(())
    }

    /// One request for what is missing.
    async fn fill_once(
        &self,
        vessel: &mut Vessel<'_>,
        piece: &Piece,
        about: &About<'_>,
        progress: &mut dyn FnMut(&Progress<'_>),
    ) -> Result<(), Failure<HubError>> {
        let from = (vessel.done > 0).then_some(vessel.done);
        let silent = || Failure::Again(format!("not a byte within {} s", self.0.settings.patience.as_secs_f64()), None);
        let patience = self.0.settings.patience;
        let sent = tokio::time::timeout(patience, self.0.send(&Method::GET, &piece.address, from, about)).await;
        let mut response = sent.map_err(|_| silent())??.response;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            vessel.empty().map_err(Failure::Final)?;
            return Err(Failure::Again("the server cannot continue there: the file is begun anew".into(), None));
        }
        if response.status() != StatusCode::PARTIAL_CONTENT {
            vessel.empty().map_err(Failure::Final)?;
        }
        announced(&response, vessel.done, piece.size).map_err(|message| {
            let address = redacted(response.url().as_str());
            Failure::Final(HubError::Reply { address, message })
        })?;
        while vessel.done < piece.size {
            let chunk = tokio::time::timeout(patience, response.chunk()).await.map_err(|_| silent())?;
            let Some(chunk) = chunk.map_err(|e| self.0.broken(e))? else {
                let message = format!("the answer ended after {} of {} bytes", vessel.done, piece.size);
                return Err(Failure::Again(message, None));
            };
            // What is beyond the announced end is not read: the hash says whether the file is right without it.
            let room = usize::try_from(piece.size - vessel.done).unwrap_or(usize::MAX);
            vessel.pour(&chunk[..chunk.len().min(room)]).map_err(Failure::Final)?;
            progress(&piece.progress(vessel.done));
        }
        Ok(())
    }
}

/// Whether an answer is the announced file from a byte on, as far as its headers say it; what is wrong if not.
fn announced(response: &Response, from: u64, size: u64) -> Result<(), String> {
    let headers = response.headers();
    if response.status() == StatusCode::PARTIAL_CONTENT {
        let range = text(headers, CONTENT_RANGE.as_str()).unwrap_or_default();
        let expected = format!("bytes {from}-{}/{size}", size - 1);
        return if range == expected { Ok(()) } else { Err(format!("Content-Range is {range:?}, not {expected:?}")) };
    }
    let length = text(headers, CONTENT_LENGTH.as_str()).and_then(|n| n.parse::<u64>().ok());
    match length.filter(|length| *length != size) {
        Some(length) => Err(format!("the file was announced with {size} bytes, and the answer has {length}")),
        None => Ok(()),
    }
}
