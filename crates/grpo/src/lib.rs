//! Group relative policy optimisation (GRPO): from the config of a job to a trained policy.
//!
//! In the order in which things happen: [`Config`] is the YAML of a job. [`train`] opens the run's folder and loads the
//! policy. If `warmup.steps` is more than 0, the policy is first fine-tuned on demonstrations; this supervised phase is
//! called the warm-up. Then the [`train_loop`] starts. Every step of [`train_loop::grpo`] collects [`rollouts`]
//! (sampled replies with the scores of the reward tools: verifiers, judges, reward models), turns the scores into
//! advantages ([`algorithm::advantage`]), and takes optimizer steps down the policy loss ([`algorithm::loss`],
//! [`update`]). What samples and trains is the [`engine`], behind two traits. [`report`] writes the metrics, the
//! rollouts and the final report. The same loop runs supervised fine-tuning and reward-model training.
//!
//! A checkpoint holds the state of training between two steps, [`update::train_state`]. Data order, seeds and learning
//! rate are not part of it, because they are functions of the step ([`schedule`]). Inputs of a step that cannot be
//! computed again (sampled replies with their scores, measurements, results of language-model agents, whether the time
//! is up) are written to the run's `journal.jsonl` before they are used, and a resumed run reads them from there. So a
//! resumed run gives the same weights, bit for bit, as an uninterrupted one.
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
//! `examples/train_tiny_policy.rs` trains a policy by a call of [`train`].

pub mod config;
mod run;
pub mod train_loop;
pub mod rollouts;
pub mod algorithm;
pub mod update;
pub mod engine;
pub mod report;
pub mod schedule;
mod error;

pub use config::{
    Agent, CheckpointMetric, Config, DataSet, FOREIGN_NAMES, Method, RewardsOnly, Unadmitted, WeightSource,
};
pub use error::TrainError;
pub use report::final_report::{BeforeAfter, PolicyEvaluation, Report};
pub use report::hints::hints;
pub use run::dry_run::dry_run;
pub use run::inputs::hub_commits;
pub use run::job::Job;
pub use run::reply_lengths::length_warning;
pub use run::setup::first_tokenizer;
pub use run::train::train;
pub use schedule::Decay;
