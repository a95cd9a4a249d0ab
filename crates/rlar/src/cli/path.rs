//! Paths on the command line: `~` stands for the home folder. A shell expands it only at the beginning of an argument,
//! not in `--run=~/runs/x`.

use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};
use rlar_data::expand_home;

/// Parses an argument that is a path.
pub fn path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| match path.to_str() {
        Some(text) => expand_home(text).map(PathBuf::from),
        None => Ok(path),
    })
}

/// Parses an argument that is a path or a name.
pub fn path_text(text: &str) -> Result<String, String> {
    expand_home(text)
}
