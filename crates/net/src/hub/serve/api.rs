//! The Hub's questions and answers (<https://huggingface.co/docs/hub/api>).

use serde_json::{Value, json};

use crate::hub::names;
use crate::hub::serve::access::{refusal, token};
use crate::hub::serve::files;
use crate::hub::serve::shelf::{Entry, Model, Shelf};
use crate::hub::serve::{Request, Response};

/// Models per page at most.
const PAGE: usize = 1000;

/// Answers a request.
pub(crate) fn answer(shelf: &Shelf, request: &Request) -> Response {
    let parts: Vec<&str> = request.path.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["api", "models"] => list(shelf, request),
        ["api", "whoami-v2"] => who(request),
        ["api", "models", owner, name] => with(shelf, owner, name, "main", |m| info(m, request)),
        ["api", "models", owner, name, "revision", revision] => {
            with(shelf, owner, name, revision, |m| info(m, request))
        }
        ["api", "models", owner, name, "tree", revision, below @ ..] => {
            with(shelf, owner, name, revision, |m| tree(m, &below.join("/"), request))
        }
        [owner, name, "resolve", revision, file @ ..] if !file.is_empty() => {
            with(shelf, owner, name, revision, |m| files::resolve(m, &file.join("/"), request))
        }
        ["lfs", owner, name, commit, hash] => with(shelf, owner, name, commit, |m| files::stored(m, hash, request)),
        _ => refusal(404, "NotFound", "Sorry, we can't find the page you are looking for."),
    }
}

/// Answers about a model at a revision, which is `main` or the commit that it has now.
fn with(shelf: &Shelf, owner: &str, name: &str, revision: &str, answer: impl FnOnce(&Model) -> Response) -> Response {
    match shelf.model(&format!("{owner}/{name}")) {
        Ok(Some(model)) if revision == "main" || revision == model.commit => answer(&model),
        Ok(Some(_)) => refusal(404, "RevisionNotFound", &format!("Invalid rev id: {}", names::shown(revision))),
        Ok(None) => refusal(404, "RepoNotFound", "Repository not found"),
        Err(e) => {
            tracing::warn!("{owner}/{name}: {e}");
            Response::text(500, "the model cannot be read")
        }
    }
}

/// `GET /api/whoami-v2`: whoever has a token is known here.
fn who(request: &Request) -> Response {
    match token(request) {
        Some(_) => Response::json(&json!({"type": "user", "name": "local", "fullname": "local", "orgs": []})),
        None => refusal(401, "", "Invalid username or password."),
    }
}

/// `GET /api/models`: what matches, the most or the newest first, in pages.
fn list(shelf: &Shelf, request: &Request) -> Response {
    let lower = |name| request.query(name).unwrap_or_default().to_lowercase();
    let (search, author) = (lower("search"), request.query("author"));
    let ids = shelf.ids().into_iter().filter(|id| {
        let by = author.is_none_or(|author| id.split_once('/').is_some_and(|(owner, _)| owner == author));
        by && search.split_whitespace().all(|word| id.to_lowercase().contains(word))
    });
    let mut models: Vec<Model> = ids.filter_map(|id| shelf.model(&id).ok().flatten()).collect();
    models.retain(|model| {
        let task = model.card.text("pipeline_tag");
        let has = |tag: &str| task == Some(tag) || model.card.tags.iter().any(|t| t == tag);
        request.query("pipeline_tag").is_none_or(|wanted| task == Some(wanted))
            && request.queries("filter").flat_map(|f| f.split(',')).all(has)
    });
    match request.query("sort") {
        Some(by @ ("downloads" | "likes")) => models.sort_by_key(|m| std::cmp::Reverse(m.card.number(by))),
        Some("lastModified" | "createdAt") => models.sort_by(|a, b| b.changed.cmp(&a.changed)),
        _ => {}
    }
    let number = |name| request.query(name).and_then(|n| n.parse::<usize>().ok());
    let (from, most) = (number("cursor").unwrap_or_default(), number("limit").unwrap_or(PAGE).min(PAGE));
    let is_full = request.query("full").is_some_and(|f| f != "false" && f != "0");
    let page: Vec<Value> = models.iter().skip(from).take(most).map(|m| summary(m, is_full, is_full)).collect();
    let end = from.saturating_add(page.len());
    let answer = Response::json(&Value::Array(page));
    if most == 0 || end >= models.len() { answer } else { answer.with("link", &next(request, end)) }
}

