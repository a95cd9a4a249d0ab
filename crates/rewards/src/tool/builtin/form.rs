//! Builtins that check the form of a reply: its length, repetitions, pattern, structure or language. They need no
//! reference.

// All builtins have the same signature, also those that never return `None`.
#![allow(clippy::unnecessary_wraps)]

use std::collections::HashMap;
use std::sync::LazyLock;

use jsonschema::Validator;
use regex::Regex;
use rlar_data::Example;
use serde_json::Value;

use super::compiled::Compiled;
use super::explained::ExplainedScore;
use super::units::words;
use super::{BuiltinSettings, yes};
use crate::tool::reason::Reason;
use rlar_metrics::ifeval;

static PATTERNS: LazyLock<Compiled<Regex>> = LazyLock::new(Compiled::new);
static SCHEMAS: LazyLock<Compiled<Validator>> = LazyLock::new(Compiled::new);

/// The value of the setting `key` for an example: the example's column of this name if there is one, or else the value
/// in the tool card.
fn setting<'a>(settings: &'a BuiltinSettings, example: &'a Example, key: &str) -> Option<&'a Value> {
    example.columns.get(key).or_else(|| settings.get(key))
}

/// A score that falls with the length of the reply: 1 for an empty reply, 1/2 at 100 words.
pub fn brevity(_: &BuiltinSettings, _: &Example, reply: &str) -> Option<f64> {
    Some(1.0 / (1.0 + words(reply).len() as f64 / 100.0))
}

/// Scores 1 if the reply has from `min_words` to `max_words` words. Outside of these bounds the score falls linearly,
/// to 0 for an empty reply or for one with twice `max_words`.
pub fn length(settings: &BuiltinSettings, example: &Example, reply: &str) -> Option<f64> {
    let bound = |key: &str| setting(settings, example, key).and_then(Value::as_f64);
    let (low, high) = (bound("min_words").unwrap_or(0.0), bound("max_words").unwrap_or(f64::INFINITY));
    let words = words(reply).len() as f64;
    let beyond = (low - words).max(words - high).max(0.0);
    let scale = if words < low { low } else { high };
    Some((1.0 - beyond / scale.max(1.0)).max(0.0))
}

/// The number of different runs of `n` consecutive words, divided by the number of all such runs: 1 for a reply in
/// which nothing is repeated. `n` is a setting of the tool card, by default 3.
pub fn repetition(settings: &BuiltinSettings, _: &Example, reply: &str) -> Option<f64> {
    let n = settings.get("n").and_then(Value::as_u64).unwrap_or(3) as usize;
    let words: Vec<String> = words(reply).into_iter().map(str::to_lowercase).collect();
    if words.len() <= n {
        return Some(1.0);
    }
    let mut seen: HashMap<&[String], usize> = HashMap::new();
    for gram in words.windows(n.max(1)) {
        *seen.entry(gram).or_insert(0) += 1;
    }
    let all = words.len() + 1 - n.max(1);
    Some(seen.len() as f64 / all as f64)
}

/// Scores 1 if the reply contains a match of the regular expression in the setting `pattern`, else 0. If the setting
/// `whole` is true, the whole reply must match.
pub fn regex(settings: &BuiltinSettings, example: &Example, reply: &str) -> Option<f64> {
    let pattern = setting(settings, example, "pattern")?.as_str()?;
    let whole = settings.get("whole").and_then(Value::as_bool).unwrap_or(false);
    let pattern = if whole { format!(r"\A(?s:\s*(?:{pattern})\s*)\z") } else { pattern.to_owned() };
    Some(yes(PATTERNS.get(&pattern, || Regex::new(&pattern).ok())?.is_match(reply)))
}

