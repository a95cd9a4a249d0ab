//! Finds the final answer in references that hold a worked solution.
//!
//! A reply can be compared with "10", but not with "5 + 5 = 10, so she has … #### 10": similarity to the whole text would
//! reward wrong solutions that are worded alike. The answer is behind a mark that nearly all references of a data set
//! share: `####`, `\boxed{…}`, "The answer is", or any other mark, which is found by comparing the references.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;

/// Minimum share of a data set's references that must have a mark, such as `####`, before the final answer, so that the
/// mark is trusted.
const NEARLY_ALL: f64 = 0.9;
/// References with at most this many words are answers and not worked solutions.
const SHORT_WORDS: usize = 6;
/// Maximum number of words of a final answer behind a mark such as "The answer is"; a longer text is no final answer.
const MAX_ANSWER_WORDS: usize = 12;
/// Maximum number of words and signs in a mark before the final answer that is found by comparing references.
const MAX_MARK_TOKENS: usize = 4;
/// Maximum number of characters at the end of a reference's last line in which a mark before the final answer is looked
/// for.
const TAIL_CHARS: usize = 160;
/// Maximum number of references that are compared with one another to find the mark before their final answers.
const COMPARED: usize = 2000;

/// Minimum number of references that are compared with one another to find the mark before their final answers. With
/// fewer, no mark is looked for, because all of them may share a text by chance.
const MIN_COMPARED: usize = 5;

/// The result of looking for the final answer in each reference of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinalAnswers {
    /// The references are used unchanged: they are bare answers, or texts that do not look like worked solutions.
    AsTheyAre,
    /// The references hold more than the answer, and the final answers in them were found.
    Found {
        /// The final answer of each reference, in order; `None` for a reference that is used unchanged.
        answers: Vec<Option<String>>,
        /// Where the final answers stand, as the end of a sentence that begins "the reference is what": for example
        /// "follows `####`".
        how: String,
    },
    /// The references look like worked solutions, but the final answer was not found in all of them. The text says in
    /// how many it was found, or that no mark before it was found.
    Unclear(String),
}

/// Finds the final answers of the references of one data set.
pub fn find_final_answers(references: &[&str]) -> FinalAnswers {
    let long: Vec<&str> = references.iter().copied().filter(|text| !is_short(text)).collect();
    if references.is_empty() || (long.len() as f64) < 0.5 * references.len() as f64 {
        return boxed_only(references);
    }
    let known: Vec<Option<Found>> = references.iter().map(|text| known_mark(text)).collect();
    let unmarked: Vec<&str> = references
        .iter()
        .zip(&known)
        .filter(|(text, found)| found.is_none() && !is_short(text))
        .map(|(t, _)| *t)
        .collect();
    let learned =
        if unmarked.len() as f64 > (1.0 - NEARLY_ALL) * references.len() as f64 || known.iter().all(Option::is_none) {
            learn_mark(&unmarked)
        } else {
            None
        };
    let mut marks: Vec<String> = Vec::new();
    let mut missing = 0;
    let answers: Vec<Option<String>> = references
        .iter()
        .zip(known)
        .map(|(text, known)| {
            let found = known.or_else(|| learned.as_ref()?.apply(text));
            let Some(Found { answer, mark }) = found else {
                missing += usize::from(!is_short(text));
                return None;
            };
            if !marks.contains(&mark) {
                marks.push(mark);
            }
            Some(answer)
        })
        .collect();
    let found = answers.iter().flatten().count();
    if found as f64 >= NEARLY_ALL * (found + missing) as f64 && missing == 0 {
        return FinalAnswers::Found { answers, how: marks.join(" or ") };
    }
    if found as f64 >= 0.5 * (found + missing) as f64 {
        let how = marks.join(" or ");
        return FinalAnswers::Unclear(format!(
            "{found} of {} references end in an answer that {how}, {missing} do not",
            found + missing
        ));
    }
    if is_worked_solutions(&long) {
        let why = "the references look like worked solutions, and no text such as `####` was found that stands before \
                   every final answer";
        return FinalAnswers::Unclear(why.into());
    }
    FinalAnswers::AsTheyAre
}

/// A final answer, and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    answer: String,
    /// Where the answer was found, as a verb phrase such as "follows `####`".
    mark: String,
}

/// Whether a reference is short enough to be a bare answer without a worked solution: one line of at most `SHORT_WORDS`
/// words between spaces, without `####`.
fn is_short(text: &str) -> bool {
    text.split_whitespace().count() <= SHORT_WORDS && !text.trim().contains('\n') && !text.contains("####")
}

/// Finds the answers of references that are mostly short, such as `$\boxed{42}$`, behind marks in general use.
/// [`FinalAnswers::AsTheyAre`] if fewer than the share `NEARLY_ALL` of the references have such a mark.
fn boxed_only(references: &[&str]) -> FinalAnswers {
    let known: Vec<Option<Found>> = references.iter().map(|text| known_mark(text)).collect();
    let found = known.iter().flatten().count();
    if found == 0 || (found as f64) < NEARLY_ALL * references.len() as f64 {
        return FinalAnswers::AsTheyAre;
    }
    let how = known.iter().flatten().next().map_or(String::new(), |f| f.mark.clone());
    FinalAnswers::Found { answers: known.into_iter().map(|found| Some(found?.answer)).collect(), how }
}

