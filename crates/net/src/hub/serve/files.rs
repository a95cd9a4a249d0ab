//! Responses with the bytes of a file, or with a range of them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use crate::hub::serve::access::{error, token};
use crate::hub::serve::local_models::{LocalFile, LocalModel};
use crate::hub::serve::{HttpRequest, HttpResponse};

/// The part of a file that a request asks for (RFC 9110, section 14).
enum ByteRange {
    Whole,
    Range {
        /// The position of the first byte of the range.
        from: u64,
        /// Number of bytes in the range.
        length: u64,
    },
    /// A range that contains no byte of the file; the response has status 416.
    Unsatisfiable,
}

/// Answers `/{id}/resolve/{revision}/{file}` with the file, or with a redirect to `/lfs/…` for a file in Git LFS.
pub(crate) fn resolve(model: &LocalModel, name: &str, request: &HttpRequest) -> HttpResponse {
    let Some(file) = model.file(name) else {
        return error(404, "EntryNotFound", "Entry not found").with("x-repo-commit", &model.commit);
    };
    if model.card.gated() != false && token(request).is_none() {
        let message =
            format!("Access to model {} is restricted. You must have access to it and be authenticated.", model.id);
        return error(401, "GatedRepo", &message);
    }
    let Some(lfs) = &file.lfs else { return send(model, file, request) };
    let to = format!("/lfs/{}/{}/{}", model.id, model.commit, lfs.sha256);
    with_file_headers(
        HttpResponse::text(302, &format!("Found. Redirecting to {to}")).with("location", &to),
        model,
        file,
    )
}

/// Answers `/lfs/{id}/{commit}/{sha256}` with the file in Git LFS that has this hash.
pub(crate) fn stored(model: &LocalModel, hash: &str, request: &HttpRequest) -> HttpResponse {
    let has_hash = |f: &&LocalFile| f.lfs.as_ref().is_some_and(|lfs| lfs.sha256 == hash);
    let gated = model.card.gated() != false && token(request).is_none();
    match model.files.iter().find(has_hash).filter(|_| !gated) {
        Some(file) => send(model, file, request),
        None => error(404, "EntryNotFound", "Entry not found"),
    }
}

/// Adds the Hub's headers about a file to a response: commit, hash and size.
fn with_file_headers(response: HttpResponse, model: &LocalModel, file: &LocalFile) -> HttpResponse {
    let response = response.with("x-repo-commit", &model.commit).with("accept-ranges", "bytes");
    let response = response.with("etag", &format!("\"{}\"", file.etag()));
    match &file.lfs {
        Some(lfs) => {
            response.with("x-linked-etag", &format!("\"{}\"", lfs.sha256)).with("x-linked-size", &file.size.to_string())
        }
        None => response,
    }
}

/// The response with the part of a file that the request asks for.
fn send(model: &LocalModel, file: &LocalFile, request: &HttpRequest) -> HttpResponse {
    let (from, length, status) = match requested_range(request, file.size) {
        ByteRange::Whole => (0, file.size, 200),
        ByteRange::Range { from, length } => (from, length, 206),
        ByteRange::Unsatisfiable => {
            let response = HttpResponse::text(416, "the file ends before this range")
                .with("content-range", &format!("bytes */{}", file.size));
            return with_file_headers(response, model, file);
        }
    };
    let body = match open(file, from) {
        Ok(body) => body,
        Err(e) => {
            tracing::warn!("{}: {e}", file.path.display());
            return HttpResponse::text(500, "the file cannot be read");
        }
    };
    let mut response =
        HttpResponse { status, headers: Vec::new(), length: Some(length), body: Box::new(body.take(length)) };
    if status == 206 {
        let range = format!("bytes {from}-{}/{}", from + length - 1, file.size);
        response = response.with("content-range", &range);
    }
    with_file_headers(response.with("content-type", "application/octet-stream"), model, file)
}

/// Opens a file for reading from byte `from` on.
fn open(file: &LocalFile, from: u64) -> io::Result<File> {
    let mut opened = File::open(&file.path)?;
    opened.seek(SeekFrom::Start(from))?;
    Ok(opened)
}

/// Reads which part of a file the `Range` header asks for. Several ranges, or a header that is not a range of bytes,
/// give the whole file.
fn requested_range(request: &HttpRequest, size: u64) -> ByteRange {
    let range = request.header("range").and_then(|r| r.strip_prefix("bytes=")).and_then(|r| r.split_once('-'));
    let Some((from, to)) = range else { return ByteRange::Whole };
    match (from.trim().parse::<u64>(), to.trim().parse::<u64>(), from.is_empty(), to.is_empty()) {
        (Ok(from), _, _, true) if from < size => ByteRange::Range { from, length: size - from },
        (Ok(from), Ok(to), _, _) if from < size && from <= to => {
            ByteRange::Range { from, length: to.min(size - 1) - from + 1 }
        }
        (_, Ok(last), true, _) if last > 0 && size > 0 => {
            ByteRange::Range { from: size - last.min(size), length: last.min(size) }
        }
        (Ok(from), _, _, true) | (Ok(from), Ok(_), _, _) if from >= size => ByteRange::Unsatisfiable,
        (_, Ok(0), true, _) => ByteRange::Unsatisfiable,
        _ => ByteRange::Whole,
    }
}
