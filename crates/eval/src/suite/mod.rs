//! Benchmarks of policies: a suite is a small YAML, so that a new one needs no code.
//!
//! A [`Suite`] says which rows are read, how they are put as prompts, how replies are drawn, which tools judge them, and which
//! [`Metric`]s come out. [`tasks`](mod@tasks) makes prompts of rows, an [`Engine`] answers them (or [`answers::read_answers`]
//! reads what was answered elsewhere), [`grade`](mod@grade) asks the tools, [`figures`](mod@figures) adds up, and [`Exam`] does all of it.

pub mod answers;
pub mod engine;
mod exam;
pub mod figures;
pub mod grade;
pub mod metric;
mod spec;
pub mod tasks;
mod template;
pub mod vote;

pub use engine::{Engine, Own, Server};
pub use exam::{Exam, Marks, has_figure};
pub use figures::Figure;
pub use metric::Metric;
pub use spec::{Draw, FewShot, Suite};
pub use tasks::Task;
