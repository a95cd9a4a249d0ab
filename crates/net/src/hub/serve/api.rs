//! The paths of the Hub's API that the server answers (<https://huggingface.co/docs/hub/api>).

use serde_json::{Value, json};

use crate::hub::names;
use crate::hub::serve::access::{error, token};
use crate::hub::serve::files;
use crate::hub::serve::local_models::{LocalFile, LocalModel, LocalModels};
use crate::hub::serve::{HttpRequest, HttpResponse};

/// Maximum number of models on one page of a list.
const PAGE_SIZE: usize = 1000;

/// The response to a request: chooses the function for the path and calls it.
pub(crate) fn answer(models: &LocalModels, request: &HttpRequest) -> HttpResponse {
    let parts: Vec<&str> = request.path.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["api", "models"] => list(models, request),
        ["api", "whoami-v2"] => whoami(request),
        ["api", "models", owner, name] => with(models, owner, name, "main", |m| info(m, request)),
        ["api", "models", owner, name, "revision", revision] => {
            with(models, owner, name, revision, |m| info(m, request))
        }
        ["api", "models", owner, name, "tree", revision, below @ ..] => {
            with(models, owner, name, revision, |m| tree(m, &below.join("/"), request))
        }
        [owner, name, "resolve", revision, file @ ..] if !file.is_empty() => {
            with(models, owner, name, revision, |m| files::resolve(m, &file.join("/"), request))
        }
        ["lfs", owner, name, commit, hash] => with(models, owner, name, commit, |m| files::stored(m, hash, request)),
        _ => error(404, "NotFound", "Sorry, we can't find the page you are looking for."),
    }
}

/// Looks up the model `owner/name` and calls `answer` for it. The revision must be `main` or the model's present
/// commit.
fn with(
    models: &LocalModels,
    owner: &str,
    name: &str,
    revision: &str,
    answer: impl FnOnce(&LocalModel) -> HttpResponse,
) -> HttpResponse {
    match models.model(&format!("{owner}/{name}")) {
        Ok(Some(model)) if revision == "main" || revision == model.commit => answer(&model),
        Ok(Some(_)) => error(404, "RevisionNotFound", &format!("Invalid rev id: {}", names::shown(revision))),
        Ok(None) => error(404, "RepoNotFound", "Repository not found"),
        Err(e) => {
            tracing::warn!("{owner}/{name}: {e}");
            HttpResponse::text(500, "the model cannot be read")
        }
    }
}

/// Answers `GET /api/whoami-v2`: every token belongs to the user `local`.
fn whoami(request: &HttpRequest) -> HttpResponse {
    match token(request) {
        Some(_) => HttpResponse::json(&json!({"type": "user", "name": "local", "fullname": "local", "orgs": []})),
        None => error(401, "", "Invalid username or password."),
    }
}

/// Answers `GET /api/models` with one page of the models that match, in the requested order.
fn list(models: &LocalModels, request: &HttpRequest) -> HttpResponse {
    let lower = |name| request.query(name).unwrap_or_default().to_lowercase();
    let (search, author) = (lower("search"), request.query("author"));
    let ids = models.ids().into_iter().filter(|id| {
        let is_by_author = author.is_none_or(|author| id.split_once('/').is_some_and(|(owner, _)| owner == author));
        is_by_author && search.split_whitespace().all(|word| id.to_lowercase().contains(word))
    });
    let mut models: Vec<LocalModel> = ids.filter_map(|id| models.model(&id).ok().flatten()).collect();
    models.retain(|model| {
        let task = model.card.text("pipeline_tag");
        let has = |tag: &str| task == Some(tag) || model.card.tags.iter().any(|t| t == tag);
        request.query("pipeline_tag").is_none_or(|tag| task == Some(tag))
            && request.queries("filter").flat_map(|f| f.split(',')).all(has)
    });
    match request.query("sort") {
        Some(by @ ("downloads" | "likes")) => models.sort_by_key(|m| std::cmp::Reverse(m.card.number(by))),
        Some("lastModified" | "createdAt") => models.sort_by(|a, b| b.modified.cmp(&a.modified)),
        _ => {}
    }
    let number = |name| request.query(name).and_then(|n| n.parse::<usize>().ok());
    let (from, limit) = (number("cursor").unwrap_or_default(), number("limit").unwrap_or(PAGE_SIZE).min(PAGE_SIZE));
    let is_full = request.query("full").is_some_and(|f| f != "false" && f != "0");
    let page: Vec<Value> = models.iter().skip(from).take(limit).map(|m| summary(m, is_full, is_full)).collect();
    let end = from.saturating_add(page.len());
    let response = HttpResponse::json(&Value::Array(page));
    if limit == 0 || end >= models.len() { response } else { response.with("link", &next_link(request, end)) }
}

