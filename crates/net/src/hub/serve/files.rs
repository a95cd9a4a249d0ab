//! The bytes of files, whole or from a byte on.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use crate::hub::serve::access::{refusal, token};
use crate::hub::serve::shelf::{Entry, Model};
use crate::hub::serve::{Request, Response};

/// What of a file is asked for (RFC 9110, section 14).
enum Part {
    Whole,
    /// From a byte on, so many.
    Some(u64, u64),
    /// Nothing of it.
    None,
}

/// `/{id}/resolve/{revision}/{file}`: the file, or where Git LFS has it.
pub(crate) fn resolve(model: &Model, name: &str, request: &Request) -> Response {
    let Some(file) = model.file(name) else {
        return refusal(404, "EntryNotFound", "Entry not found").with("x-repo-commit", &model.commit);
    };
    if model.card.gated() != false && token(request).is_none() {
        let words =
            format!("Access to model {} is restricted. You must have access to it and be authenticated.", model.id);
        return refusal(401, "GatedRepo", &words);
    }
    let Some(lfs) = &file.lfs else { return send(model, file, request) };
    let to = format!("/lfs/{}/{}/{}", model.id, model.commit, lfs.sha256);
    about(Response::text(302, &format!("Found. Redirecting to {to}")).with("location", &to), model, file)
}

/// `/lfs/{id}/{commit}/{sha256}`: a file in Git LFS.
pub(crate) fn stored(model: &Model, hash: &str, request: &Request) -> Response {
    let is_it = |f: &&Entry| f.lfs.as_ref().is_some_and(|lfs| lfs.sha256 == hash);
    let gated = model.card.gated() != false && token(request).is_none();
    match model.files.iter().find(is_it).filter(|_| !gated) {
        Some(file) => send(model, file, request),
        None => refusal(404, "EntryNotFound", "Entry not found"),
    }
}

/// What the Hub says of a file in headers.
fn about(response: Response, model: &Model, file: &Entry) -> Response {
    let response = response.with("x-repo-commit", &model.commit).with("accept-ranges", "bytes");
    let response = response.with("etag", &format!("\"{}\"", file.etag()));
    match &file.lfs {
        Some(lfs) => {
            response.with("x-linked-etag", &format!("\"{}\"", lfs.sha256)).with("x-linked-size", &file.size.to_string())
        }
        None => response,
    }
}

fn send(model: &Model, file: &Entry, request: &Request) -> Response {
    let (from, length, status) = match part(request, file.size) {
        Part::Whole => (0, file.size, 200),
        Part::Some(from, length) => (from, length, 206),
        Part::None => {
            let response =
                Response::text(416, "the file ends before").with("content-range", &format!("bytes */{}", file.size));
            return about(response, model, file);
        }
    };
    let body = match open(file, from) {
        Ok(body) => body,
        Err(e) => {
            tracing::warn!("{}: {e}", file.path.display());
            return Response::text(500, "the file cannot be read");
        }
    };
    let mut response =
        Response { status, headers: Vec::new(), length: Some(length), body: Box::new(body.take(length)) };
    if status == 206 {
        let range = format!("bytes {from}-{}/{}", from + length - 1, file.size);
        response = response.with("content-range", &range);
    }
    about(response.with("content-type", "application/octet-stream"), model, file)
}

fn open(file: &Entry, from: u64) -> io::Result<File> {
    let mut opened = File::open(&file.path)?;
    opened.seek(SeekFrom::Start(from))?;
    Ok(opened)
}

/// Reads `Range`; several ranges, and what is none, ask for the whole file.
fn part(request: &Request, size: u64) -> Part {
    let range = request.header("range").and_then(|r| r.strip_prefix("bytes=")).and_then(|r| r.split_once('-'));
    match range.map(|(from, to)| (from.trim().parse::<u64>(), to.trim().parse::<u64>(), from.is_empty(), to.is_empty()))
    {
        Some((Ok(from), _, _, true)) if from < size => Part::Some(from, size - from),
        Some((Ok(from), Ok(to), _, _)) if from < size && from <= to => Part::Some(from, to.min(size - 1) - from + 1),
        Some((_, Ok(last), true, _)) if last > 0 && size > 0 => Part::Some(size - last.min(size), last.min(size)),
        Some((Ok(from), _, _, true) | (Ok(from), Ok(_), _, _)) if from >= size => Part::None,
        Some((_, Ok(0), true, _)) => Part::None,
        _ => Part::Whole,
    }
}
