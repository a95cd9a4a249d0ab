//! The builtin agent: features of an example instead of a language model. Deterministic and offline.

use rlar_data::Example;
use serde::{Deserialize, Serialize};

use crate::RewardError;
use crate::agents::tasks::{MOST_WORDS, clean, said, same, seed};
use crate::tool::card::{ToolCard, ToolRole};
use crate::tool::code_tests::has_tests;
use crate::tool::composite::{CombineAs, WeightedTool};

/// The tools of one example, who chose them and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// The example's id.
    pub example: String,
    /// The tools; none where no tool fits and training goes on without a reward for it.
    pub tools: Vec<WeightedTool>,
    /// Who chose.
    pub by: String,
    /// Why.
    pub why: String,
}

/// What kind of task an example is, by its features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    Code,
    Instructions,
    Expression,
    WordProblem,
    Mathematics,
    Choice,
    ShortAnswer,
    Translation,
    Summary,
    Paraphrase,
    Cloze,
    Planning,
    Text,
    Open,
}

/// Digits with an optional sign, thousands separators and decimals: no exponent, no `inf`, no `nan`.
fn plain_number(text: &str) -> bool {
    let digits = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_digit() || c == ',');
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, decimals) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    digits(whole) && whole.contains(|c: char| c.is_ascii_digit()) && digits(decimals)
}

/// What an instruction's verbs, or the languages of question and reference, ask for.
fn asked(question: &str, reference: &str) -> Option<(Task, &'static str)> {
    let lower = question.to_lowercase();
    let verbs = [
        (
            Task::Translation,
            "the question asks to translate",
            &["translate ", "translation of", "übersetze", "traduis"][..],
        ),
        (Task::Summary, "the question asks to summarise", &["summarise", "summarize", "summary of", "tl;dr"]),
        (Task::Paraphrase, "the question asks to say it otherwise", &["paraphrase", "rephrase", "reword"]),
        (Task::Cloze, "the question has a gap to fill", &["____", "fill in the blank", "[mask]"]),
        (Task::Planning, "the question asks for a plan", &["make a plan", "write a plan", "plan the steps"]),
    ];
    let found = verbs.iter().find(|(_, _, words)| words.iter().any(|w| lower.contains(w)));
    if let Some((task, why, _)) = found {
        return Some((*task, why));
    }
    // A few words are in no language for certain.
    let language = |text: &str| whatlang::detect(text).filter(whatlang::Info::is_reliable).map(|i| i.lang());
    let differ = language(question).zip(language(reference)).is_some_and(|(a, b)| a != b);
    differ.then_some((Task::Translation, "the reference is in another language than the question"))
}

impl Task {
    fn of(example: &Example) -> (Self, &'static str) {
        if has_tests(example) {
            return (Self::Code, "the example has tests for a program");
        }
        if example.columns.contains_key("instruction_id_list") {
            return (Self::Instructions, "the example lists instructions to follow");
        }
        let Some(reference) = example.reference.as_deref().map(str::trim) else {
            return (Self::Open, "it has no reference");
        };
        let numeric = plain_number(reference);
        let question = example.prompt().trim_end();
        let last = question.lines().last().unwrap_or("");
        let letters = last.chars().filter(|c| c.is_alphabetic()).count();
        let is_choice = matches!(reference.as_bytes(), [b'A'..=b'J'])
            && [")", ".", ":"].iter().any(|end| question.contains(&format!("{reference}{end}")));
        if numeric && letters == 0 {
            (Self::Expression, "the reference is a number and the question an expression")
        } else if numeric {
            (Self::WordProblem, "the reference is a number and the question is in words")
        } else if is_choice {
            (Self::Choice, "the reference is the letter of one of the question's choices")
        } else if reference.contains(['\\', '^', '$']) {
            (Self::Mathematics, "the reference is a formula")
        } else if let Some(found) = said(example).and_then(seed).and_then(Self::named) {
            (found, "the example says so")
        } else if let Some(found) = asked(question, reference) {
            found
        } else if reference.split_whitespace().count() <= 5 {
            (Self::ShortAnswer, "the reference is a few words")
        } else {
            (Self::Text, "the reference is a text")
        }
    }

    /// The task that a label of the list means, where its tools differ from those of any text.
    fn named(label: &str) -> Option<Self> {
        match label {
            "translation" => Some(Self::Translation),
            "summarisation" => Some(Self::Summary),
            "paraphrasing" => Some(Self::Paraphrase),
            "cloze" => Some(Self::Cloze),
            "planning" => Some(Self::Planning),
            _ => None,
        }
    }

