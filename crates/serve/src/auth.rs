//! Who may send requests: holders of the token, or without one the processes of this machine, but no web page in a
//! browser on it.

use std::fmt;
use std::net::SocketAddr;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use rlar_http::is_loopback_host;
use sha2::{Digest, Sha256};

use crate::http_error::HttpError;
use crate::server::ServeState;

/// Smallest number of bytes of a token.
const MIN_TOKEN: usize = 16;

/// The token that requests must carry as `Authorization: Bearer TOKEN`. Only its hash is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken([u8; 32]);

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(…)")
    }
}

impl AccessToken {
    /// Makes a token of a text; the error says why the text cannot be one.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.len() < MIN_TOKEN {
            return Err(format!("a token needs at least {MIN_TOKEN} characters; `openssl rand -hex 32` makes one"));
        }
        Ok(Self(Sha256::digest(text).into()))
    }

    /// Whether a text is the token. The time does not depend on where the two differ.
    fn matches(&self, text: &str) -> bool {
        let other: [u8; 32] = Sha256::digest(text).into();
        let difference = self.0.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(difference) == 0
    }
}

/// Why a server may not accept connections at an address; `None` if it may.
pub fn refusal(address: SocketAddr, token: Option<&AccessToken>) -> Option<String> {
    (token.is_none() && !address.ip().is_loopback()).then(|| {
        format!(
            "{address} can be reached from other machines, and whoever reaches it gets code run and rewards given; set a token, \
             or serve at 127.0.0.1"
        )
    })
}

/// Lets a request through, or answers it with 401 or 403. `/healthz` and `/readyz` are open to everyone.
pub async fn guard(State(state): State<ServeState>, request: Request, next: Next) -> Response {
    let is_open = matches!(request.uri().path(), "/healthz" | "/readyz");
    let refused = if is_open { None } else { check(request.headers(), state.options.token.as_ref()) };
    match refused {
        Some(error) => error.into_response(),
        None => next.run(request).await,
    }
}

fn check(headers: &HeaderMap, token: Option<&AccessToken>) -> Option<HttpError> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(token) = token else {
        let host = text(HOST).unwrap_or_default();
        let refused = headers.contains_key(ORIGIN) || !is_loopback_host(host);
        let why =
            "without a token, this server answers programs of its own machine under a loopback name, and no web page";
        return refused.then(|| HttpError::new(StatusCode::FORBIDDEN, "not_local", why));
    };
    let given = text(AUTHORIZATION).and_then(|value| {
        let (scheme, given) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| given.trim())
    });
    let (code, why) = match given {
        Some(given) if token.matches(given) => return None,
        Some(_) => ("wrong_token", "the token is wrong"),
        None => ("no_token", "this server needs a token: send `Authorization: Bearer TOKEN`"),
    };
    Some(HttpError::new(StatusCode::UNAUTHORIZED, code, why).with_header("www-authenticate", "Bearer"))
}
