//! Reward tools: a library of them, the checks that admit them, the agents that find, write and choose them, and the
//! orchestrator that scores replies with them.
//!
//! In the order in which a prompt travels:
//!
//! 1. [`tool`]: what a reward tool is (a [`ToolCard`]) and what it gives for a reply (an [`Outcome`]; a failure is never a
//!    number).
//! 2. [`library`]: a [`Library`] is a folder of tools that a person can read, compare and commit.
//! 3. [`admission`]: [`examine`] checks a tool before it may score training rollouts.
//! 4. [`agents`]: they classify prompts, and find, write and choose tools; [`fetch_rewards`] lets them fill a library for a data
//!    set.
//! 5. [`Orchestrator`]: it assigns tools to prompts and scores replies, through the score cache ([`cache`]).
//! 6. [`monitor`]: it notices rewards that drift from what they should measure.
//!
//! ```
//! use rlar_data::{Completion, Needs, read_examples};
//! use rlar_rewards::{Library, Orchestrator, OrchestratorConfig, ToolContext};
//! use rlar_sandbox::SandboxLimits;
//!
//! let row = r#"{"prompt": "47 + 38 =", "reference": "85"}"#;
//! let examples = read_examples("rows.jsonl".as_ref(), row, Needs::Prompt)?;
//! let reply = Completion::whole("The sum is 85.");
//!
//! let context = ToolContext::new(SandboxLimits::default());
//! let mut rewards = Orchestrator::new(Library::curated()?, context, OrchestratorConfig::default());
//! let scores = rewards.score(&[(&examples[0], &reply)])?;
//! assert_eq!(&*scores[0].tools[0].tool, "numeric_match");
//! assert_eq!(scores[0].total(), Some(1.0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod tool;
pub mod library;
pub mod admission;
pub mod agents;
mod fill_library;
mod orchestrator;
pub mod cache;
pub mod monitor;
mod error;

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
pub use tool::judge::{Criterion, JudgeMode, Rubric};
pub use tool::outcome::{Failure, Outcome};
pub use tool::reward_model::ModelPointer;
pub use tool::scores::{Scores, ToolScore};
pub use tool::scoring::{ScoreRecord, Tool, ToolContext};