    /// What cards call it, and what they call tasks whose tools will do where it has none.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Code => &["code"],
            Self::Instructions => &["instructions"],
            Self::Expression => &["expressions", "word problems", "mathematics"],
            Self::WordProblem => &["word problems", "mathematics", "short answers"],
            Self::Mathematics => &["mathematics", "short answers"],
            Self::Choice => &["multiple choice", "short answers"],
            Self::ShortAnswer => &["short answers", "question answering"],
            Self::Translation => &["translation"],
            Self::Summary => &["question answering", "summarisation"],
            Self::Paraphrase => &["paraphrasing", "question answering", "summarisation"],
            Self::Cloze => &["cloze", "short answers", "question answering"],
            Self::Planning => &["planning", "question answering", "summarisation"],
            Self::Text => &["question answering", "summarisation", "translation"],
            Self::Open => &[],
        }
    }

    /// Its name on the list of tasks.
    fn label(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Instructions => "controlled generation",
            Self::Expression | Self::WordProblem | Self::Mathematics => "math",
            Self::Choice | Self::ShortAnswer | Self::Text => "question answering",
            Self::Translation => "translation",
            Self::Summary => "summarisation",
            Self::Paraphrase => "paraphrasing",
            Self::Cloze => "cloze",
            Self::Planning => "planning",
            Self::Open => "dialogue",
        }
    }
}

/// What cards call the task that an example looks like.
pub fn looks(example: &Example) -> &'static [&'static str] {
    Task::of(example).0.names()
}

/// Chooses tools by what prompt and reference look like.
#[derive(Clone, Copy, Debug, Default)]
pub struct BuiltinAgent;

impl BuiltinAgent {
    /// The label of an example's task: what it says itself where that is a label, else what it looks like.
    pub fn label(self, example: &Example) -> String {
        let (task, _) = Task::of(example);
        let is_label = |word: &String| (1..=MOST_WORDS).contains(&word.split_whitespace().count()) && word.len() <= 40;
        match said(example).map(clean).filter(is_label) {
            Some(word) => seed(&word).map_or(word, str::to_owned),
            None => task.label().to_owned(),
        }
    }

    /// The assignment of an example. Tools that are made for what the example says of its task come first, where it says
    /// something that no feature stands for; among equals those that did tell replies of its kind apart in training
    /// (`is_flat` says of which not).
    pub fn assign<'c>(
        self,
        example: &Example,
        cards: impl Iterator<Item = &'c ToolCard>,
        is_flat: &dyn Fn(&str) -> bool,
    ) -> Result<Assignment, RewardError> {
        let unassigned = |message: String| RewardError::Unassigned { example: example.id.clone(), message };
        let (task, feature) = Task::of(example);
        let has_reference = example.reference.is_some();
        let judges = |c: &&ToolCard| c.role != ToolRole::Constraint && (has_reference || !c.needs_reference);
        let mut cards: Vec<&ToolCard> = cards.filter(judges).collect();
        cards.sort_by_key(|c| is_flat(&c.name));
        let own = said(example);
        let named = |c: &&&ToolCard| own.is_some_and(|word| c.tasks.iter().any(|t| same(t, word)));
        let suits = |name: &&str| cards.iter().find(|c| c.tasks.iter().any(|t| t == name));
        // Features tell the kinds of mathematics and of answers apart, which one word does not.
        let is_own = own.and_then(seed).is_none_or(|label| label == "dialogue");
        let by_feature = || task.names().iter().find_map(suits);
        let (card, why) = match cards.iter().find(named) {
            Some(card) if task == Task::Open || is_own => (card, "the example says so"),
            _ => (by_feature().ok_or_else(|| unassigned(unsuited(task, own)))?, feature),
        };
        Ok(Assignment {
            example: example.id.clone(),
            tools: vec![WeightedTool { tool: card.name.clone(), weight: 1.0, part: CombineAs::Term, least: None }],
            by: "builtin".into(),
            why: format!("{why}; `{}` is for {}", card.name, card.tasks.join(", ")),
        })
    }
}

fn unsuited(task: Task, said: Option<&str>) -> String {
    let word = said.map(|w| format!(" for `{w}`")).unwrap_or_default();
    match task {
        Task::Open => format!("it has no reference, and no tool of the library can judge it{word} without one"),
        _ => format!("no tool of the library names any of its tasks: {}", task.names().join(", ")),
    }
}
