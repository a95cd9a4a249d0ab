//! Checks of the values that a tool card (`tool.yaml`) gives to the settings of a builtin (a tool written in Rust).

use regex::Regex;
use serde_json::Value;

/// A setting that a builtin knows, with the check of its values.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The key of the setting under `settings` in the tool card.
    pub key: &'static str,
    /// Checks a value. Returns what is wrong with the value, as the predicate of a sentence about the setting ("must be
    /// text, not 3"), or `None` when nothing is wrong.
    pub problem: fn(&Value) -> Option<String>,
}

/// A setting with this key; the function `problem` checks its values.
pub const fn setting(key: &'static str, problem: fn(&Value) -> Option<String>) -> Setting {
    Setting { key, problem }
}

fn must_be(holds: bool, what: &str, value: &Value) -> Option<String> {
    (!holds).then(|| format!("must be {what}, not {value}"))
}

/// Checks that the value of a setting is a number of at least 0. Returns what is wrong, or `None`.
pub fn non_negative(value: &Value) -> Option<String> {
    must_be(value.as_f64().is_some_and(|n| n >= 0.0), "a number of at least 0", value)
}

/// Checks that the value of a setting is a whole number of at least 1. Returns what is wrong, or `None`.
pub fn positive_integer(value: &Value) -> Option<String> {
    must_be(value.as_u64().is_some_and(|n| n > 0), "a whole number of at least 1", value)
}

/// Checks that the value of a setting is true or false. Returns what is wrong, or `None`.
pub fn boolean(value: &Value) -> Option<String> {
    must_be(value.is_boolean(), "true or false", value)
}

/// Checks that the value of a setting is a language code of two letters. Returns what is wrong, or `None`.
pub fn language_code(value: &Value) -> Option<String> {
    must_be(value.as_str().is_some_and(|l| l.len() == 2), "a language's two letters", value)
}

/// Checks that the value of a setting is a list of texts that is not empty. Returns what is wrong, or `None`.
pub fn names(value: &Value) -> Option<String> {
    let is_list = value.as_array().is_some_and(|names| !names.is_empty() && names.iter().all(Value::is_string));
    must_be(is_list, "a list of names", value)
}

/// Checks that the value of a setting is a regular expression. Returns what is wrong, or `None`.
pub fn pattern(value: &Value) -> Option<String> {
    match value.as_str() {
        Some(pattern) => Regex::new(pattern).err().map(|e| format!("is no regular expression: {e}")),
        None => must_be(false, "text", value),
    }
}

/// Checks that the value of a setting is a JSON schema. Returns what is wrong, or `None`.
pub fn json_schema(value: &Value) -> Option<String> {
    jsonschema::validator_for(value).err().map(|e| format!("is no JSON schema: {e}"))
}
