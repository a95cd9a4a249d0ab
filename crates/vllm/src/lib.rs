//! A client of vLLM's server for reinforcement learning: token ids in; token ids, log-probs and the version of the weights
//! out; and the calls that replace the weights.
//!
//! A request for a completion is sent once: the caller decides what to do with a server that fails, because only it knows whether
//! another server can do the work. All other calls may be made twice, and are made again if the connection breaks. What is
//! proven with which version is in `docs/results/engines.md`.
//!
//! - [`VllmServer`]: an address with its key, and one method per call.
//! - [`ServerFacts`]: what a server says about itself: version, models, settings.
//! - [`TokensRequest`], [`GeneratedTokens`]: a prompt with its seed; a completion with its log-probs.
//! - [`ServerProcess`]: a server on this machine that is started, watched and ended.
//! - [`VllmError`]: what went wrong, with the address, the call and what to do next.

mod address;
mod completion;
mod connection;
mod error;
mod facts;
mod process;
mod server;
mod settings;

pub use address::check_address;
pub use completion::{EndReason, GeneratedTokens, TokensRequest};
pub use error::VllmError;
pub use facts::{OLDEST, ServedModel, ServerFacts};
pub use process::{ServerCommand, ServerProcess};
pub use server::VllmServer;
pub use settings::VllmSettings;
