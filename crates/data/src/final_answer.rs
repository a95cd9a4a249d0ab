//! Finds the final answer in references that hold a worked solution.
//!
//! A reply can be compared with "10", but not with "5 + 5 = 10, so she has … #### 10": similarity to the whole text would
//! reward wrong solutions that are worded alike. The answer is behind a mark that nearly all references of a data set
//! share: `####`, `\boxed{…}`, "The answer is", or any other mark, which is found by comparing the references.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::LazyLock;

use regex::Regex;

use crate::parallel::on_all_cores;

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
    let all = |each: &mut ForEachBlock| {
        each(references.iter().map(|text| (*text).to_owned()).collect());
        Ok::<(), Infallible>(())
    };
    let Ok(rule) = answer_rule(&all);
    match rule {
        AnswerRule::AsTheyAre => FinalAnswers::AsTheyAre,
        AnswerRule::Found { finder, how, .. } => {
            FinalAnswers::Found { answers: references.iter().map(|text| finder.answer(text)).collect(), how }
        }
        AnswerRule::Unclear(why) => FinalAnswers::Unclear(why),
    }
}

/// How the final answers stand in the references of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AnswerRule {
    /// As [`FinalAnswers::AsTheyAre`].
    AsTheyAre,
    /// As [`FinalAnswers::Found`].
    Found {
        /// Finds the answer in a reference.
        finder: AnswerFinder,
        /// As in [`FinalAnswers::Found`].
        how: String,
        /// Number of references in which an answer was found.
        found: usize,
        /// Number of references.
        references: usize,
    },
    /// As [`FinalAnswers::Unclear`].
    Unclear(String),
}

/// Finds the final answer in a reference of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AnswerFinder {
    /// The mark that the references of the data set share, beside those in general use.
    learned: Option<LearnedMark>,
}

impl AnswerFinder {
    /// The final answer of a reference; `None` for one that is used unchanged.
    pub fn answer(&self, text: &str) -> Option<String> {
        self.find(text).map(|found| found.answer)
    }

    fn find(&self, text: &str) -> Option<Found> {
        known_mark(text).or_else(|| self.learned.as_ref()?.apply(text))
    }
}

/// A function that gets the references of a data set in order, some thousands at a time.
pub(crate) type ForEachBlock<'f> = dyn FnMut(Vec<String>) + 'f;

/// Finds out how the final answers stand in references. `references` passes all of them to the function that it is given;
/// it is called up to three times, so that they need not be in memory. Fails only where it does.
pub(crate) fn answer_rule<E>(references: &dyn Fn(&mut ForEachBlock) -> Result<(), E>) -> Result<AnswerRule, E> {
    let mut all = MarkCounts::default();
    references(&mut |block| on_all_cores(block, MarkCounts::of).into_iter().for_each(|counts| all.add(counts)))?;
    if all.references == 0 || (all.long as f64) < 0.5 * all.references as f64 {
        return Ok(all.boxed_only());
    }
    let is_unmarked = all.unmarked as f64 > (1.0 - NEARLY_ALL) * all.references as f64;
    let learned = if is_unmarked || all.known == 0 {
        learn_mark(&all.sample.iter().map(String::as_str).collect::<Vec<_>>())
    } else {
        None
    };
    let finder = AnswerFinder { learned };
    let mut marks: Vec<String> = Vec::new();
    let (mut found, mut missing) = (0, 0);
    references(&mut |block| {
        let marks_of = |share: Vec<String>| {
            let mark = |text: &String| finder.find(text).map(|found| found.mark).ok_or_else(|| is_short(text));
            share.iter().map(mark).collect::<Vec<Result<String, bool>>>()
        };
        for mark in on_all_cores(block, marks_of).into_iter().flatten() {
            match mark {
                Ok(mark) => {
                    found += 1;
                    if !marks.contains(&mark) {
                        marks.push(mark);
                    }
                }
                Err(is_short) => missing += usize::from(!is_short),
            }
        }
    })?;
    if found as f64 >= NEARLY_ALL * (found + missing) as f64 && missing == 0 {
        return Ok(AnswerRule::Found { finder, how: marks.join(" or "), found, references: all.references });
    }
    if found as f64 >= 0.5 * (found + missing) as f64 {
        let how = marks.join(" or ");
        return Ok(AnswerRule::Unclear(format!(
            "{found} of {} references end in an answer that {how}, {missing} do not",
            found + missing
        )));
    }
    let mut with_equation = 0;
    references(&mut |block| {
        let count = |share: Vec<String>| share.iter().filter(|text| !is_short(text) && has_equation(text)).count();
        with_equation += on_all_cores(block, count).into_iter().sum::<usize>();
    })?;
    // Most worked solutions have equations.
    if with_equation as f64 >= 0.6 * all.long as f64 {
        let why = "the references look like worked solutions, and no text such as `####` was found that stands before \
                   every final answer";
        return Ok(AnswerRule::Unclear(why.into()));
    }
    Ok(AnswerRule::AsTheyAre)
}

/// How many of some references have a mark in general use.
#[derive(Debug, Default)]
struct MarkCounts {
    references: usize,
    /// Number of references that are not short.
    long: usize,
    /// Number of references with a mark in general use.
    known: usize,
    /// The first of these marks.
    first_mark: Option<String>,
    /// Number of references that are not short and have no such mark.
    unmarked: usize,
    /// The first of these references, as many as are compared.
    sample: Vec<String>,
}

impl MarkCounts {
    fn of(texts: Vec<String>) -> Self {
        let mut counts = Self { references: texts.len(), ..Self::default() };
        for text in texts {
            let (is_long, known) = (!is_short(&text), known_mark(&text));
            counts.long += usize::from(is_long);
            if let Some(found) = known {
                counts.known += 1;
                counts.first_mark.get_or_insert(found.mark);
            } else if is_long {
                counts.unmarked += 1;
                if counts.sample.len() < COMPARED {
                    counts.sample.push(text);
                }
            }
        }
        counts
    }

    /// Adds the counts of the references that follow.
    fn add(&mut self, next: Self) {
        self.references += next.references;
        self.long += next.long;
        self.known += next.known;
        self.first_mark = self.first_mark.take().or(next.first_mark);
        self.unmarked += next.unmarked;
        self.sample.extend(next.sample.into_iter().take(COMPARED - self.sample.len()));
    }

    /// The rule for references that are mostly short, such as `$\boxed{42}$`: the answers are behind marks in general use,
    /// unless fewer than the share `NEARLY_ALL` of the references have such a mark.
    fn boxed_only(self) -> AnswerRule {
        if self.known == 0 || (self.known as f64) < NEARLY_ALL * self.references as f64 {
            return AnswerRule::AsTheyAre;
        }
        let (finder, how) = (AnswerFinder { learned: None }, self.first_mark.unwrap_or_default());
        AnswerRule::Found { finder, how, found: self.known, references: self.references }
    }
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

/// Whether a text has an equation, as worked solutions do.
fn has_equation(text: &str) -> bool {
    static EQUATION: LazyLock<Regex> = LazyLock::new(|| regex(r"\d\s*[-+*/×÷^]\s*\$?\(?\d[^=\n]*=\s*[$£€]?-?\d"));
    EQUATION.is_match(text)
}
