//! Rewards over HTTP: the reward tools, admission, routing, score cache and sandbox of rlar for trainers that run
//! elsewhere.
//!
//! A [`RewardServer`] answers `POST /v1/rewards` and the formats of other engines. Every item of a request gets one
//! answer, and an item that was not scored never gets a number: a failure stays a failure ([`wire::ItemStatus`]).
//!
//! The way of a request, in modules:
//!
//! 1. `rlar-http` accepts connections and `routes` finds the handler; `access` gives every request an id and a line in
//!    the log, and `auth` lets it in.
//! 2. `body` reads the body within bounds, `intake` makes examples and replies of its items, and `idempotency` recognises a
//!    repeated request.
//! 3. `queue` holds what waits, within bounds of number and time, to which `serving_delay` adds the time before; `workers`
//!    score it in batches with a library of `libraries`, in which new tools are found while the server runs.
//! 4. `answer` makes the answers, whose JSON [`wire`] describes; `tool_failures` suspends tools that fail too often,
//!    `drift` watches the scores, `alerts` tells people of both, and `metrics` counts.

pub mod wire;

mod access;
mod alerts;
mod answer;
mod auth;
mod body;
mod drift;
mod http_error;
mod idempotency;
mod intake;
mod libraries;
mod llm_choices;
mod metrics;
mod openapi;
mod options;
mod program;
mod queue;
mod routes;
mod scoring;
mod served_library;
mod server;
mod serving_delay;
mod shutdown;
mod tool_failures;
mod unscored;
mod watch_folder;
mod workers;

pub use auth::AccessToken;
pub use libraries::{LoadedRewards, RewardSource};
pub use options::{OnFailure, ServeOptions};
pub use routes::ROUTES;
pub use server::{RewardServer, ServeError};
pub use shutdown::Signals;
