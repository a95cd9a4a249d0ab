//! HTTP, language models, the Hugging Face Hub and web searches, with deadlines, bounded retries and redacted addresses.
//!
//! [`get_text`] fetches a text, [`get_file`] a file whose hash is known. An [`llm::Llm`] answers chats: [`llm::OpenAi`] asks a server, [`llm::Record`] writes
//! down what was said, [`llm::Replay`] says it again without a network, and an [`llm::Budget`] limits what it costs.
//! A [`hub::Hub`] finds and downloads models, a [`hub::serve::Server`] serves them, and a [`web::WebSearch`] searches
//! the web.

mod fetch;
mod file;
mod http;
pub mod hub;
pub mod llm;
mod retry;
mod runtime;
mod secret;
pub mod web;

pub use fetch::{NetError, get_text};
pub use file::{Wanted, get_file};
pub use secret::Secret;