/// The `Link` header that leads to the next page.
fn next(request: &Request, cursor: usize) -> String {
    let host = request.header("host").unwrap_or("localhost");
    let Ok(mut url) = reqwest::Url::parse(&format!("http://{host}/api/models")) else { return String::new() };
    let kept = request.query.iter().filter(|(name, _)| name != "cursor");
    url.query_pairs_mut().extend_pairs(kept).append_pair("cursor", &cursor.to_string());
    format!("<{url}>; rel=\"next\"")
}

/// What a list says of a model.
fn summary(model: &Model, with_card: bool, with_files: bool) -> Value {
    let Model { id, commit, card, changed, .. } = model;
    let author = id.split('/').next();
    let mut about = json!({
        "_id": &commit[..24], "id": id, "modelId": id, "author": author, "sha": commit, "private": false,
        "disabled": false, "gated": card.gated(), "downloads": card.number("downloads"), "likes": card.number("likes"),
        "tags": card.tags, "lastModified": changed, "createdAt": changed,
    });
    for key in ["pipeline_tag", "library_name"] {
        if let Some(text) = card.text(key) {
            about[key] = text.into();
        }
    }
    if with_card && card.data.is_object() {
        about["cardData"] = card.data.clone();
    }
    if with_files {
        about["siblings"] = model.files.iter().map(|f| json!({"rfilename": f.name})).collect();
    }
    about
}

/// `GET /api/models/{id}`: with sizes and hashes if asked for.
fn info(model: &Model, request: &Request) -> Response {
    let mut about = summary(model, true, true);
    if request.query("blobs").is_some_and(|b| b.eq_ignore_ascii_case("true") || b == "1") {
        about["siblings"] = model.files.iter().map(sibling).collect();
    }
    about["usedStorage"] = model.files.iter().map(|f| f.size).sum::<u64>().into();
    Response::json(&about)
}

fn sibling(file: &Entry) -> Value {
    let mut about = json!({"rfilename": file.name, "blobId": file.blob, "size": file.size});
    if let Some(lfs) = &file.lfs {
        about["lfs"] = json!({"sha256": lfs.sha256, "size": file.size, "pointerSize": lfs.pointer});
    }
    about
}

/// `GET /api/models/{id}/tree/{revision}/{below}`: files and folders, all of them if asked for.
fn tree(model: &Model, below: &str, request: &Request) -> Response {
    let prefix = if below.is_empty() { String::new() } else { format!("{below}/") };
    let is_deep = request.query("recursive").is_some_and(|r| r.eq_ignore_ascii_case("true") || r == "1");
    let mut entries = Vec::new();
    let mut folders = Vec::new();
    for file in &model.files {
        let Some(rest) = file.name.strip_prefix(&prefix) else { continue };
        for (at, _) in rest.match_indices('/').take(if is_deep { usize::MAX } else { 1 }) {
            let folder = format!("{prefix}{}", &rest[..at]);
            if !folders.contains(&folder) {
                let oid = crate::hub::digest::sha1(&format!("{} {folder}", model.commit));
                entries.push(json!({"type": "directory", "oid": oid, "size": 0, "path": folder}));
                folders.push(folder);
            }
        }
        if is_deep || !rest.contains('/') {
            entries.push(leaf(file));
        }
    }
    if entries.is_empty() && !below.is_empty() {
        return refusal(404, "EntryNotFound", "Entry not found");
    }
    Response::json(&Value::Array(entries))
}

fn leaf(file: &Entry) -> Value {
    let mut about = json!({"type": "file", "oid": file.blob, "size": file.size, "path": file.name});
    if let Some(lfs) = &file.lfs {
        about["lfs"] = json!({"oid": lfs.sha256, "size": file.size, "pointerSize": lfs.pointer});
    }
    about
}
