//! The agents: a language model finds, writes and chooses reward tools, and code checks every reply of the model.
//!
//! There are four agent roles: [`classify`] labels the task of a prompt, [`retrieve`] finds reward models,
//! [`synthesise`] writes verifiers (tools in Python), and [`select`] chooses the tools of a prompt. Each role has a
//! prompt template, a typed reply, a validator and a fallback: the model may repair an unusable reply at most twice,
//! then the builtin agent (fixed rules, [`builtin`]) decides. Text of web pages, model cards and data sets is put
//! between marks ([`prompt`]) and treated as data, not as instructions.
//!
//! The modules in order of use: [`Agents`] holds the services; [`client`] sends a [`request`] with a [`prompt`], and
//! [`parse`] reads replies; [`rules`] lists what verifiers are to measure, [`write_prompt`] asks for one, [`program`]
//! reads it and [`verifier`] examines its drafts; [`deploy`] turns one model into a tool. The results, verifiers as
//! well as models, are a [`ToolSet`]; [`background`] runs the agents beside a training run.

mod choice;
mod context;
mod event;
mod llm_event;
mod sample_scorer;
mod settled;
mod tool_set;

pub mod background;
pub mod block_evidence;
pub mod builtin;
pub mod classify;
pub mod client;
pub mod deploy;
pub mod eligible;
pub mod plain_text;
pub mod llm;
pub mod local;
pub mod numbered;
pub mod offered;
pub mod parse;
pub mod program;
pub mod prompt;
pub mod request;
pub mod retrieve;
pub mod rules;
pub mod select;
pub mod synthesise;
pub mod tasks;
pub mod verifier;
pub mod write_prompt;

pub use context::{Agents, EXCHANGES, LOG};
pub use event::AgentEvent;
pub use llm_event::{LlmEvent, LlmEventKind, LlmObserver};
pub use tool_set::{DraftFiles, ModelCounts, RejectedTool, ToolSet, VerifierCounts};
