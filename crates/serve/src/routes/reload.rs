//! `POST /v1/reload`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::http_error::{HttpError, json_response};
use crate::libraries::Reloaded;
use crate::server::{ServeState, reload_apart};
use crate::wire::ReloadAnswer;

pub async fn answer(State(state): State<ServeState>) -> Result<Response, HttpError> {
    match reload_apart(&state).await {
        Ok(Reloaded { hash, changed }) => Ok(json_response(&ReloadAnswer { library: hash, changed })),
        Err(why) => {
            let why = format!("the library cannot be loaded again, so the earlier one serves on: {why}");
            Err(HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, "not_loaded", why))
        }
    }
}
