//! `GET /v1/tools`.

use axum::extract::State;
use axum::response::Response;

use super::reward_call::LibraryPin;
use crate::http_error::{HttpError, json_response};
use crate::scoring::library_of;
use crate::server::ServeState;
use crate::wire::ToolList;

pub async fn answer(State(state): State<ServeState>, pin: LibraryPin) -> Result<Response, HttpError> {
    let library = library_of(&state, pin.library.as_deref())?;
    let list = ToolList { library: library.hash.clone(), pinnable: state.libraries.hashes(), tools: library.tools() };
    Ok(json_response(&list))
}
