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

pub mod algorithm;
pub mod config;
mod error;
pub mod report;
pub mod rollouts;
mod run;
pub mod schedule;
pub mod train_loop;
pub mod update;

pub use config::{Agent, CheckpointMetric, Config, Method, Unadmitted};
pub use error::TrainError;
pub use report::final_report::{BeforeAfter, PolicyEvaluation, Report};
pub use run::dry_run::dry_run;
pub use run::job::Job;
pub use run::train::train;
pub use schedule::Decay;
