//! Task labels: a stable list of short names of tasks, in which no two labels are synonyms; and the domain of an
//! example, which is the task that the example declares.

use std::collections::BTreeSet;

use rlar_data::Example;

/// The predefined task labels, each with the words that are its synonyms: the eight tasks of the RLAR paper (arXiv
/// 2603.00724), mathematics and dialogue.
const KNOWN_TASKS: [(&str, &[&str]); 10] = [
    (
        "math",
        &[
            "math",
            "maths",
            "mathematics",
            "arithmetic",
            "calculation",
            "algebra",
            "expression",
            "equation",
            "number",
            "numeric",
            "numerical",
            "word",
        ],
    ),
    ("code", &["code", "coding", "program", "programming", "python", "function", "software"]),
    ("translation", &["translation", "translate", "translating", "language", "bilingual"]),
    (
        "summarisation",
        &["summarisation", "summarization", "summary", "summarise", "summarize", "summarising", "summarizing"],
    ),
    (
        "question answering",
        &["question", "answering", "answer", "qa", "short", "trivia", "factual", "choice", "multiple"],
    ),
    ("paraphrasing", &["paraphrasing", "paraphrase", "rewriting", "rewrite", "rephrasing", "rephrase"]),
    ("cloze", &["cloze", "blank", "fill", "filling"]),
    ("planning", &["planning", "plan"]),
    ("controlled generation", &["controlled", "constrained", "generation", "instruction", "following", "format"]),
    ("dialogue", &["dialogue", "dialog", "chat", "conversation", "conversational", "assistant"]),
];

/// Words that do not tell one task from another, and are left out when labels are compared.
const FILLERS: [&str; 22] = [
    "task", "problem", "exercise", "solving", "solve", "simple", "basic", "easy", "general", "short", "the", "a", "an",
    "of", "to", "and", "with", "in", "for", "english", "text", "type",
];

/// Words that stand for a task only beside other words of it: "word problem" is mathematics, "letters of a word" is not.
const WEAK: [&str; 19] = [
    "expression",
    "equation",
    "number",
    "numeric",
    "numerical",
    "word",
    "function",
    "language",
    "answer",
    "answering",
    "question",
    "short",
    "choice",
    "multiple",
    "blank",
    "fill",
    "filling",
    "format",
    "instruction",
];

/// Task labels that say little. A label that names one of these tasks and one other task, such as "summarising a
/// dialogue", means the other task.
const GENERAL: [&str; 3] = ["dialogue", "question answering", "controlled generation"];

/// Words that name no task, but that models say when they have no name for it.
const NO_NAMES: [&str; 16] = [
    "answer",
    "reply",
    "response",
    "reference",
    "prompt",
    "question",
    "none",
    "unknown",
    "other",
    "sorry",
    "null",
    "nan",
    "yes",
    "no",
    "name",
    "label",
];

/// Largest number of words in a task label.
pub const MAX_WORDS: usize = 3;

/// Largest number of characters in a task label.
const MAX_CHARS: usize = 40;

/// The list of task labels: the predefined ones, then the added ones in the order in which they were added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskList(Vec<String>);

impl TaskList {
    /// All task labels, the predefined ones first.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        KNOWN_TASKS.iter().map(|(name, _)| *name).chain(self.0.iter().map(String::as_str))
    }

    /// The label on the list that is equal to `label` or a synonym of it; `None` when there is none.
    pub fn find(&self, label: &str) -> Option<&str> {
        if let Some(known) = known_task(label) {
            return Some(known);
        }
        let wanted = stems(label);
        self.0.iter().find(|added| !wanted.is_empty() && stems(added) == wanted).map(String::as_str)
    }

    /// The label on the list that `label` means: one that [`TaskList::find`] finds, or the only task that its words name,
    /// as in "summarising a dialogue". `None` when there is none.
    pub fn find_within(&self, label: &str) -> Option<&str> {
        self.find(label).or_else(|| task_within(label))
    }

    /// The label on the list that is equal to `label` or a synonym of it. When there is none, `label` is cleaned (see
    /// [`clean`]) and added, and the cleaned label is returned.
    ///
    /// # Errors
    ///
    /// When the label is empty, too long, or made of words that name no task. The message is shown to the language
    /// model.
    pub fn add(&mut self, label: &str) -> Result<String, String> {
        if let Some(known) = self.find(label) {
            return Ok(known.to_owned());
        }
        let clean = clean(label);
        let words = clean.split(' ').count();
        if clean.is_empty() || words > MAX_WORDS || clean.chars().count() > MAX_CHARS {
            return Err(format!("the label {label:?} must be one to {MAX_WORDS} plain words"));
        }
        if stems(&clean).is_empty() {
            return Err(format!("the label {label:?} says nothing about the task"));
        }
        self.0.push(clean.clone());
        Ok(clean)
    }
}