/// The `Link` header with the address of the next page, which begins with model number `cursor` (from 0).
fn next_link(request: &HttpRequest, cursor: usize) -> String {
    let host = request.header("host").unwrap_or("localhost");
    let Ok(mut url) = reqwest::Url::parse(&format!("http://{host}/api/models")) else { return String::new() };
    let kept = request.query.iter().filter(|(name, _)| name != "cursor");
    url.query_pairs_mut().extend_pairs(kept).append_pair("cursor", &cursor.to_string());
    format!("<{url}>; rel=\"next\"")
}

/// The metadata of a model as JSON, for a list of models and for one model; with the model card and the names of the
/// files on request.
fn summary(model: &LocalModel, with_card: bool, with_files: bool) -> Value {
    let LocalModel { id, commit, card, modified, .. } = model;
    let author = id.split('/').next();
    let mut summary = json!({
        "_id": &commit[..24], "id": id, "modelId": id, "author": author, "sha": commit, "private": false,
        "disabled": false, "gated": card.gated(), "downloads": card.number("downloads"), "likes": card.number("likes"),
        "tags": card.tags, "lastModified": modified, "createdAt": modified,
    });
    for key in ["pipeline_tag", "library_name"] {
        if let Some(text) = card.text(key) {
            summary[key] = text.into();
        }
    }
    if with_card && card.data.is_object() {
        summary["cardData"] = card.data.clone();
    }
    if with_files {
        summary["siblings"] = model.files.iter().map(|f| json!({"rfilename": f.name})).collect();
    }
    summary
}

/// Answers `GET /api/models/{id}` with the model's metadata and files; with their sizes and hashes if `blobs` is true.
fn info(model: &LocalModel, request: &HttpRequest) -> HttpResponse {
    let mut info = summary(model, true, true);
    if request.query("blobs").is_some_and(|b| b.eq_ignore_ascii_case("true") || b == "1") {
        info["siblings"] = model.files.iter().map(sibling).collect();
    }
    info["usedStorage"] = model.files.iter().map(|f| f.size).sum::<u64>().into();
    HttpResponse::json(&info)
}

/// The JSON for a file in the response of [`info`].
fn sibling(file: &LocalFile) -> Value {
    let mut entry = json!({"rfilename": file.name, "blobId": file.blob, "size": file.size});
    if let Some(lfs) = &file.lfs {
        entry["lfs"] = json!({"sha256": lfs.sha256, "size": file.size, "pointerSize": lfs.pointer_size});
    }
    entry
}

/// Answers `GET /api/models/{id}/tree/{revision}/{below}` with the files and folders directly in the folder `below`, or
/// at every depth below that folder if `recursive` is true.
fn tree(model: &LocalModel, below: &str, request: &HttpRequest) -> HttpResponse {
    let prefix = if below.is_empty() { String::new() } else { format!("{below}/") };
    let is_recursive = request.query("recursive").is_some_and(|r| r.eq_ignore_ascii_case("true") || r == "1");
    let mut entries = Vec::new();
    let mut folders = Vec::new();
    for file in &model.files {
        let Some(rest) = file.name.strip_prefix(&prefix) else { continue };
        for (at, _) in rest.match_indices('/').take(if is_recursive { usize::MAX } else { 1 }) {
            let folder = format!("{prefix}{}", &rest[..at]);
            if !folders.contains(&folder) {
                let oid = crate::hub::digest::sha1(&format!("{} {folder}", model.commit));
                entries.push(json!({"type": "directory", "oid": oid, "size": 0, "path": folder}));
                folders.push(folder);
            }
        }
        if is_recursive || !rest.contains('/') {
            entries.push(tree_file(file));
        }
    }
    if entries.is_empty() && !below.is_empty() {
        return error(404, "EntryNotFound", "Entry not found");
    }
    HttpResponse::json(&Value::Array(entries))
}

/// The JSON for a file in the response of [`tree`].
fn tree_file(file: &LocalFile) -> Value {
    let mut entry = json!({"type": "file", "oid": file.blob, "size": file.size, "path": file.name});
    if let Some(lfs) = &file.lfs {
        entry["lfs"] = json!({"oid": lfs.sha256, "size": file.size, "pointerSize": lfs.pointer_size});
    }
    entry
}
