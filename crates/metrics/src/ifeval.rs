//! The 25 instruction checks of `IFEval` (Zhou et al., 2023): whether a reply keeps to the form that was asked for.
//!
//! Languages are told by `whatlang` and sentences by [`sentences`], where the reference uses `langdetect` and NLTK's
//! trained Punkt: on some replies they differ.

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use crate::sentences::sentences;

/// Sizes of patterns that arguments may ask for, in bytes.
const PATTERN_SIZE: usize = 1 << 20;

/// Whether a reply follows an instruction, by its id with or without a language before it (`en:`); nothing for an
/// instruction that is not known or lacks its arguments.
pub fn follows(id: &str, arguments: &Value, reply: &str) -> Option<bool> {
    let id = id.strip_prefix("en:").unwrap_or(id);
    let text = |key: &str| arguments[key].as_str();
    let number = |key: &str| arguments[key].as_f64().filter(|n| *n >= 0.0).map(|n| n as usize);
    let texts = |key: &str| -> Option<Vec<&str>> { arguments[key].as_array()?.iter().map(Value::as_str).collect() };
    let compared = |relation: &str, have: usize, wanted: usize| -> Option<bool> {
        match text(relation)? {
            "less than" => Some(have < wanted),
            "at least" => Some(have >= wanted),
            _ => None,
        }
    };
    Some(match id {
        "keywords:existence" => {
            let all: Option<Vec<bool>> =
                texts("keywords")?.into_iter().map(|k| Some(pattern(k)?.is_match(reply))).collect();
            all?.into_iter().all(|found| found)
        }
        "keywords:frequency" => {
            let found = pattern(text("keyword")?)?.find_iter(reply).count();
            compared("relation", found, number("frequency")?)?
        }
        "keywords:forbidden_words" => {
            let any: Option<Vec<bool>> = texts("forbidden_words")?
                .into_iter()
                .map(|w| Some(pattern(&format!(r"\b{w}\b"))?.is_match(reply)))
                .collect();
            !any?.into_iter().any(|found| found)
        }
        "keywords:letter_frequency" => {
            let letter = text("letter")?.to_lowercase();
            let found = reply.to_lowercase().matches(&letter).count();
            compared("let_relation", found, number("let_frequency")?)?
        }
        "language:response_language" => language(reply).is_none_or(|l| Some(l) == text("language")),
        "length_constraints:number_sentences" => compared("relation", sentences(reply), number("num_sentences")?)?,
        "length_constraints:number_words" => {
            let words = reply.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|w| !w.is_empty()).count();
            compared("relation", words, number("num_words")?)?
        }
        "length_constraints:number_paragraphs" => paragraphs(reply) == Some(number("num_paragraphs")?),
        "length_constraints:nth_paragraph_first_word" => {
            let wanted = text("first_word")?.to_lowercase();
            first_word(reply, number("num_paragraphs")?, number("nth_paragraph")?) == Some(wanted)
        }
        "detectable_content:number_placeholders" => count(r"\[.*?\]", reply) >= number("num_placeholders")?,
        "detectable_content:postscript" => {
            let marker = match text("postscript_marker")? {
                "P.P.S" => r"p\.\s?p\.\s?s".to_owned(),
                "P.S." => r"p\.\s?s\.".to_owned(),
                other => other.to_lowercase(),
            };
            fixed(&marker)?.is_match(&reply.to_lowercase())
        }
        "detectable_format:number_bullet_lists" => {
            let stars = count(r"(?m)^\s*\*[^\*].*$", reply);
            stars + count(r"(?m)^\s*-.*$", reply) == number("num_bullets")?
        }
        "detectable_format:constrained_response" => {
            ["My answer is yes.", "My answer is no.", "My answer is maybe."].iter().any(|a| reply.contains(a))
        }
        "detectable_format:number_highlighted_sections" => {
            marked(r"\*[^\n\*]*\*", 1, reply) + marked(r"\*\*[^\n\*]*\*\*", 2, reply) >= number("num_highlights")?
        }
        "detectable_format:multiple_sections" => {
            let splitter = format!(r"\s?{}\s?\d+\s?", text("section_spliter")?);
            fixed(&splitter)?.find_iter(reply).count() >= number("num_sections")?
        }
        "detectable_format:json_format" => serde_json::from_str::<serde::de::IgnoredAny>(unfenced(reply)).is_ok(),
        "detectable_format:title" => fixed(r"<<[^\n]+>>")?
            .find_iter(reply)
            .any(|t| !t.as_str().trim_start_matches('<').trim_end_matches('>').trim().is_empty()),
        "combination:two_responses" => two_responses(reply),
        "combination:repeat_prompt" => {
            let wanted = text("prompt_to_repeat")?.trim().to_lowercase();
            reply.trim().to_lowercase().starts_with(&wanted)
        }
        "startend:end_checker" => {
            let wanted = text("end_phrase")?.trim().to_lowercase();
            reply.trim().trim_matches('"').to_lowercase().ends_with(&wanted)
        }
        "startend:quotation" => {
            let reply = reply.trim();
            reply.chars().count() > 1 && reply.starts_with('"') && reply.ends_with('"')
        }
        "change_case:capital_word_frequency" => {
            let words = words(reply).into_iter().filter(|w| is_upper(w)).count();
            compared("capital_relation", words, number("capital_frequency")?)?
        }
        "change_case:english_capital" => is_upper(reply) && language(reply).is_none_or(|l| l == "en"),
        "change_case:english_lowercase" => is_lower(reply) && language(reply).is_none_or(|l| l == "en"),
        "punctuation:no_comma" => !reply.contains(','),
        _ => return None,
    })
}

