//! The 25 instruction checks of `IFEval` (Zhou et al., 2023). Each check decides whether a reply follows one
//! instruction about its form, such as "use no comma".
//!
//! Here `whatlang` detects the language and [`sentences`] splits sentences, whereas the reference implementation uses
//! `langdetect` and NLTK's trained Punkt. On some replies the results differ.

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use crate::sentences::sentences;

/// Maximum size of a compiled regular expression, in bytes. The limit is needed because instructions contain regular
/// expressions.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// Whether a reply follows an instruction exactly (strict mode). `id` is the instruction's id, such as
/// `punctuation:no_comma`, with or without the prefix `en:`; `arguments` is the instruction's `kwargs` object. `None`
/// if the id is unknown, or an argument is missing or invalid.
pub fn follows(id: &str, arguments: &Value, reply: &str) -> Option<bool> {
    let id = id.strip_prefix("en:").unwrap_or(id);
    let arguments = Arguments(arguments);
    match id.split_once(':')?.0 {
        "keywords" => follows_keywords(id, arguments, reply),
        "language" | "length_constraints" => follows_length(id, arguments, reply),
        "detectable_content" | "detectable_format" => follows_format(id, arguments, reply),
        _ => follows_wording(id, arguments, reply),
    }
}

/// The arguments of an instruction (`kwargs`). Every method gives `None` if the argument is missing or has another
/// type.
#[derive(Clone, Copy)]
struct Arguments<'a>(&'a Value);

impl<'a> Arguments<'a> {
    fn text(self, key: &str) -> Option<&'a str> {
        self.0[key].as_str()
    }

    fn number(self, key: &str) -> Option<usize> {
        self.0[key].as_f64().filter(|n| *n >= 0.0).map(|n| n as usize)
    }

    fn texts(self, key: &str) -> Option<Vec<&'a str>> {
        self.0[key].as_array()?.iter().map(Value::as_str).collect()
    }

    /// Compares `count` with the number that the instruction's arguments hold under the key `bound`. The text under the
    /// key `relation` says whether `count` must be `less than` or `at least` that number. `None` if one of the two is
    /// missing or invalid.
    fn compare(self, relation: &str, count: usize, bound: &str) -> Option<bool> {
        let bound = self.number(bound)?;
        match self.text(relation)? {
            "less than" => Some(count < bound),
            "at least" => Some(count >= bound),
            _ => None,
        }
    }
}

/// Whether a reply follows an instruction about keywords or letters (`keywords:…`).
fn follows_keywords(id: &str, arguments: Arguments, reply: &str) -> Option<bool> {
    Some(match id {
        "keywords:existence" => {
            let all: Option<Vec<bool>> =
                arguments.texts("keywords")?.into_iter().map(|k| Some(pattern(k)?.is_match(reply))).collect();
            all?.into_iter().all(|found| found)
        }
        "keywords:frequency" => {
            let found = pattern(arguments.text("keyword")?)?.find_iter(reply).count();
            arguments.compare("relation", found, "frequency")?
        }
        "keywords:forbidden_words" => {
            let any: Option<Vec<bool>> = arguments
                .texts("forbidden_words")?
                .into_iter()
                .map(|w| Some(pattern(&format!(r"\b{w}\b"))?.is_match(reply)))
                .collect();
            !any?.into_iter().any(|found| found)
        }
        "keywords:letter_frequency" => {
            let letter = arguments.text("letter")?.to_lowercase();
            let found = reply.to_lowercase().matches(&letter).count();
            arguments.compare("let_relation", found, "let_frequency")?
        }
        _ => return None,
    })
}

/// Whether a reply follows an instruction about the language or the length (`language:…`, `length_constraints:…`).
fn follows_length(id: &str, arguments: Arguments, reply: &str) -> Option<bool> {
    Some(match id {
        "language:response_language" => language(reply).is_none_or(|l| Some(l) == arguments.text("language")),
        "length_constraints:number_sentences" => arguments.compare("relation", sentences(reply), "num_sentences")?,
        "length_constraints:number_words" => {
            let words = reply.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|w| !w.is_empty()).count();
            arguments.compare("relation", words, "num_words")?
        }
        "length_constraints:number_paragraphs" => paragraphs(reply) == Some(arguments.number("num_paragraphs")?),
        "length_constraints:nth_paragraph_first_word" => {
            let expected = arguments.text("first_word")?.to_lowercase();
            first_word(reply, arguments.number("num_paragraphs")?, arguments.number("nth_paragraph")?) == Some(expected)
        }
        _ => return None,
    })
}

