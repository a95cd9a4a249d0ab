//! Reward tools (functions, reward models and judges that score a model's replies): libraries of tools, the checks that
//! a tool must pass before it may give rewards, the agents that find, write and choose tools, and the scoring of
//! replies.
//!
//! The modules in the order in which they are used:
//!
//! 1. [`tool`]: what a reward tool is (a [`ToolCard`], read from its `tool.yaml`) and what it gives for a reply (an
//!    [`Outcome`]: a score, an abstention or a failure; a failure is never a number).
//! 2. [`library`]: a [`Library`] is a folder of tools that a person can read, compare and commit.
//! 3. [`admission`]: tests that a tool must pass before it may score replies in training; [`examine`] makes them.
//! 4. [`agents`]: roles of a language model. They decide which tools there are and which suit a prompt: they label the
//!    tasks of prompts, find reward models, write scoring functions in Python, and choose the tools of a prompt.
//!    [`fetch_rewards`] lets them fill a library for a data set.
//! 5. [`Orchestrator`]: runs the tools. It keeps the assignment of every prompt (its tools with their weights, chosen
//!    by the config, by an agent or by fixed rules), and scores replies with the assigned tools, through the score
//!    cache ([`cache`]).
//! 6. [`weights`]: learns how much each of several tools should count, from their agreement and from labelled pairs.
//! 7. [`monitor`]: raises an alert when the rewards no longer tell good replies from bad ones (drift).
//!
//! ```
//! use rlar_data::{Completion, Needs, read_examples};
//! use rlar_rewards::{Library, Orchestrator, OrchestratorConfig, ToolContext};
//! use rlar_sandbox::SandboxLimits;
//!
//! let row = r#"{"prompt": "47 + 38 =", "reference": "85"}"#;
//! let examples = read_examples("rows.jsonl".as_ref(), row.as_bytes(), Needs::Prompt)?;
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
mod measure_tools;
mod other_tasks;
mod orchestrator;
pub mod cache;
pub mod weights;
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
pub use library::evidence::{EVIDENCE, ToolEvidence};
pub use library::folder::{ADMISSION, Library};
pub use library::new_tool::NewTool;
pub use orchestrator::{Orchestrator, OrchestratorConfig, PlannedItem, PlannedScore, ToolPlan, score_planned};
pub use tool::card::{CardCase, ToolCard, ToolKind, ToolRole};
pub use tool::composite::{CombineAs, WeightedTool};
pub use tool::judge::{Criterion, JudgeMode, Rubric};
pub use tool::judge_log::JUDGES;
pub use tool::outcome::{Failure, Outcome};
pub use tool::python::entry::{FunctionAddress, PythonFunction, entries_schema, read_entries};
pub use tool::python::run_state::{FunctionRun, PRINTS};
pub use tool::python::source::read_source;
pub use tool::reason::Reason;
pub use tool::reward_model::ModelPointer;
pub use tool::score_record::ScoreRecord;
pub use tool::scores::{Scores, ToolScore};
pub use tool::scoring::{Tool, ToolContext};
pub use tool::wrapper::is_wrapper;
