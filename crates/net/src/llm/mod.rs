//! Language models that answer chats.
//!
//! An [`Llm`] answers a [`ChatRequest`] with a [`ChatReply`]; [`chat_all`] asks many at once. [`OpenAi`] asks a server,
//! within a [`Budget`]; [`Record`] writes exchanges down and [`Replay`] answers from them; [`Log`] keeps every exchange,
//! failed ones included, for people to read.

mod all;
mod budget;
mod error;
mod exchange;
mod function;
mod log;
mod memo;
mod openai;
mod record;
mod replay;
mod request;
mod wire;

pub use crate::secret::Secret;
pub use all::chat_all;
pub use budget::{Budget, Limits, Spent};
pub use error::LlmError;
pub use function::{Call, Function};
pub use log::Log;
pub use memo::Memo;
pub use openai::{OpenAi, Settings};
pub use record::Record;
pub use replay::Replay;
pub use request::{ChatMessage, ChatReply, ChatRequest};

/// Something that answers chats.
pub trait Llm: Send + Sync + std::fmt::Debug {
    /// Answers one request; blocks until then.
    fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError>;

    /// Requests answered at once at most.
    fn concurrency(&self) -> usize {
        1
    }

    /// A stable name of what answers, such as the model's: part of the keys of caches.
    fn name(&self) -> String;
}