/// Whether a reply follows an instruction about detectable content or formats (`detectable_content:…`,
/// `detectable_format:…`).
fn follows_format(id: &str, arguments: Arguments, reply: &str) -> Option<bool> {
    Some(match id {
        "detectable_content:number_placeholders" => count(r"\[.*?\]", reply) >= arguments.number("num_placeholders")?,
        "detectable_content:postscript" => {
            let marker = match arguments.text("postscript_marker")? {
                "P.P.S" => r"p\.\s?p\.\s?s".to_owned(),
                "P.S." => r"p\.\s?s\.".to_owned(),
                other => other.to_lowercase(),
            };
            case_sensitive(&marker)?.is_match(&reply.to_lowercase())
        }
        "detectable_format:number_bullet_lists" => {
            let stars = count(r"(?m)^\s*\*[^\*].*$", reply);
            stars + count(r"(?m)^\s*-.*$", reply) == arguments.number("num_bullets")?
        }
        "detectable_format:constrained_response" => {
            ["My answer is yes.", "My answer is no.", "My answer is maybe."].iter().any(|a| reply.contains(a))
        }
        "detectable_format:number_highlighted_sections" => {
            marked(r"\*[^\n\*]*\*", 1, reply) + marked(r"\*\*[^\n\*]*\*\*", 2, reply)
                >= arguments.number("num_highlights")?
        }
        "detectable_format:multiple_sections" => {
            let splitter = format!(r"\s?{}\s?\d+\s?", arguments.text("section_spliter")?);
            case_sensitive(&splitter)?.find_iter(reply).count() >= arguments.number("num_sections")?
        }
        "detectable_format:json_format" => serde_json::from_str::<serde::de::IgnoredAny>(unfenced(reply)).is_ok(),
        "detectable_format:title" => case_sensitive(r"<<[^\n]+>>")?
            .find_iter(reply)
            .any(|t| !t.as_str().trim_start_matches('<').trim_end_matches('>').trim().is_empty()),
        _ => return None,
    })
}

/// Whether a reply follows an instruction about repetition, the start or end, capitals or punctuation.
fn follows_wording(id: &str, arguments: Arguments, reply: &str) -> Option<bool> {
    Some(match id {
        "combination:two_responses" => two_responses(reply),
        "combination:repeat_prompt" => {
            let expected = arguments.text("prompt_to_repeat")?.trim().to_lowercase();
            reply.trim().to_lowercase().starts_with(&expected)
        }
        "startend:end_checker" => {
            let expected = arguments.text("end_phrase")?.trim().to_lowercase();
            reply.trim().trim_matches('"').to_lowercase().ends_with(&expected)
        }
        "startend:quotation" => {
            let reply = reply.trim();
            reply.chars().count() > 1 && reply.starts_with('"') && reply.ends_with('"')
        }
        "change_case:capital_word_frequency" => {
            let words = words(reply).into_iter().filter(|w| is_upper(w)).count();
            arguments.compare("capital_relation", words, "capital_frequency")?
        }
        "change_case:english_capital" => is_upper(reply) && language(reply).is_none_or(|l| l == "en"),
        "change_case:english_lowercase" => is_lower(reply) && language(reply).is_none_or(|l| l == "en"),
        "punctuation:no_comma" => !reply.contains(','),
        _ => return None,
    })
}

/// Whether a reply follows an instruction in loose mode: whether [`follows`] holds for the reply, or for the reply
/// without its first line, its last line or both, with or without asterisks.
pub fn follows_loosely(id: &str, arguments: &Value, reply: &str) -> Option<bool> {
    let lines: Vec<&str> = reply.split('\n').collect();
    let part = |from: usize, to: usize| lines.get(from..to.max(from)).unwrap_or(&[]).join("\n").trim().to_owned();
    let n = lines.len();
    let variants = [reply.to_owned(), part(1, n), part(0, n - 1), part(1, n.saturating_sub(1))];
    let without_asterisks = variants.iter().map(|v| v.replace('*', ""));
    let variants: Vec<String> = variants.iter().cloned().chain(without_asterisks).collect();
    let mut any = false;
    for variant in variants.iter().filter(|v| !v.trim().is_empty()) {
        any |= follows(id, arguments, variant)?;
    }
    Some(any)
}

