//! The page: files that are part of the program.

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use crate::answer::NoAnswer;

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// A file of the page.
struct PageFile {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

/// A file in `assets/`.
macro_rules! page_file {
    ($name:literal, $kind:expr) => {
        PageFile { name: $name, kind: $kind, bytes: include_bytes!(concat!("../assets/", $name)) }
    };
}

const INDEX: PageFile = page_file!("index.html", "text/html; charset=utf-8");

const FILES: [PageFile; 35] = [
    page_file!("page.css", STYLE),
    page_file!("icon.svg", "image/svg+xml"),
    page_file!("page.js", SCRIPT),
    page_file!("address.js", SCRIPT),
    page_file!("api.js", SCRIPT),
    page_file!("benchmark.js", SCRIPT),
    page_file!("chart.js", SCRIPT),
    page_file!("compare.js", SCRIPT),
    page_file!("distributions.js", SCRIPT),
    page_file!("dom.js", SCRIPT),
    page_file!("environment.js", SCRIPT),
    page_file!("evaluations.js", SCRIPT),
    page_file!("exchanges.js", SCRIPT),
    page_file!("filters.js", SCRIPT),
    page_file!("history.js", SCRIPT),
    page_file!("measured_by.js", SCRIPT),
    page_file!("overview.js", SCRIPT),
    page_file!("panels.js", SCRIPT),
    page_file!("paths.js", SCRIPT),
    page_file!("phases.js", SCRIPT),
    page_file!("replies.js", SCRIPT),
    page_file!("reply.js", SCRIPT),
    page_file!("results.js", SCRIPT),
    page_file!("rewards.js", SCRIPT),
    page_file!("rollouts.js", SCRIPT),
    page_file!("search.js", SCRIPT),
    page_file!("series.js", SCRIPT),
    page_file!("service.js", SCRIPT),
    page_file!("shortcuts.js", SCRIPT),
    page_file!("tokens.js", SCRIPT),
    page_file!("weights.js", SCRIPT),
    page_file!("wins.js", SCRIPT),
    page_file!("vendor/uPlot.js", SCRIPT),
    page_file!("vendor/uPlot.css", STYLE),
    page_file!("vendor/uPlot.LICENSE", TEXT),
];

/// The page itself.
pub async fn index() -> Response {
    answer(&INDEX)
}

/// A file of the page.
pub async fn file(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|file| file.name == name) {
        Some(file) => answer(file),
        None => NoAnswer::not_found("no_file", "the page has no such file").into_response(),
    }
}

fn answer(file: &PageFile) -> Response {
    ([(CONTENT_TYPE, file.kind), (CACHE_CONTROL, "no-cache")], file.bytes).into_response()
}
