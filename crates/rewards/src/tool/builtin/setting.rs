//! Checks of the values that a card gives to the settings of a builtin.

use regex::Regex;
use serde_json::Value;

/// A setting of a builtin: its key, and what is wrong with a value, if anything is.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The key in the card's `settings`.
    pub key: &'static str,
    /// The predicate of a sentence about the setting that says what is wrong: "must be text, not 3".
    pub problem: fn(&Value) -> Option<String>,
}

/// A setting whose values are checked by a function.
pub const fn setting(key: &'static str, problem: fn(&Value) -> Option<String>) -> Setting {
    Setting { key, problem }
}

fn must_be(holds: bool, what: &str, value: &Value) -> Option<String> {
    (!holds).then(|| format!("must be {what}, not {value}"))
}

/// A number of at least 0.
pub fn non_negative(value: &Value) -> Option<String> {
    must_be(value.as_f64().is_some_and(|n| n >= 0.0), "a number of at least 0", value)
}

/// A whole number of at least 1.
pub fn positive_integer(value: &Value) -> Option<String> {
    must_be(value.as_u64().is_some_and(|n| n > 0), "a whole number of at least 1", value)
}

/// True or false.
pub fn boolean(value: &Value) -> Option<String> {
    must_be(value.is_boolean(), "true or false", value)
}

/// A language code of two letters.
pub fn language_code(value: &Value) -> Option<String> {
    must_be(value.as_str().is_some_and(|l| l.len() == 2), "a language's two letters", value)
}

/// A list of names that is not empty.
pub fn names(value: &Value) -> Option<String> {
    let is_list = value.as_array().is_some_and(|names| !names.is_empty() && names.iter().all(Value::is_string));
    must_be(is_list, "a list of names", value)
}

/// A regular expression.
pub fn pattern(value: &Value) -> Option<String> {
    match value.as_str() {
        Some(pattern) => Regex::new(pattern).err().map(|e| format!("is no regular expression: {e}")),
        None => must_be(false, "text", value),
    }
}

/// A JSON schema.
pub fn json_schema(value: &Value) -> Option<String> {
    jsonschema::validator_for(value).err().map(|e| format!("is no JSON schema: {e}"))
}