/// Compiles a regular expression from an instruction's arguments, for matching without regard to case; `None` if it is
/// invalid or too large.
fn pattern(text: &str) -> Option<Regex> {
    RegexBuilder::new(text).case_insensitive(true).size_limit(MAX_PATTERN_BYTES).build().ok()
}

/// Compiles a regular expression that respects case; `None` if it is invalid or too large.
fn case_sensitive(text: &str) -> Option<Regex> {
    RegexBuilder::new(text).size_limit(MAX_PATTERN_BYTES).build().ok()
}

/// The number of matches of a regular expression in a reply.
fn count(pattern: &str, reply: &str) -> usize {
    case_sensitive(pattern).map_or(0, |p| p.find_iter(reply).count())
}

/// The number of highlighted passages in a reply: matches of the regular expression `pattern` that have text between
/// the asterisks, of which there are `marks` on either side.
fn marked(pattern: &str, marks: usize, reply: &str) -> usize {
    let inner = |m: &str| m[marks..m.len() - marks].trim_matches('*').trim().to_owned();
    case_sensitive(pattern).map_or(0, |p| p.find_iter(reply).filter(|m| !inner(m.as_str()).is_empty()).count())
}

/// Removes the code fence (three backticks) around a text, if there is one.
pub fn unfenced(reply: &str) -> &str {
    let mut inner = reply.trim();
    for fence in ["```json", "```Json", "```JSON", "```"] {
        inner = inner.strip_prefix(fence).unwrap_or(inner);
    }
    inner.strip_suffix("```").unwrap_or(inner).trim()
}

/// The language of a text, as its ISO 639-1 code, or as its ISO 639-3 code if it is a rarer language. `None` if the
/// text has no letters or its language cannot be detected.
pub fn language(text: &str) -> Option<&'static str> {
    use whatlang::Lang;
    if !text.chars().any(char::is_alphabetic) {
        return None;
    }
    // The text is in lower case here because the detector's models were trained on lower case.
    let lang = whatlang::detect_lang(&text.to_lowercase())?;
    Some(match lang {
        Lang::Eng => "en",
        Lang::Spa => "es",
        Lang::Por => "pt",
        Lang::Ara => "ar",
        Lang::Hin => "hi",
        Lang::Fra => "fr",
        Lang::Rus => "ru",
        Lang::Deu => "de",
        Lang::Jpn => "ja",
        Lang::Ita => "it",
        Lang::Ben => "bn",
        Lang::Ukr => "uk",
        Lang::Tha => "th",
        Lang::Urd => "ur",
        Lang::Tam => "ta",
        Lang::Tel => "te",
        Lang::Bul => "bg",
        Lang::Kor => "ko",
        Lang::Pol => "pl",
        Lang::Heb => "he",
        Lang::Pes => "fa",
        Lang::Vie => "vi",
        Lang::Nep => "ne",
        Lang::Kan => "kn",
        Lang::Mar => "mr",
        Lang::Guj => "gu",
        Lang::Pan => "pa",
        Lang::Mal => "ml",
        Lang::Fin => "fi",
        Lang::Nld => "nl",
        Lang::Swe => "sv",
        Lang::Dan => "da",
        Lang::Nob => "no",
        Lang::Tur => "tr",
        Lang::Cmn => "zh",
        Lang::Ces => "cs",
        Lang::Ron => "ro",
        Lang::Hun => "hu",
        Lang::Ell => "el",
        Lang::Ind => "id",
        other => other.code(),
    })
}

/// The number of paragraphs, which are separated by `***`. `None` if a paragraph between two others is empty.
fn paragraphs(reply: &str) -> Option<usize> {
    let splitter = case_sensitive(r"\s?\*\*\*\s?")?;
    let parts: Vec<&str> = splitter.split(reply).collect();
    let is_empty = |i: usize| parts[i].trim().is_empty();
    if (1..parts.len().saturating_sub(1)).any(is_empty) {
        return None;
    }
    let ends = usize::from(is_empty(0)) + usize::from(parts.len() > 1 && is_empty(parts.len() - 1));
    Some(parts.len() - ends)
}

