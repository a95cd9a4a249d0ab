//! Takes what looks like a secret out of texts that came from or went to a language model. rlar keeps the keys that it
//! knows out of its logs; this is for those that it does not know, such as a token in a prompt.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// What stands in the place of a secret.
const MARK: &str = "[secret]";

/// Keys of well-known services, bearer tokens, and the password of an address. The first group stays.
static SECRETS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let forms = [
        r"\b(?:sk|rk|pk)-[A-Za-z0-9_-]{16,}",
        r"\b(?:hf|ghp|gho|glpat|xox[abp])[_-][A-Za-z0-9_-]{16,}",
        r"\bAKIA[0-9A-Z]{16}\b",
        r"((?i:bearer)\s+)[A-Za-z0-9._~+/=-]{12,}",
        r"(://[^\s/:@]+:)[^\s/@]+@",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
    ];
    Regex::new(&forms.join("|")).ok()
});

/// A text without what looks like a secret.
pub fn redact_text(text: &str) -> String {
    let Some(secrets) = SECRETS.as_ref() else { return MARK.to_owned() };
    let replace = |found: &regex::Captures| {
        let kept = found.get(1).or_else(|| found.get(2)).map_or("", |kept| kept.as_str());
        let end = if found.get(2).is_some() { "@" } else { "" };
        format!("{kept}{MARK}{end}")
    };
    secrets.replace_all(text, replace).into_owned()
}

/// Redacts all texts of a JSON value.
pub fn redact_value(value: &mut Value) {
    match value {
        Value::String(text) => *text = redact_text(text),
        Value::Array(items) => items.iter_mut().for_each(redact_value),
        Value::Object(fields) => fields.values_mut().for_each(redact_value),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