/// The same, forgiving what surrounds an answer: its first or last line, and asterisks.
pub fn follows_loosely(id: &str, arguments: &Value, reply: &str) -> Option<bool> {
    let lines: Vec<&str> = reply.split('\n').collect();
    let part = |from: usize, to: usize| lines.get(from..to.max(from)).unwrap_or(&[]).join("\n").trim().to_owned();
    let n = lines.len();
    let forms = [reply.to_owned(), part(1, n), part(0, n - 1), part(1, n.saturating_sub(1))];
    let bare = forms.iter().map(|f| f.replace('*', ""));
    let forms: Vec<String> = forms.iter().cloned().chain(bare).collect();
    let mut any = false;
    for form in forms.iter().filter(|f| !f.trim().is_empty()) {
        any |= follows(id, arguments, form)?;
    }
    Some(any)
}

/// A pattern out of an instruction's arguments, in any case.
fn pattern(text: &str) -> Option<Regex> {
    RegexBuilder::new(text).case_insensitive(true).size_limit(PATTERN_SIZE).build().ok()
}

fn fixed(text: &str) -> Option<Regex> {
    RegexBuilder::new(text).size_limit(PATTERN_SIZE).build().ok()
}

fn count(pattern: &str, reply: &str) -> usize {
    fixed(pattern).map_or(0, |p| p.find_iter(reply).count())
}

/// Pieces between asterisks that are not empty; `marks` of them on either side.
fn marked(pattern: &str, marks: usize, reply: &str) -> usize {
    let inner = |m: &str| m[marks..m.len() - marks].trim_matches('*').trim().to_owned();
    fixed(pattern).map_or(0, |p| p.find_iter(reply).filter(|m| !inner(m.as_str()).is_empty()).count())
}

/// A text without the fence of a block of code around it.
pub fn unfenced(reply: &str) -> &str {
    let mut inner = reply.trim();
    for fence in ["```json", "```Json", "```JSON", "```"] {
        inner = inner.strip_prefix(fence).unwrap_or(inner);
    }
    inner.strip_suffix("```").unwrap_or(inner).trim()
}

/// The two-letter code of a text's language; nothing where there is none to tell it by.
pub fn language(text: &str) -> Option<&'static str> {
    use whatlang::Lang;
    if !text.chars().any(char::is_alphabetic) {
        return None;
    }
    // Capitals are unlike what the models were made from.
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

/// Parts between `***`; nothing where one in the middle is empty.
fn paragraphs(reply: &str) -> Option<usize> {
    let splitter = fixed(r"\s?\*\*\*\s?")?;
    let parts: Vec<&str> = splitter.split(reply).collect();
    let is_empty = |i: usize| parts[i].trim().is_empty();
    if (1..parts.len().saturating_sub(1)).any(is_empty) {
        return None;
    }
    let ends = usize::from(is_empty(0)) + usize::from(parts.len() > 1 && is_empty(parts.len() - 1));
    Some(parts.len() - ends)
}

/// The first word of the `nth` of so many paragraphs, in lower case.
fn first_word(reply: &str, wanted: usize, nth: usize) -> Option<String> {
    let parts: Vec<&str> = reply.split("\n\n").collect();
    let filled = parts.iter().filter(|p| !p.trim().is_empty()).count();
    if filled != wanted || nth == 0 || nth > filled {
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

fn two_responses(reply: &str) -> bool {
    let parts: Vec<&str> = reply.split("******").collect();
    let inner_is_empty = parts.iter().enumerate().any(|(i, p)| p.trim().is_empty() && i != 0 && i != parts.len() - 1);
    let filled: Vec<&str> = parts.into_iter().map(str::trim).filter(|p| !p.is_empty()).collect();
    !inner_is_empty && filled.len() == 2 && filled[0] != filled[1]
}

fn is_upper(text: &str) -> bool {
    text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase)
}

fn is_lower(text: &str) -> bool {
    text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase)
}

/// Words as the Penn Treebank cuts them: punctuation and contractions are words of their own.
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
