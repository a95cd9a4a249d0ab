//! Who gets answers: the page itself and programs of this machine, no other page in its browser. And what the page may
//! do: nothing but talk to this server.

use axum::extract::Request;
use axum::http::header::{HOST, HeaderName, HeaderValue, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use rlar_http::is_loopback_host;

use crate::answer::NoAnswer;

/// Headers of every answer.
const HEADERS: [PageHeader; 5] = [
    PageHeader {
        name: "content-security-policy",
        value: "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    },
    PageHeader { name: "x-content-type-options", value: "nosniff" },
    PageHeader { name: "referrer-policy", value: "no-referrer" },
    PageHeader { name: "cross-origin-resource-policy", value: "same-origin" },
    PageHeader { name: "cross-origin-opener-policy", value: "same-origin" },
];

/// Whether the page that asks has the same origin as this server.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Whether someone follows a link, or a page loads something.
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

struct PageHeader {
    name: &'static str,
    value: &'static str,
}

/// Lets a request through or refuses it, and adds the headers to its answer.
pub async fn guard(request: Request, next: Next) -> Response {
    let mut response = match refusal(request.method(), request.headers()) {
        Some(refused) => refused.into_response(),
        None => next.run(request).await,
    };
    for PageHeader { name, value } in HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

fn refusal(method: &Method, headers: &HeaderMap) -> Option<NoAnswer> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if !matches!(*method, Method::GET | Method::HEAD) {
        let why = "this server only shows runs: it answers GET";
        return Some(NoAnswer::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", why));
    }
    let host = text(HOST).unwrap_or_default();
    let is_own_origin = |origin: &str| origin.strip_prefix("http://") == Some(host);
    // Browsers send no origin with a page's images and scripts, but say that they are another page's. A link may lead here.
    let is_embedded =
        matches!(text(SEC_FETCH_SITE), Some("cross-site" | "same-site")) && text(SEC_FETCH_MODE) != Some("navigate");
    let is_foreign = is_embedded || (headers.contains_key(ORIGIN) && !text(ORIGIN).is_some_and(is_own_origin));
    (is_foreign || !is_loopback_host(host)).then(|| {
        let why = "this server answers its own page and programs of this machine, under a loopback name";
        NoAnswer::new(StatusCode::FORBIDDEN, "not_local", why)
    })
}
