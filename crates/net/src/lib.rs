//! Requests over the network: HTTP downloads, chats with language models, the Hugging Face Hub and web search.
//!
//! Every request has a deadline, a bounded number of retries, and error messages without secrets.
//!
//! - [`get_text`] and [`get_file`] download a text or a file; [`post_json`] sends a value, such as an alert.
//! - [`llm`]: chat completions, from an `OpenAI`-compatible server ([`llm::OpenAi`]) or from recorded exchanges
//!   ([`llm::Replay`]), with a log, a cache and a budget.
//! - [`LeastOutstanding`]: which of several servers gets the next request.
//! - [`hub`]: finds and downloads models of the Hugging Face Hub, and serves local models with its protocol.
//! - [`web`]: web search.
//! - [`http`]: what HTTP clients of other crates share with these: defaults, addresses without secrets, limited bodies;
//!   [`BackgroundRuntime`] runs them for callers that block.

mod error;
mod get_file;
mod get_text;
mod hex;
pub mod http;
pub mod hub;
mod least_outstanding;
pub mod llm;
mod post_json;
mod retry;
mod runtime;
mod secret;
pub mod web;

pub use error::NetError;
pub use get_file::{FileDownload, get_file};
pub use get_text::get_text;
pub use least_outstanding::{LeastOutstanding, ServerLease};
pub use post_json::post_json;
pub use runtime::BackgroundRuntime;
pub use secret::Secret;
