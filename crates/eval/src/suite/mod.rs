//! Benchmarks of policies. A benchmark is described by a small YAML file, the suite, so that a new benchmark needs no
//! code.
//!
//! A [`Suite`] names the data, the prompt templates, the sampling settings, the reward tools that grade replies, and
//! the [`SuiteMetric`]s to report. [`prompts`](mod@prompts) makes prompts from the data's rows, a [`ReplyGenerator`]
//! generates replies (or [`replies::read_replies`] reads recorded ones), [`grade`](mod@grade) scores them with the
//! tools, and [`metric_values`](mod@metric_values) computes the metrics. [`SuiteEval`] runs these steps in order.

mod spec;

pub mod agreement;
mod evaluate;
pub mod generator;
pub mod grade;
pub mod metric;
pub mod metric_values;
pub mod prompts;
pub mod replies;

pub use evaluate::{GroupValue, SuiteEval, SuiteResult};
pub use generator::{LlmServer, LocalPolicy, ReplyGenerator};
pub use grade::GradedReply;
pub use metric::SuiteMetric;
pub use metric_values::MetricValue;
pub use prompts::SuitePrompt;
pub use replies::GenerationOptions;
pub use spec::{FewShot, Suite, SuiteSampling};
