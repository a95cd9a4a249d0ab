//! The agents: a language model finds, writes and chooses reward tools, and code checks every reply.
//!
//! Four roles: [`classify`] labels the task of a prompt, [`retrieve`] finds reward models, [`synthesise`] writes verifiers,
//! and [`select`] chooses the tools of a prompt. Each role has a prompt template, a typed reply, a validator and a fallback: an
//! unusable reply is repaired at most twice, then the builtin agent decides. Text of web pages, model cards and data sets is
//! fenced and treated as data.
//!
//! In order of use: [`Agents`] holds the services; [`client`] sends requests and [`parse`] reads replies; [`verifier`] writes
//! and repairs one verifier, [`deploy`] turns one model into a tool, and both results are a [`ToolSet`]; [`background`] runs
//! the agents beside a training run.

mod context;
mod event;
mod tool_set;

pub mod background;
pub mod builtin;
pub mod classify;
pub mod client;
pub mod deploy;
pub mod fence;
pub mod llm;
pub mod local;
pub mod parse;
pub mod retrieve;
pub mod select;
pub mod synthesise;
pub mod tasks;
pub mod verifier;

pub use context::{Agents, EXCHANGES, LOG};
pub use event::AgentEvent;
pub use tool_set::{DraftFiles, ModelCounts, RejectedTool, ToolSet, VerifierCounts};
