//! What tasks are called: a stable list of short labels, in which no two mean the same.

use rlar_data::Example;

/// The tasks that everyone knows, each with other words for it: the paper's eight and mathematics, and conversation.
const SEEDS: [(&str, &[&str]); 10] = [
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

/// Words that say nothing about which task it is.
const FILLERS: [&str; 22] = [
    "task", "problem", "exercise", "solving", "solve", "simple", "basic", "easy", "general", "short", "the", "a", "an",
    "of", "to", "and", "with", "in", "for", "english", "text", "type",
];

/// Most words of a label.
pub const MOST_WORDS: usize = 3;

/// The list of tasks: the known ones, then those that were added, in that order for ever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tasks(Vec<String>);

impl Tasks {
    /// All labels.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        SEEDS.iter().map(|(name, _)| *name).chain(self.0.iter().map(String::as_str))
    }

    /// The label on the list that means the same.
    pub fn find(&self, label: &str) -> Option<&str> {
        if let Some(seed) = seed(label) {
            return Some(seed);
        }
        let wanted = stems(label);
        self.0.iter().find(|known| !wanted.is_empty() && stems(known) == wanted).map(String::as_str)
    }

    /// The label on the list that means the same, or this one, which is on the list from now on. One that nobody could
    /// use is an error that says why.
    pub fn add(&mut self, label: &str) -> Result<String, String> {
        if let Some(known) = self.find(label) {
            return Ok(known.to_owned());
        }
        let clean = clean(label);
        let words = clean.split(' ').count();
        if clean.is_empty() || words > MOST_WORDS || clean.chars().count() > 40 {
            return Err(format!("the label {label:?} must be one to {MOST_WORDS} plain words"));
        }
        if stems(&clean).is_empty() {
            return Err(format!("the label {label:?} says nothing about the task"));
        }
        self.0.push(clean.clone());
        Ok(clean)
    }
}

/// The task of [`SEEDS`] that a label means, if it means one.
pub fn seed(label: &str) -> Option<&'static str> {
    let clean = clean(label);
    if let Some((name, _)) = SEEDS.iter().find(|(name, _)| *name == clean) {
        return Some(name);
    }
    let words: Vec<&str> = clean.split(' ').filter(|w| !FILLERS.contains(&singular(w))).collect();
    let means = |synonyms: &[&str]| {
        !words.is_empty() && words.iter().all(|w| synonyms.contains(w) || synonyms.contains(&singular(w)))
    };
    SEEDS.iter().find(|(_, synonyms)| means(synonyms)).map(|(name, _)| *name)
}

/// Whether a card's task and a label mean the same.
pub fn same(card: &str, label: &str) -> bool {
    match (seed(card), seed(label)) {
        (Some(a), Some(b)) => a == b,
        (None, None) => stems(card) == stems(label),
        _ => false,
    }
}

/// What an example says of its task by itself: its domain, else its kind.
pub fn said(example: &Example) -> Option<&str> {
    let kind = example.columns.get("kind").and_then(serde_json::Value::as_str);
    example.domain.as_deref().or(kind).filter(|s| !s.trim().is_empty())
}

/// What prompts are told apart by where rewards are chosen and watched: what they say of their task, else `all`.
pub fn domain(example: &Example) -> &str {
    said(example).unwrap_or("all")
}

/// Small letters, one space between words, nothing but letters and digits: `Q&A` is one word.
pub fn clean(label: &str) -> String {
    let joined = label.chars().filter(|c| !matches!(c, '&' | '\'' | '’'));
    let plain: String = joined.map(|c| if c.is_alphanumeric() { c } else { ' ' }).collect();
    plain.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn singular(word: &str) -> &str {
    match word.strip_suffix('s') {
        Some(one) if one.len() > 2 && !one.ends_with('s') => one,
        _ => word,
    }
}

/// What tells a label from others: its words without endings and fillers, in order of the alphabet.
fn stems(label: &str) -> Vec<String> {
    let clean = clean(label);
    let telling = clean.split(' ').map(singular).filter(|w| !w.is_empty() && !FILLERS.contains(w));
    let mut stems: Vec<String> =
        telling.map(|w| w.strip_suffix("ing").filter(|s| s.len() > 2).unwrap_or(w).to_owned()).collect();
    stems.sort_unstable();
    stems.dedup();
    stems
}