/// The predefined task label that a label means, because it is equal or made of synonyms; `None` when it means none of
/// them.
pub fn known_task(label: &str) -> Option<&'static str> {
    let clean = clean(label);
    if let Some((name, _)) = KNOWN_TASKS.iter().find(|(name, _)| *name == clean) {
        return Some(name);
    }
    let words: Vec<&str> = clean.split(' ').filter(|w| !FILLERS.contains(&singular(w))).collect();
    let is_named_by = |synonyms: &[&str]| {
        !words.is_empty() && words.iter().all(|w| synonyms.contains(w) || synonyms.contains(&singular(w)))
    };
    KNOWN_TASKS.iter().find(|(_, synonyms)| is_named_by(synonyms)).map(|(name, _)| *name)
}

/// The predefined task that single words of a label name, when it is only one, or only one besides general tasks such as
/// `dialogue`.
fn task_within(label: &str) -> Option<&'static str> {
    let clean = clean(label);
    let words = clean.split(' ').filter(|w| !WEAK.contains(w) && !WEAK.contains(&singular(w)));
    let named: BTreeSet<&str> = words.filter_map(known_task).collect();
    let special: Vec<&str> = named.iter().copied().filter(|task| !GENERAL.contains(task)).collect();
    match (&special[..], named.len()) {
        ([task], _) => Some(task),
        ([], 1) => named.first().copied(),
        _ => None,
    }
}

/// Whether a label can be the name of a task: one to three words of letters, of which one says something, and no
/// sentence.
pub fn names_task(label: &str) -> bool {
    let is_sentence = label.trim().contains([',', '.', '!', '?', ';', '，', '。', '！', '？', '、']);
    let clean = clean(label);
    let words: Vec<&str> = clean.split_whitespace().collect();
    let says_something = |w: &&str| w.chars().count() > 2 && !NO_NAMES.contains(w) && !FILLERS.contains(w);
    !is_sentence
        && (1..=MAX_WORDS).contains(&words.len())
        && clean.chars().count() <= MAX_CHARS
        && words.iter().all(|w| w.chars().all(char::is_alphabetic))
        && words.iter().any(says_something)
}

/// Whether a task that a tool card names (`card`) and a task label are equal or synonyms.
pub fn is_same_task(card: &str, label: &str) -> bool {
    match (known_task(card), known_task(label)) {
        (Some(a), Some(b)) => a == b,
        (None, None) => stems(card) == stems(label),
        _ => false,
    }
}

/// The task that an example declares: its `domain`, otherwise its column `kind`. `None` when the example has neither,
/// or the text is blank.
pub fn declared_task(example: &Example) -> Option<&str> {
    let kind = example.columns.get("kind").and_then(serde_json::Value::as_str);
    example.domain.as_deref().or(kind).filter(|s| !s.trim().is_empty())
}

/// The domain of an example: the task that it declares, otherwise `all`. Tools are assigned and reward drift is
/// monitored per domain.
pub fn domain(example: &Example) -> &str {
    declared_task(example).unwrap_or("all")
}

/// A label in lower case, with only letters, digits and single spaces. Ampersands and apostrophes are dropped without
/// leaving a space, so that `Q&A` becomes one word.
pub fn clean(label: &str) -> String {
    let joined = label.chars().filter(|c| !matches!(c, '&' | '\'' | '’'));
    let plain: String = joined.map(|c| if c.is_alphanumeric() { c } else { ' ' }).collect();
    plain.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A word without the plural `s`; words of fewer than four letters and words in `ss` stay as they are.
fn singular(word: &str) -> &str {
    match word.strip_suffix('s') {
        Some(stem) if stem.len() > 2 && !stem.ends_with('s') => stem,
        _ => word,
    }
}

/// The words of a label in alphabetical order, without filler words and without the endings `s` and `ing`. Labels with
/// the same stems are synonyms.
fn stems(label: &str) -> Vec<String> {
    let clean = clean(label);
    let words = clean.split(' ').map(singular).filter(|w| !w.is_empty() && !FILLERS.contains(w));
    let mut stems: Vec<String> =
        words.map(|w| w.strip_suffix("ing").filter(|s| s.len() > 2).unwrap_or(w).to_owned()).collect();
    stems.sort_unstable();
    stems.dedup();
    stems
}
