//! The data that rlar works on: prompts, replies, and the files that they come in.
//!
//! - [`read_rows`] reads the rows of a file, in whatever format it is.
//! - [`examples`] makes [`Example`]s of rows, one prompt each; an error names the file and the line. [`ColumnTemplates`]
//!   name the columns, and other tools' forms are recognised.
//! - [`list_examples`] does the same for large data sets: an [`ExampleList`] takes little memory.
//! - [`preferences`] makes [`Preference`]s of rows: a prompt with a better and a worse reply.
//! - [`Completion`] is a reply and the part of it that is scored: all that a reward tool sees of a model.
//! - [`Document`] is a YAML file that is checked as a whole against a JSON Schema before anything is built from it.
//! - [`parquet()`] writes columns as a Parquet file.
//!
//! ```
//! use rlar_data::{Needs, ScoredPart, read_examples};
//!
//! let rows = br#"{"prompt": "What is 6 * 7?", "answer": "42", "domain": "math"}"#;
//! let examples = read_examples("train.jsonl".as_ref(), rows, Needs::Reference)?;
//! assert_eq!(examples[0].reference.as_deref(), Some("42"));
//!
//! let part = ScoredPart { after: Some("</think>".into()), within: None };
//! assert_eq!(part.completion("<think>6 * 7 = 42</think>42").scored_text(), "42");
//!
//! let error = read_examples("train.jsonl".as_ref(), br#"{"prompt": "Hello"}"#, Needs::Reference).unwrap_err();
//! assert!(error.to_string().starts_with("train.jsonl:1: the row has no `reference`"));
//! # Ok::<(), rlar_data::DataError>(())
//! ```

mod columns;
mod error;
mod example;
mod example_list;
mod examples;
mod files;
mod final_answer;
mod home;
mod parallel;
mod preferences;
mod rows;
mod table;
mod unique_ids;
mod yaml;

pub use columns::{ColumnTemplates, CompiledColumns, TemplateError, Templates, columns_of};
pub use error::{ConfigError, DataError, KeyProblem, Problem};
pub use example::{Completion, Example, Message, Preference, Role, ScoredPart};
pub use example_list::ExampleList;
pub use examples::{ExampleSet, ListedExamples, Needs, examples, list_examples, read_examples};
pub use files::{DataFiles, FoundFiles};
pub use final_answer::{FinalAnswers, find_final_answers};
pub use home::{expand_home, expand_home_of};
pub use parallel::on_all_cores;
pub use preferences::{preferences, read_preferences};
pub use rows::{
    DataFile, DataRow, TextColumn, decompress, json_type_name, not_json, number_text, read_parquet_columns, read_rows,
    read_text_columns, utf8,
};
pub use table::{Column, parquet};
pub use yaml::{Document, ForeignName, closest, nearest};
