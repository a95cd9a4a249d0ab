//! HTTP and language models with deadlines, bounded retries and redacted addresses.
//!
//! [`get_text`] fetches a text. An [`llm::Llm`] answers chats: [`llm::OpenAi`] asks a server, [`llm::Record`] writes
//! down what was said, [`llm::Replay`] says it again without a network, and an [`llm::Budget`] limits what it costs.

mod fetch;
mod http;
pub mod llm;
mod retry;

pub use fetch::{NetError, get_text};