/// The final answer of a reference behind a mark in general use: `####`, `\boxed{…}`, `<answer>` or "The answer is".
/// `None` if the reference has no such answer.
fn known_mark(text: &str) -> Option<Found> {
    static TAG: LazyLock<Regex> = LazyLock::new(|| regex(r"(?is)<(?:final_)?answer>\s*(.*?)\s*</(?:final_)?answer>"));
    static SENTENCE: LazyLock<Regex> =
        LazyLock::new(|| regex(r"(?i)\b(?:final\s+|correct\s+)?answer\b\**\s*(?:is|:|=|\u{ff1a})\**\s*:?\s*(.+?)\s*$"));
    let found = |answer: &str, mark: &str| {
        let answer = tidy(answer);
        (!answer.is_empty()).then(|| Found { answer, mark: mark.to_owned() })
    };
    if let Some((_, rest)) = text.rsplit_once("####") {
        let line = rest.trim_start_matches('#').trim_start().lines().next().unwrap_or("");
        return found(line, "follows `####`");
    }
    if let Some(answer) = last_boxed(text) {
        return found(answer, r"is in `\boxed{…}`");
    }
    if let Some(tag) = TAG.captures_iter(text).last() {
        return found(&tag[1], "is in `<answer>`");
    }
    let last = text.lines().rev().find(|line| !line.trim().is_empty())?;
    let sentence = SENTENCE.captures(last)?;
    let answer = sentence.get(1)?.as_str();
    (answer.split_whitespace().count() <= MAX_ANSWER_WORDS).then(|| found(answer, "follows \"the answer is\""))?
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap_or_else(|e| unreachable!("{pattern}: {e}"))
}

/// The contents of the last `\boxed{…}` or `\fbox{…}` of a text.
fn last_boxed(text: &str) -> Option<&str> {
    let start = [r"\boxed{", r"\fbox{"].iter().filter_map(|mark| Some(text.rfind(mark)? + mark.len())).max()?;
    let mut depth = 1;
    for (i, c) in text[start..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(&text[start..start + i]);
        }
    }
    None
}

/// Removes from the ends of an answer: spaces, the `*` of emphasis, the full stop of a sentence, and the `$` of a
/// formula.
fn tidy(answer: &str) -> String {
    let answer = answer.trim().trim_matches('*').trim();
    let answer = answer.strip_suffix('.').unwrap_or(answer).trim_end();
    let inner = answer.strip_prefix('$').and_then(|a| a.strip_suffix('$')).filter(|a| !a.contains('$'));
    inner.unwrap_or(answer).trim().to_owned()
}

/// A mark that was found by comparing the references of a data set: the text that stands before nearly every final
/// answer, and the signs behind it, which may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LearnedMark {
    before: String,
    behind: String,
}

impl LearnedMark {
    /// The final answer of the reference `text`; `None` if the mark is not at its end, or if no answer or a very long
    /// one follows the mark.
    fn apply(&self, text: &str) -> Option<Found> {
        let tail = tail(text);
        let at = tail.rfind(&self.before)? + self.before.len();
        let answer = tail[at..].trim();
        let answer = answer.strip_suffix(&self.behind).unwrap_or(answer);
        let answer = tidy(answer);
        let is_answer = !answer.is_empty() && answer.split_whitespace().count() <= MAX_ANSWER_WORDS;
        is_answer.then(|| Found { answer, mark: format!("follows `{}`", self.before.trim()) })
    }
}

/// The last line of a text, or the last `TAIL_CHARS` characters of a longer line.
fn tail(text: &str) -> &str {
    let line = text.trim_end().rsplit('\n').next().unwrap_or("");
    let start = line.char_indices().rev().nth(TAIL_CHARS - 1).map_or(0, |(i, _)| i);
    &line[start..]
}

