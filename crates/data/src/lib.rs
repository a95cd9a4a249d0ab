//! What travels through rlar: examples and completions.
//!
//! An [`Example`] is one prompt; [`read_examples`] reads a JSONL file of them, naming file and line of a
//! bad row. A [`Completion`] is a reply, all that a reward tool ever sees of a model. [`Document`] is a
//! YAML file that is checked whole against a JSON Schema before anything is built from it. [`parquet`] writes columns as other tools read them.

mod example;
mod jsonl;
mod table;
mod yaml;

pub use example::{Completion, Example, Message, Preference, Role, ScoredPart};
pub use jsonl::{DataError, Needs, NumberedRow, named, read_examples, read_preferences, read_rows};
pub use table::{Column, parquet};
pub use yaml::{ConfigError, Document, Problem};
