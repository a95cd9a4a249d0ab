//! The data that rlar works on: prompts, replies, and the files that they come in.
//!
//! - [`read_examples`] reads [`Example`]s, one prompt each, from JSONL; an error names the file and the line.
//! - [`read_preferences`] reads [`Preference`]s: a prompt with a better and a worse reply.
//! - [`Completion`] is a reply and the part of it that is scored: all that a reward tool sees of a model.
//! - [`Document`] is a YAML file that is checked as a whole against a JSON Schema before anything is built from it.
//! - [`parquet()`] writes columns as a Parquet file.
//!
//! ```
//! use rlar_data::{Needs, ScoredPart, read_examples};
//!
//! let rows = r#"{"prompt": "What is 6 * 7?", "answer": "42", "domain": "math"}"#;
//! let examples = read_examples("train.jsonl".as_ref(), rows, Needs::Reference)?;
//! assert_eq!(examples[0].reference.as_deref(), Some("42"));
//!
//! let part = ScoredPart { after: Some("</think>".into()), within: None };
//! assert_eq!(part.completion("<think>6 * 7 = 42</think>42").scored_text(), "42");
//!
//! let error = read_examples("train.jsonl".as_ref(), r#"{"prompt": "Hello"}"#, Needs::Reference).unwrap_err();
//! assert!(error.to_string().starts_with("train.jsonl:1: the row has no `reference`"));
//! # Ok::<(), rlar_data::DataError>(())
//! ```

mod error;
mod example;
mod home;
mod jsonl;
mod table;
mod yaml;

pub use error::{ConfigError, DataError, KeyProblem, Problem};
pub use example::{Completion, Example, Message, Preference, Role, ScoredPart};
pub use home::{expand_home, expand_home_of};
pub use jsonl::{Needs, NumberedRow, json_type_name, read_examples, read_preferences, read_rows};
pub use table::{Column, parquet};
pub use yaml::Document;