/// Scores 1 if the reply consists of one section for each name in the setting `tags`, in this order, and no section is
/// empty, else 0. With the names `think` and `answer`: `<think>…</think> <answer>…</answer>`.
///
/// The first tag need not be opened: the chat templates of reasoning models open it at the end of the prompt, so that a
/// reply begins inside the first section.
pub fn tags(settings: &BuiltinSettings, _: &Example, reply: &str) -> Option<f64> {
    let tags: Vec<&str> = settings.get("tags")?.as_array()?.iter().filter_map(Value::as_str).collect();
    let opened = tags.first().map(|tag| format!("<{tag}>")).filter(|open| !reply.contains(open.as_str()));
    let reply = opened.map_or_else(|| reply.to_owned(), |open| open + reply);
    let mut rest = reply.trim();
    for tag in &tags {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        if reply.matches(&open).count() != 1 || reply.matches(&close).count() != 1 {
            return Some(0.0);
        }
        let Some((inner, after)) = rest.strip_prefix(&open).and_then(|r| r.split_once(&close)) else {
            return Some(0.0);
        };
        if !inner.contains(char::is_alphanumeric) {
            return Some(0.0);
        }
        rest = after.trim();
    }
    Some(yes(rest.is_empty()))
}

/// Scores 1 if the reply is JSON that is valid by the JSON schema in the setting `schema`, else 0. The JSON may stand
/// in a code fence.
pub fn json_schema(settings: &BuiltinSettings, example: &Example, reply: &str) -> Option<f64> {
    let schema = setting(settings, example, "schema")?;
    let validator = SCHEMAS.get(&schema.to_string(), || jsonschema::validator_for(schema).ok())?;
    let value: Option<Value> = serde_json::from_str(ifeval::unfenced(reply)).ok();
    Some(yes(value.is_some_and(|v| validator.is_valid(&v))))
}

/// Scores 1 if the reply is in the language whose two-letter code is the setting `language`, else 0. A reply of fewer
/// than 12 letters passes as any language; one without letters scores 0.
pub fn language(settings: &BuiltinSettings, example: &Example, reply: &str) -> Option<f64> {
    let code = setting(settings, example, "language")?.as_str()?;
    // The language of one or two words cannot be told.
    let letters = reply.chars().filter(|c| c.is_alphabetic()).count();
    Some(yes(letters > 0 && (letters < 12 || ifeval::language(reply) == Some(code))))
}

/// The identifiers of the instructions that an example lists, as those of `IFEval`; `None` when it lists none.
fn listed_instructions(example: &Example) -> Option<&Vec<Value>> {
    example.columns.get("instruction_id_list")?.as_array().filter(|ids| !ids.is_empty())
}

/// Whether an example lists instructions that [`instructions`] checks.
pub fn lists_instructions(example: &Example) -> bool {
    listed_instructions(example).is_some()
}

/// The share of the example's instructions that the reply follows; 0 for an empty reply. The instructions are in the
/// columns `instruction_id_list` and `kwargs`, in the form of `IFEval`.
pub fn instructions(_: &BuiltinSettings, example: &Example, reply: &str) -> Option<ExplainedScore> {
    let ids = listed_instructions(example)?;
    let arguments = example.columns.get("kwargs")?.as_array()?;
    // The reference implementation of IFEval counts the paragraphs that are not blank, but looks for the n-th among all.
    // A benchmark reports what it reports; as a reward, the n-th is the n-th of those that are counted.
    let paragraphs = ifeval::without_blank_paragraphs(reply);
    let check = |(i, id): (usize, &Value)| {
        let id = id.as_str()?;
        let by_paragraph = id.ends_with("length_constraints:nth_paragraph_first_word");
        ifeval::follows(id, arguments.get(i)?, if by_paragraph { &paragraphs } else { reply })
    };
    let verdicts = ids.iter().enumerate().map(check).collect::<Option<Vec<bool>>>()?;
    // An empty reply follows many instructions, but deserves nothing.
    if reply.trim().is_empty() {
        return Some(ExplainedScore { score: 0.0, reason: Reason::new("the reply is empty") });
    }
    let broken: Vec<&str> = ids.iter().zip(&verdicts).filter(|(_, v)| !**v).filter_map(|(id, _)| id.as_str()).collect();
    let score = (verdicts.len() - broken.len()) as f64 / verdicts.len() as f64;
    let reason = if broken.is_empty() { None } else { Reason::new(&format!("not followed: {}", broken.join(", "))) };
    Some(ExplainedScore { score, reason })
}