/// The first word, in lower case, of paragraph number `nth` (from 1). `None` unless the reply has exactly `count`
/// paragraphs, separated by blank lines, and `nth` is from 1 to `count`.
fn first_word(reply: &str, count: usize, nth: usize) -> Option<String> {
    let parts: Vec<&str> = reply.split("\n\n").collect();
    let filled = parts.iter().filter(|p| !p.trim().is_empty()).count();
    if filled != count || nth == 0 || nth > filled {
        return None;
    }
    let word = parts.get(nth - 1)?.split_whitespace().next()?;
    let word = word.trim_start_matches('\'').trim_start_matches('"');
    Some(
        word.chars()
            .take_while(|c| !matches!(c, '.' | ',' | '?' | '!' | '\'' | '"'))
            .flat_map(char::to_lowercase)
            .collect(),
    )
}

/// A copy of a reply in which exactly one blank line separates paragraphs: further blank lines, and those at the start
/// and the end, are removed.
pub fn without_blank_paragraphs(reply: &str) -> String {
    let mut out = String::with_capacity(reply.len());
    let mut is_new = false;
    for line in reply.lines() {
        if line.trim().is_empty() {
            is_new = !out.is_empty();
            continue;
        }
        if !out.is_empty() {
            out.push_str(if is_new { "\n\n" } else { "\n" });
        }
        is_new = false;
        out.push_str(line);
    }
    out
}

/// Whether a reply consists of two different responses separated by `******`.
fn two_responses(reply: &str) -> bool {
    let parts: Vec<&str> = reply.split("******").collect();
    let inner_is_empty = parts.iter().enumerate().any(|(i, p)| p.trim().is_empty() && i != 0 && i != parts.len() - 1);
    let filled: Vec<&str> = parts.into_iter().map(str::trim).filter(|p| !p.is_empty()).collect();
    !inner_is_empty && filled.len() == 2 && filled[0] != filled[1]
}

/// Whether a text has upper-case letters and no lower-case letters.
fn is_upper(text: &str) -> bool {
    text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase)
}

/// Whether a text has lower-case letters and no upper-case letters.
fn is_lower(text: &str) -> bool {
    text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase)
}

/// The words of a text as the Penn Treebank tokenizer splits them, without punctuation marks.
fn words(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for piece in text.split_whitespace() {
        let mut word = String::new();
        let flush = |word: &mut String, out: &mut Vec<String>| {
            if !word.is_empty() {
                out.extend(contractions(std::mem::take(word)));
            }
        };
        let chars: Vec<char> = piece.chars().collect();
        for (i, c) in chars.iter().enumerate() {
            let next_digit = chars.get(i + 1).is_some_and(char::is_ascii_digit);
            let last = chars[i + 1..].iter().all(|c| !c.is_alphanumeric());
            let cuts = match c {
                ';' | '@' | '#' | '$' | '%' | '&' | '?' | '!' | '(' | ')' | '[' | ']' | '{' | '}' | '<' | '>' | '"'
                | '“' | '”' | '…' => true,
                ',' | ':' => !next_digit,
                '.' => last,
                '-' => chars.get(i + 1) == Some(&'-') || (i > 0 && chars[i - 1] == '-'),
                _ => false,
            };
            if cuts {
                flush(&mut word, &mut out);
            } else {
                word.push(*c);
            }
        }
        flush(&mut word, &mut out);
    }
    out
}

/// Splits an English contraction into two words, such as `don't` into `do` and `n't`. Other words are returned whole.
fn contractions(word: String) -> Vec<String> {
    let lower = word.to_lowercase();
    for ending in ["n't", "'ll", "'re", "'ve", "'s", "'m", "'d"] {
        if lower.ends_with(ending) && lower.len() > ending.len() && word.is_char_boundary(word.len() - ending.len()) {
            let (stem, rest) = word.split_at(word.len() - ending.len());
            return vec![stem.to_owned(), rest.to_owned()];
        }
    }
    vec![word]
}
