//! Group relative policy optimisation, from a config to a better policy.
//!
//! In the order in which things happen: [`Config`] is the YAML of a job; [`train`] opens the run's folder, loads the policy,
//! warms it up on demonstrations and starts the [`train_loop`]. Every step of [`train_loop::grpo`] collects [`rollouts`]
//! (replies with the reward tools' scores), turns the scores into advantages ([`algorithm::advantage`]), and takes optimizer
//! steps down the policy loss ([`algorithm::loss`], [`update`]). [`report`] writes what a person reads afterwards. The same
//! loop runs supervised fine-tuning and reward-model training.
//!
//! The [`update::train_state`] between two steps is the checkpoint; what enters a step from outside is in the run's journal
//! before it is used; data order, seeds and learning rate are functions of the step ([`schedule`]). So a resumed run repeats
//! an unbroken one bit for bit.
//!
//! ```
//! use rlar_grpo::Config;
//!
//! let yaml = "{version: 1, model: {path: my-model}, data: {train: prompts.jsonl}, train: {prompts: 10, minibatches: 4}}";
//! let config: Config = serde_yaml::from_str(yaml)?;
//! let problems = config.problems();
//! assert_eq!(problems[0].key, "train.minibatches");
//! assert_eq!(problems[0].message, "4 does not divide the 10 prompts of a step");
//! # Ok::<(), serde_yaml::Error>(())
//! ```
//!
//! `examples/train_tiny_policy.rs` trains a policy from Rust.

pub mod config;
mod run;
pub mod train_loop;
pub mod rollouts;
pub mod algorithm;
pub mod update;
pub mod report;
pub mod schedule;
mod error;

pub use config::{Agent, CheckpointMetric, Config, Method, Unadmitted};
pub use error::TrainError;
pub use report::final_report::{BeforeAfter, PolicyEvaluation, Report};
pub use run::dry_run::dry_run;
pub use run::job::Job;
pub use run::train::train;
pub use schedule::Decay;
