//! What the routes for rewards begin with: the id of the request, the library that it pins, and its body.

use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use serde::Deserialize;

use crate::access::RequestId;
use crate::body::{ReadBody, in_place, read};
use crate::http_error::HttpError;
use crate::server::ServeState;
use crate::unscored::FormatRequest;

/// The query of a request for rewards.
#[derive(Clone, Debug, Deserialize)]
pub struct LibraryPin {
    /// Hash of the library that is to score; `None` for the present one.
    pub library: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for LibraryPin {
    type Rejection = HttpError;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Self, HttpError> {
        let Query(pin) = Query::try_from_uri(&head.uri)
            .map_err(|error| HttpError::bad_request("wrong_query", format!("the query cannot be read: {error}")))?;
        Ok(pin)
    }
}

/// A request for rewards, with its body read.
#[derive(Debug)]
pub struct RewardCall {
    /// What all requests share.
    pub state: ServeState,
    /// The id of the request.
    pub id: RequestId,
    /// Hash of the library that the client pinned; `None` for the present one.
    pub pinned: Option<String>,
    body: ReadBody,
}

impl FromRequest<ServeState> for RewardCall {
    type Rejection = HttpError;

    async fn from_request(request: Request, state: &ServeState) -> Result<Self, HttpError> {
        let (mut head, body) = request.into_parts();
        let LibraryPin { library: pinned } = LibraryPin::from_request_parts(&mut head, state).await?;
        let id = head.extensions.get::<RequestId>().cloned().unwrap_or_default();
        let body = read(Request::from_parts(head, body), &state.bodies, &state.options).await?;
        Ok(Self { state: ServeState::clone(state), id, pinned, body })
    }
}

impl RewardCall {
    /// The bytes of the body.
    pub fn bytes(&self) -> &[u8] {
        &self.body.bytes
    }

    /// Reads the body with a function, without holding up other connections when it is long.
    pub fn read<T>(&self, read: impl FnOnce(&[u8]) -> Result<T, HttpError>) -> Result<T, HttpError> {
        in_place(self.bytes().len(), || read(self.bytes()))
    }

    /// The request as one in the format of another engine, whose client waits for this time at most.
    pub fn in_format(&self, route: &'static str, time: Duration) -> FormatRequest<'_> {
        FormatRequest { route, pinned: self.pinned.as_deref(), id: &self.id, time }
    }
}
