//! The agent reward orchestrator: finds, writes, checks and chooses the reward tools of every prompt, and scores replies
//! with them.
//!
//! In the order in which a prompt travels: [`tool`] says what a reward tool is ([`ToolCard`]) and what it says of a reply (an
//! [`Outcome`]; a failure is never a number); a [`Library`] is a folder of tools that a person can read; [`admission`] checks
//! a tool before it may score ([`examine`]); [`agents`] classify prompts and find, write and choose tools; [`monitor`] notices
//! rewards that drift; [`fetch_rewards`] fills a library for the tasks of a data set; the [`Orchestrator`] assigns tools to
//! prompts and scores replies, through the score cache ([`Store`]).

pub mod admission;
pub mod agents;
pub mod cache;
mod error;
mod fill_library;
pub mod library;
pub mod monitor;
mod orchestrator;
pub mod tool;

pub use admission::examine::{examine, probes_for};
pub use admission::report::{Admission, Check, Status};
pub use agents::builtin::{Assignment, BuiltinAgent};
pub use agents::llm::{Exchanges, LlmConfig};
pub use agents::local::LocalLlm;
pub use agents::tasks::domain;
pub use cache::calibration::{CALIBRATION, Calibration, CallStatistics, ScoreSpread, statistics};
pub use cache::store::{STORE, Store};
pub use error::RewardError;
pub use fill_library::{FetchReport, FetchRequest, FetchedTool, UncoveredTask, fetch_rewards};
pub use library::folder::{ADMISSION, Library};
pub use library::new_tool::NewTool;
pub use orchestrator::{Orchestrator, OrchestratorConfig};
pub use tool::card::{CardCase, ToolCard, ToolKind, ToolRole};
pub use tool::composite::{CombineAs, WeightedTool};
pub use tool::judge::{Criterion, Mode, Rubric};
pub use tool::outcome::{Failure, Outcome};
pub use tool::reward_model::ModelPointer;
pub use tool::scores::{Scores, ToolScore};
pub use tool::scoring::{ScoreRecord, Tool, ToolContext};
