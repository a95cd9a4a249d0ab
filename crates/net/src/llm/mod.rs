//! Chats with language models.
//!
//! An [`Llm`] answers a [`ChatRequest`] with a [`ChatReply`]; [`chat_all`] sends many requests at once.
//!
//! - [`OpenAi`] sends requests to an `OpenAI`-compatible server, within a [`Budget`] and an [`AdaptiveLimit`] on the
//!   requests at a time. It reads replies as they are written, reports [`ChatProgress`], and cuts a reply that repeats
//!   itself without end ([`runaway_repetition`]).
//! - [`Record`] appends every exchange to a file, [`Replay`] answers from such a file without a network, and
//!   [`LlmCache`] does both, so that an interrupted job does not pay twice.
//! - [`LlmLog`] logs every exchange, failed ones included, for people to read.
//!
//! An example of a replay:
//!
//! ```
//! use std::path::Path;
//!
//! use rlar_net::llm::{ChatMessage, ChatRequest, Llm, Replay};
//!
//! let exchanges = r#"
//! - request:
//!     {role: judge, template: judge-1, task: sum, messages: [{role: user, content: "Is 2 + 2 = 4?"}]}
//!   reply: {text: "yes"}
//! "#;
//! let replay = Replay::parse(Path::new("exchanges.yaml"), exchanges)?;
//! let mut request = ChatRequest {
//!     role: "judge".into(),
//!     template: "judge-1".into(),
//!     task: "sum".into(),
//!     messages: vec![ChatMessage { role: "user".into(), content: "Is 2 + 2 = 4?".into() }],
//!     ..ChatRequest::default()
//! };
//! assert_eq!(replay.chat(&request)?.text, "yes");
//!
//! // A request that was not recorded is an error, which shows the nearest recorded one.
//! request.task = "product".into();
//! let error = replay.chat(&request).unwrap_err().to_string();
//! assert!(error.contains(r#"the nearest, item 1, differs in task (recorded "sum")"#));
//! # Ok::<(), rlar_net::llm::LlmError>(())
//! ```

mod attempt;
mod budget;
mod cache;
mod chat;
mod chat_all;
mod chat_servers;
mod concurrency;
mod connection;
mod context_refusal;
mod error;
mod events;
mod exchange;
mod function;
mod log;
mod openai;
mod parameters;
mod progress;
mod record;
mod repetition;
mod replay;
mod server_limits;
mod stream;
mod wire;

pub use crate::secret::Secret;
pub use budget::{Budget, LlmLimits, TokenUsage};
pub use cache::LlmCache;
pub use chat::{ChatMessage, ChatReply, ChatRequest, Llm};
pub use chat_all::chat_all;
pub use concurrency::{AdaptiveLimit, ChatPermit};
pub use error::LlmError;
pub use function::{FunctionCall, FunctionDefinition};
pub use log::LlmLog;
pub use openai::{OpenAi, OpenAiSettings};
pub use progress::ChatProgress;
pub use record::Record;
pub use repetition::{GrowingText, Repetition, runaway_repetition};
pub use replay::Replay;
