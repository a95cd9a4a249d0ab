//! A local web page on training runs: every number leads to the replies behind it, every reply to the reasons of its
//! reward.
//!
//! A [`ViewServer`] reads the folder of one run, or finds the runs below a folder, and never writes there. The modules:
//!
//! 1. `catalogue` finds the runs, `summary` says in a few words what each is, and `growth` notices that one grows.
//! 2. The readers of a run's files, each of which bears with a run that is being written: `metric_table` with
//!    `downsample`, `rollouts` with `verdict`, `reply_search`, `prompt_history`, `score_distributions` and
//!    `token_texts`, `prompt_means`, `tool_service`, `library`, `assignments`, `exchanges`, `judge_exchanges`, `evaluations`,
//!    `measured_by`, `config_values`, `run_environment`, `hints`. They share `json_lines`, `bounded_file`, `shown_text`,
//!    `redact` and `mean`.
//! 3. The readers of what `rlar eval` wrote: `eval_folders` finds it, `suite_results` and `benchmark_results` read it.
//! 4. `routes` and `eval_routes` answer requests with what the readers give, as JSON, through `answer`; `guard` lets in
//!    the programs of this machine and the page itself; `assets` holds the page.
//! 5. `server` starts and stops all of it.
//!
//! The catalogue and the readers are public, because reports read runs, too.

pub mod answer;
mod assets;
pub mod assignments;
mod benchmark_results;
pub mod bounded_file;
pub mod catalogue;
pub mod config_values;
pub mod downsample;
mod eval_folders;
mod eval_routes;
pub mod evaluations;
pub mod exchanges;
mod growth;
mod guard;
pub mod hints;
pub mod json_lines;
mod judge_exchanges;
pub mod library;
pub mod mean;
pub mod measured_by;
pub mod metric_table;
mod prompt_history;
mod prompt_means;
pub mod redact;
mod reply_search;
pub mod rollouts;
mod routes;
pub mod run_environment;
mod score_distributions;
mod server;
pub mod shown_text;
mod suite_results;
pub mod summary;
mod table_cache;
mod token_texts;
mod tool_service;
pub mod verdict;

pub use server::{ViewError, ViewOptions, ViewServer};
