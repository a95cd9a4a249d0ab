//! The routes: which path answers what.

mod health;
mod metrics;
mod openapi;
mod openrlhf;
mod reload;
mod reward_call;
mod rewards;
mod run_code;
mod tools;
mod verify;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use crate::http_error::HttpError;
use crate::server::ServeState;
use crate::{access, auth};

/// The types of the formats of other engines, for the description of the routes.
pub mod schemas {
    pub use super::openrlhf::{OpenRlhfAnswer, OpenRlhfRequest};
    pub use super::run_code::{RunCodeAnswer, RunCodeRequest};
}

/// A route of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiRoute {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The path.
    pub path: &'static str,
    /// What the route does, in a sentence.
    pub summary: &'static str,
}

/// All routes, in the order of the documentation.
pub const ROUTES: [ApiRoute; 10] = [
    ApiRoute { method: "POST", path: "/v1/rewards", summary: "Score replies." },
    ApiRoute { method: "GET", path: "/v1/tools", summary: "List the tools of the library." },
    ApiRoute { method: "POST", path: "/v1/reload", summary: "Load the library again." },
    ApiRoute { method: "GET", path: "/v1/openapi.json", summary: "Describe the routes." },
    ApiRoute { method: "GET", path: "/healthz", summary: "Say that the process lives." },
    ApiRoute { method: "GET", path: "/readyz", summary: "Say whether replies can be scored." },
    ApiRoute { method: "GET", path: "/metrics", summary: "Give the metrics in the text format of Prometheus." },
    ApiRoute { method: "POST", path: "/run_code", summary: "Run a Python program, in the form of SandboxFusion." },
    ApiRoute {
        method: "POST",
        path: "/openrlhf",
        summary: "Score replies in the form of OpenRLHF's remote reward model.",
    },
    ApiRoute {
        method: "POST",
        path: "/verify",
        summary: "Score a rollout in the form of a NeMo Gym resources server.",
    },
];

/// The routes with what every request passes: its id and line in the log, then the guard.
pub fn router(state: &ServeState) -> Router {
    Router::new()
        .route("/v1/rewards", post(rewards::answer))
        .route("/v1/tools", get(tools::answer))
        .route("/v1/reload", post(reload::answer))
        .route("/v1/openapi.json", get(openapi::answer))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::answer))
        .route("/run_code", post(run_code::answer))
        .route("/openrlhf", post(openrlhf::answer))
        .route("/verify", post(verify::answer))
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(state), auth::guard))
        .layer(from_fn_with_state(Arc::clone(state), access::observe))
        .with_state(Arc::clone(state))
}

async fn no_route() -> HttpError {
    let paths: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
    HttpError::new(StatusCode::NOT_FOUND, "no_route", format!("there is no such path; there are {}", paths.join(", ")))
}

async fn wrong_method() -> HttpError {
    let why = "the path takes another method; `/v1/openapi.json` has all routes";
    HttpError::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", why)
}
