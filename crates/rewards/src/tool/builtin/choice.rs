//! The builtin for questions with lettered options.

use std::sync::LazyLock;

use regex::Regex;
use rlar_data::Example;

use super::BuiltinSettings;
use super::explained::ExplainedScore;

/// Scores 1 if the reply chooses the letter that is the reference, else 0. Abstains unless the reference names exactly
/// one letter.
pub fn multiple_choice(_: &BuiltinSettings, example: &Example, reply: &str) -> Option<ExplainedScore> {
    let right = only_choice(example.reference.as_deref()?)?;
    let found = chosen(reply);
    Some(ExplainedScore::compared(found == Some(right), found.map(String::from).as_deref(), &right.to_string()))
}

/// The option letter that a reply to a multiple-choice question names in its last `\boxed{…}`; without one, after its
/// last "answer is" or "answer:"; without these, anywhere. `None` when the text at that place names no letter, or
/// several.
fn chosen(reply: &str) -> Option<char> {
    let lower = reply.to_ascii_lowercase();
    let after = |mark: &str| reply.get(lower.rfind(mark)? + mark.len()..);
    if let Some(rest) = after("\\boxed{") {
        return only_choice(content(rest));
    }
    for mark in ["answer is", "answer:"] {
        if let Some(rest) = after(mark) {
            let line = rest.trim_start_matches([':', ' ', '*']).lines().next().unwrap_or("");
            return only_choice(line);
        }
    }
    if reply.trim().contains('\n') {
        return only_letter(&plain(reply));
    }
    only_choice(reply)
}

/// The beginning of a text up to the brace `}` that closes a group; the group's `{` stands before the text. The whole
/// text if no brace closes the group.
fn content(text: &str) -> &str {
    let mut depth = 1;
    for (at, c) in text.char_indices() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 {
            return &text[..at];
        }
    }
    text
}

/// The one letter that an answer of one line chooses. `None` when it names no letter, or several. The text of an option
/// after its letter, letters that the answer rejects ("not C") and those in its reasons ("because A …") do not count.
fn only_choice(answer: &str) -> Option<char> {
    let text = plain(answer);
    let text = text.trim();
    let alone = text.trim_matches(['(', ')', '[', ']', '.', ':', ' ']);
    if alone.len() == 1 {
        return only_letter(&alone.to_ascii_uppercase());
    }
    option(text).unwrap_or_else(|| only_letter(&without_rejected(sentence(text))))
}

/// An answer without marks of LaTeX and Markdown: dollars, asterisks, underscores, backticks, braces and the names of
/// LaTeX commands. The arguments of the commands stay.
fn plain(answer: &str) -> String {
    static COMMAND: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\\[a-zA-Z]+\s*|\\[^a-zA-Z]|[{}$*_`]").ok());
    match &*COMMAND {
        Some(command) => command.replace_all(answer, " ").trim().to_owned(),
        None => answer.to_owned(),
    }
}

/// The part of a text before the end of its first sentence. The full stop after a letter alone, as in `B. Paris`, does
/// not end a sentence here.
fn sentence(text: &str) -> &str {
    let ends = |at: usize| {
        let word = text[..at].rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or("");
        word.len() > 1 || text[at + 1..].trim_start().starts_with(char::is_uppercase)
    };
    text.match_indices('.').map(|(at, _)| at).find(|at| ends(*at)).map_or(text, |at| &text[..at])
}

/// The letter of an answer that begins with the letter and the text of an option, such as `E: polygenic score` or
/// `(E) polygenic score`. `Some(None)` if it then names further options, so that no single one is chosen; `None` if it
/// does not begin like that.
#[allow(clippy::option_option)] // No answer, an answer without a letter, or a letter.
fn option(answer: &str) -> Option<Option<char>> {
    static OPTION: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"^(?:\(\s*([A-Ja-j])\s*\)\s*[:.,–—-]?|([A-Ja-j])\s*[:.)\]–—]|([A-Ja-j])\s+[-–—]\s)\s*(.+)$").ok()
    });
    static FURTHER: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"^(?i:or|and|/|&|,)|\([A-J]\)|(?:^|[\s,;/&])[A-J](?:[:)\]]|\s*[-–—=]\s)|(?:^|\s)(?:or|and|/|&)\s+\(?[A-J]\)?(?:\W|$)|^\(?[A-J]\)?$").ok()
    });
    let captures = (*OPTION).as_ref()?.captures(answer)?;
    let letter = captures.get(1).or_else(|| captures.get(2)).or_else(|| captures.get(3))?.as_str();
    let rest = without_rejected(captures.get(4)?.as_str());
    if (*FURTHER).as_ref()?.is_match(rest.trim()) {
        return Some(None);
    }
    Some(only_letter(&letter.to_ascii_uppercase()))
}

/// An answer cut off before its first reason ("because …"), and without the letters that it rejects ("not C"). Only the
/// letter B is left of `B, not C, because A is wrong`.
fn without_rejected(answer: &str) -> String {
    static REASON: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"(?i)\b(?:because|since|as|while|whereas|given that|although|though|even though|which|unlike|rather than|instead of|so that)\b").ok()
    });
    static REJECTED: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let letter = r"(?:the\s+)?(?:option\s+|choice\s+|answer\s+)?\(?[A-J]\)?\b\)?";
        Regex::new(&format!(
            r"\b(?i:not|nor|neither|isn't|never)\s+{letter}(?:\s*(?:,|or|nor|and|/)\s*(?:or\s+|nor\s+)?{letter})*"
        ))
        .ok()
    });
    let (Some(reason), Some(rejected)) = (&*REASON, &*REJECTED) else { return answer.to_owned() };
    let until = reason.find(answer).map_or(answer.len(), |found| found.start());
    rejected.replace_all(&answer[..until], " ").into_owned()
}

/// The only letter in a text; `None` if there are several, or none.
fn only_letter(text: &str) -> Option<char> {
    let mut found = letters(text);
    found.sort_unstable();
    found.dedup();
    if let [only] = found[..] { Some(only) } else { None }
}

/// The capital letters from A to J in a text that are words of their own. "I", and "A" as an article, do not count.
fn letters(text: &str) -> Vec<char> {
    let words: Vec<&str> =
        text.split(|c: char| !(c.is_alphanumeric() || c == '\'')).filter(|w| !w.is_empty()).collect();
    let is_article = |i: usize| {
        words[i] == "A"
            && words.get(i + 1).is_some_and(|w| {
                let joins = ["is", "was", "or", "and", "nor", "but", "not", "because", "since", "as"];
                w.len() > 1 && w.starts_with(char::is_lowercase) && !joins.contains(w)
            })
    };
    let letter = |i: usize| words[i].chars().next().filter(|c| words[i].len() == 1 && matches!(c, 'A'..='H' | 'J'));
    (0..words.len()).filter(|i| !is_article(*i)).filter_map(letter).collect()
}
