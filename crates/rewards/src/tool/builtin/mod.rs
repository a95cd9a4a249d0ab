//! Tools in Rust: an example and a reply in, a score out.
//!
//! A card names its builtin and gives it settings. A builtin answers every reply; it abstains, with `None`, where the
//! example or the card is not of its kind, and nowhere else.

mod answers;
mod compiled;
mod form;
mod overlap;
mod units;

use regex::Regex;
use rlar_data::Example;
use serde_json::{Map, Value};

use crate::tool::code_tests::CODE_TESTS;

/// Settings of a card.
pub type Settings = Map<String, Value>;

/// A builtin's function: settings, example, reply.
pub type Builtin = fn(&Settings, &Example, &str) -> Option<f64>;

/// The builtins by name, with the settings that each knows.
const BUILTINS: &[(&str, Builtin, &[&str])] = &[
    ("bleu", overlap::bleu, &[]),
    ("brevity", form::brevity, &[]),
    ("chrf", overlap::chrf, &[]),
    ("chrf_plus_plus", overlap::chrf_plus_plus, &[]),
    // Runs in the sandbox, which a function here has not.
    (CODE_TESTS, |_, _, _| None, &["partial"]),
    ("edit_similarity", answers::edit_similarity, &[]),
    ("exact_match", answers::exact_match, &[]),
    ("instructions", form::instructions, &[]),
    ("json_schema", form::json_schema, &["schema"]),
    ("language", form::language, &["language"]),
    ("length", form::length, &["min_words", "max_words"]),
    ("math_equivalence", answers::math_equivalence, &[]),
    ("multiple_choice", answers::multiple_choice, &[]),
    ("numeric_match", answers::numeric_match, &[]),
    ("numeric_tolerance", answers::numeric_tolerance, &["relative", "absolute"]),
    ("regex", form::regex, &["pattern", "whole"]),
    ("repetition", form::repetition, &["n"]),
    ("rouge_1", overlap::rouge_1, &[]),
    ("rouge_2", overlap::rouge_2, &[]),
    ("rouge_l", overlap::rouge_l, &[]),
    ("rouge_lsum", overlap::rouge_lsum, &[]),
    ("tags", form::tags, &["tags"]),
    ("ter", overlap::ter, &[]),
    ("token_f1", answers::token_f1, &[]),
];

/// The builtin of a name, or why there is none with these settings.
pub fn builtin(name: &str, settings: &Settings) -> Result<Builtin, String> {
    let Some((_, function, known)) = BUILTINS.iter().find(|(n, _, _)| *n == name) else {
        let names: Vec<&str> = BUILTINS.iter().map(|(n, _, _)| *n).collect();
        return Err(format!("rlar has no such builtin as `{name}`; it has: {}", names.join(", ")));
    };
    match settings.keys().find(|k| !known.contains(&k.as_str())) {
        Some(other) if known.is_empty() => {
            Err(format!("the builtin `{name}` has no settings, and the card sets `{other}`"))
        }
        Some(other) => Err(format!("the builtin `{name}` has no setting `{other}`; it has: {}", known.join(", "))),
        None => match settings.iter().find_map(|(key, value)| Some((key, problem(key, value)?))) {
            Some((key, why)) => Err(format!("the setting `{key}` of the builtin `{name}` {why}")),
            None => Ok(*function),
        },
    }
}

/// What is wrong with the value of a setting, if anything is.
fn problem(key: &str, value: &Value) -> Option<String> {
    let must = |holds: bool, what: &str| (!holds).then(|| format!("must be {what}, not {value}"));
    match key {
        "min_words" | "max_words" | "relative" | "absolute" => {
            must(value.as_f64().is_some_and(|n| n >= 0.0), "a number of at least 0")
        }
        "n" => must(value.as_u64().is_some_and(|n| n > 0), "a whole number of at least 1"),
        "whole" | "partial" => must(value.is_boolean(), "true or false"),
        "language" => must(value.as_str().is_some_and(|l| l.len() == 2), "a language's two letters"),
        "tags" => {
            let all = value.as_array().is_some_and(|t| !t.is_empty() && t.iter().all(Value::is_string));
            must(all, "a list of names")
        }
        "pattern" => match value.as_str() {
            Some(pattern) => Regex::new(pattern).err().map(|e| format!("is no regular expression: {e}")),
            None => must(false, "text"),
        },
        "schema" => jsonschema::validator_for(value).err().map(|e| format!("is no JSON schema: {e}")),
        _ => None,
    }
}

fn yes(it_is: bool) -> f64 {
    f64::from(u8::from(it_is))
}