/// Finds the mark that nearly all references have before their final answer: a short run of words and signs, without
/// digits, behind which at most a few words follow. A mark of ordinary words or signs counts only if numbers, formulas
/// or single letters follow it nearly everywhere. `None` if there is no such mark, or too few references.
fn learn_mark(references: &[&str]) -> Option<LearnedMark> {
    static TOKEN: LazyLock<Regex> = LazyLock::new(|| regex(r"\p{L}+|\d[\d.,/]*|[^\s\p{L}\d]+"));
    let sample: Vec<&str> = references.iter().copied().take(COMPARED).collect();
    let needed = (NEARLY_ALL * sample.len() as f64).ceil() as usize;
    if sample.len() < MIN_COMPARED {
        return None;
    }
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for text in &sample {
        let tail = tail(text);
        let tokens: Vec<_> = TOKEN.find_iter(tail).collect();
        let mut candidates: Vec<&str> = Vec::new();
        for first in 0..tokens.len() {
            for last in first..tokens.len().min(first + MAX_MARK_TOKENS) {
                if tokens[last].as_str().starts_with(|c: char| c.is_ascii_digit()) {
                    break;
                }
                let mark = &tail[tokens[first].start()..tokens[last].end()];
                // Only the last occurrence can be the mark, and something must follow it.
                if last + 1 < tokens.len() && tail.rfind(mark) == Some(tokens[first].start()) {
                    candidates.push(mark);
                }
            }
        }
        candidates.sort_unstable();
        candidates.dedup();
        for mark in candidates {
            *counts.entry(mark).or_default() += 1;
        }
    }
    let mut marks: Vec<LearnedMark> = counts
        .into_iter()
        .filter(|(_, count)| *count >= needed)
        .map(|(mark, _)| with_ending(mark, &sample))
        .filter(|mark| is_mark(mark, &sample))
        .collect();
    // The mark closest to the answer, and of those the longest.
    marks.sort_by_key(|mark| (answer_length(mark, &sample), std::cmp::Reverse(mark.before.len()), mark.before.clone()));
    marks.into_iter().next()
}

/// Completes the mark `before` by the signs that end nearly every answer in `sample`, such as `]]` or `</ans>`; by
/// nothing if the answers have no common ending.
fn with_ending(before: &str, sample: &[&str]) -> LearnedMark {
    static ENDING: LazyLock<Regex> = LazyLock::new(|| regex(r"(?:</?\w+>|[^\s\p{L}\d.%!)}°€$]+\.?)$"));
    let bare = LearnedMark { before: before.to_owned(), behind: String::new() };
    let mut endings: HashMap<String, usize> = HashMap::new();
    for text in sample {
        if let Some(found) = bare.apply(text)
            && let Some(ending) = ENDING.find(&found.answer)
        {
            *endings.entry(ending.as_str().to_owned()).or_default() += 1;
        }
    }
    let needed = (NEARLY_ALL * sample.len() as f64).ceil() as usize;
    let behind = endings.into_iter().find(|(_, count)| *count >= needed).map(|(ending, _)| ending);
    LearnedMark { behind: behind.unwrap_or_default(), ..bare }
}

/// Whether nearly all references in `sample` have an answer behind a mark. For a mark of ordinary words, the answers
/// must be numbers, formulas or letters of a choice, and the mark must end in `:`, `=`, "is" or "are", or begin the
/// last line of nearly every reference.
fn is_mark(mark: &LearnedMark, sample: &[&str]) -> bool {
    let answers: Vec<String> = sample.iter().filter_map(|text| Some(mark.apply(text)?.answer)).collect();
    let needed = NEARLY_ALL * sample.len() as f64;
    let checkable = answers.iter().filter(|answer| is_checkable(answer)).count();
    let is_sign = |c: char| !c.is_alphanumeric() && !c.is_whitespace() && !".,;!?'\"()-".contains(c);
    // Two signs in a row, such as `=>` or `||`, stand in no ordinary sentence.
    let is_special = mark.before.chars().filter(|c| is_sign(*c)).count() >= 2;
    if is_special {
        return answers.len() as f64 >= needed;
    }
    let announces = [":", "=", "is", "are"].iter().any(|end| mark.before.ends_with(end));
    let begins_line = |text: &&&str| tail(text).trim_start().starts_with(&mark.before);
    let is_place = announces || sample.iter().filter(begins_line).count() as f64 >= needed;
    is_place && checkable as f64 >= needed
}

/// Whether an answer is a number (perhaps with a unit), a formula or the letter of a choice.
fn is_checkable(answer: &str) -> bool {
    let words: Vec<&str> = answer.split_whitespace().collect();
    // A number in the middle of a sentence is no final answer: "7 more than before".
    let is_letter = matches!(answer.trim_matches(['(', ')']).as_bytes(), [b'A'..=b'J']);
    let first_has_digit = words.first().is_some_and(|word| word.contains(|c: char| c.is_ascii_digit()));
    is_letter || (first_has_digit && words.len() <= 2) || answer.contains('\\')
}

/// The mean length of the answers behind a mark in `sample`, in hundredths of a byte.
fn answer_length(mark: &LearnedMark, sample: &[&str]) -> usize {
    let answers: Vec<usize> = sample.iter().filter_map(|text| Some(mark.apply(text)?.answer.len())).collect();
    100 * answers.iter().sum::<usize>() / answers.len().max(1)
}

/// Whether most of the references have equations, as worked solutions do.
fn is_worked_solutions(references: &[&str]) -> bool {
    static EQUATION: LazyLock<Regex> = LazyLock::new(|| regex(r"\d\s*[-+*/×÷^]\s*\$?\(?\d[^=\n]*=\s*[$£€]?-?\d"));
    let with_equation = references.iter().filter(|text| EQUATION.is_match(text)).count();
    with_equation as f64 >= 0.6 * references.len() as f64
}
