//! The builtin agent: fixed rules that find the task of an example and choose its tools from features of the example,
//! without a language model. The rules are deterministic and work offline.

use rlar_data::Example;
use serde::{Deserialize, Serialize};

use crate::RewardError;
use crate::agents::tasks::{MAX_WORDS, clean, declared_task, is_same_task, known_task};
use crate::tool::builtin::lists_instructions;
use crate::tool::card::{ToolCard, ToolRole};
use crate::tool::code_tests::has_tests;
use crate::tool::composite::{CombineAs, WeightedTool};

/// The reward tools that score the replies to one example, with who chose the tools and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// The example's id; for all prompts of a domain, the domain's name.
    pub example: String,
    /// The tools that score the example's replies; empty when no tool fits and the run continues without a reward for
    /// the example.
    pub tools: Vec<WeightedTool>,
    /// Who chose the tools: `builtin` (the builtin agent), `config` (the config file), `suite` (a suite of an
    /// evaluation), `nobody` when no tool fits, or the name of a language model.
    pub by: String,
    /// The reason why these tools were chosen, or why none fits.
    pub why: String,
}

impl Assignment {
    /// Whether a person gave these tools in a config or a suite; otherwise agents chose them.
    pub(crate) fn is_given(&self) -> bool {
        matches!(self.by.as_str(), "config" | "suite")
    }
}

/// The kind of an example's task, found from its features. It is finer than a task label where one label needs
/// different tools: `math` is `Expression`, `WordProblem` or `Mathematics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum TaskKind {
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

/// Largest number of words in a reference that is a formula.
const MAX_FORMULA_WORDS: usize = 20;

/// Whether a text is a number made of digits, with an optional minus sign, thousands separators (commas) and decimals.
/// Exponents, `inf` and `nan` are not accepted.
fn is_plain_number(text: &str) -> bool {
    let digits = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_digit() || c == ',');
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, decimals) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    digits(whole) && whole.contains(|c: char| c.is_ascii_digit()) && digits(decimals)
}

/// Whether a reference is a formula: it has a command of LaTeX, a power or two dollar signs, and is no long text.
fn is_formula(reference: &str) -> bool {
    let is_marked = reference.contains('^') || reference.contains('\\') || reference.matches('$').count() > 1;
    is_marked && reference.split_whitespace().count() <= MAX_FORMULA_WORDS
}

/// The kind of task that an instruction's wording shows ("translate", "summarise"), with the reason; translation also
/// when question and reference are in different languages. `None` when the wording shows no kind of task.
fn by_wording(question: &str, reference: &str) -> Option<(TaskKind, &'static str)> {
    let lower = question.to_lowercase();
    let verbs = [
        (
            TaskKind::Translation,
            "the question asks to translate",
            &["translate ", "translation of", "übersetze", "traduis"][..],
        ),
        (TaskKind::Summary, "the question asks to summarise", &["summarise", "summarize", "summary of", "tl;dr"]),
        (TaskKind::Paraphrase, "the question asks to say it otherwise", &["paraphrase", "rephrase", "reword"]),
        (TaskKind::Cloze, "the question has a gap to fill", &["____", "fill in the blank", "[mask]"]),
        (TaskKind::Planning, "the question asks for a plan", &["make a plan", "write a plan", "plan the steps"]),
    ];
    let found = verbs.iter().find(|(_, _, words)| words.iter().any(|w| lower.contains(w)));
    if let Some((task, why, _)) = found {
        return Some((*task, why));
    }
    // The language of a few words cannot be detected reliably.
    let language = |text: &str| whatlang::detect(text).filter(whatlang::Info::is_reliable).map(|i| i.lang());
    let is_translation = language(question).zip(language(reference)).is_some_and(|(a, b)| a != b);
    is_translation.then_some((TaskKind::Translation, "the reference is in another language than the question"))
}

impl TaskKind {
    /// The kind of an example's task, and the feature of the example that shows it. Instructions that an example lists are
    /// its task if nothing else says what makes a reply right.
    fn of(example: &Example) -> (Self, &'static str) {
        let (kind, shown_by) = Self::of_content(example);
        let is_open = kind == Self::Open || (kind == Self::Text && declared_task(example).is_none());
        if is_open && lists_instructions(example) {
            return (Self::Instructions, "the example lists instructions to follow");
        }
        (kind, shown_by)
    }

    /// The kind of an example's task, whatever instructions it lists.
    fn of_content(example: &Example) -> (Self, &'static str) {
        if has_tests(example) {
            return (Self::Code, "the example has tests for a program");
        }
        let Some(reference) = example.reference.as_deref().map(str::trim) else {
            return (Self::Open, "it has no reference");
        };
        let numeric = is_plain_number(reference);
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
        } else if is_formula(reference) {
            (Self::Mathematics, "the reference is a formula")
        } else if let Some(declared) = declared_task(example).and_then(known_task).and_then(Self::from_label) {
            (declared, "the example says so")
        } else if let Some(shown) = by_wording(question, reference) {
            shown
        } else if reference.split_whitespace().count() <= 5 {
            (Self::ShortAnswer, "the reference is a few words")
        } else {
            (Self::Text, "the reference is a text")
        }
    }

    /// The kind of a task label, for those labels whose tools differ from the tools for texts in general; `None` for
    /// other labels.
    fn from_label(label: &str) -> Option<Self> {
        match label {
            "translation" => Some(Self::Translation),
            "summarisation" => Some(Self::Summary),
            "paraphrasing" => Some(Self::Paraphrase),
            "cloze" => Some(Self::Cloze),
            "planning" => Some(Self::Planning),
            _ => None,
        }
    }

    /// The names that tool cards use for this kind of task, then the names of related tasks whose tools can score such
    /// a reply too. The first name for which there is a tool decides.
    fn card_names(self) -> &'static [&'static str] {
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

    /// The label of this kind of task, as it stands on the list of task labels.
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

/// The task label that an example's features show, whatever task the example declares; `None` when the features are too
/// vague.
pub fn shown_label(example: &Example) -> Option<&'static str> {
    let bare = Example { domain: None, columns: without_kind(example), ..example.clone() };
    let kind = TaskKind::of(&bare).0;
    let is_vague = matches!(kind, TaskKind::Open | TaskKind::Text | TaskKind::ShortAnswer);
    (!is_vague).then(|| kind.label())
}

fn without_kind(example: &Example) -> serde_json::Map<String, serde_json::Value> {
    example
        .columns
        .iter()
        .filter(|(name, _)| *name != "kind")
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// The names that tool cards use for an example's task, which is found from features of the example.
pub fn card_names_for(example: &Example) -> &'static [&'static str] {
    TaskKind::of(example).0.card_names()
}

/// What of an example decides which tool the builtin agent assigns to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Features {
    task: TaskKind,
    /// What shows the kind of task.
    shown_by: &'static str,
    /// The task that the example declares.
    declared: Option<String>,
    has_reference: bool,
    /// The example's [`Example::kind`], by which scores of earlier runs were recorded.
    kind: String,
}

impl Features {
    /// The features of an example.
    pub(crate) fn of(example: &Example) -> Self {
        let (task, shown_by) = TaskKind::of(example);
        let declared = declared_task(example).map(str::to_owned);
        Self { task, shown_by, declared, has_reference: example.reference.is_some(), kind: example.kind().to_owned() }
    }
}

/// The agent that labels examples and chooses tools by fixed rules on features of prompt and reference, without a
/// language model.
#[derive(Clone, Copy, Debug, Default)]
pub struct BuiltinAgent;

impl BuiltinAgent {
    /// The label of an example's task: the task that the example declares, if its name is short enough for a label,
    /// otherwise the task that its features show.
    pub fn label(self, example: &Example) -> String {
        let (task, _) = TaskKind::of(example);
        let is_label = |word: &String| (1..=MAX_WORDS).contains(&word.split_whitespace().count()) && word.len() <= 40;
        match declared_task(example).map(clean).filter(is_label) {
            Some(word) => known_task(&word).map_or(word, str::to_owned),
            None => task.label().to_owned(),
        }
    }

    /// Assigns one tool of `cards` to an example. A tool for the task that the example declares comes first if the
    /// example shows no features, or if the declared task is `dialogue` or has no predefined label; otherwise the
    /// features decide. Of several tools that fit, one whose scores varied in earlier runs is preferred (`is_flat` tells
    /// whether a tool gave all replies to such examples the same score), then one that no
    /// language model wrote, because nothing here shows how good it is.
    ///
    /// # Errors
    ///
    /// [`RewardError::Unassigned`] when no tool fits the example.
    pub fn assign<'c>(
        self,
        example: &Example,
        cards: impl Iterator<Item = &'c ToolCard>,
        is_flat: &dyn Fn(&str) -> bool,
    ) -> Result<Assignment, RewardError> {
        Self::assign_to(&example.id, &Features::of(example), cards, is_flat)
    }

    /// Assigns a tool as [`Self::assign`] does, to an example of which only the id and the features are known.
    pub(crate) fn assign_to<'c>(
        id: &str,
        features: &Features,
        cards: impl Iterator<Item = &'c ToolCard>,
        is_flat: &dyn Fn(&str) -> bool,
    ) -> Result<Assignment, RewardError> {
        let unassigned = |message: String| RewardError::Unassigned { example: id.to_owned(), message };
        let Features { task, shown_by, has_reference, .. } = *features;
        let can_judge = |c: &&ToolCard| c.role != ToolRole::Constraint && (has_reference || !c.needs_reference);
        let mut cards: Vec<&ToolCard> = cards.filter(can_judge).collect();
        cards.sort_by_key(|c| (is_flat(&c.name), is_written_by_model(c)));
        let declared = features.declared.as_deref();
        let is_declared = |c: &&&ToolCard| declared.is_some_and(|word| c.tasks.iter().any(|t| is_same_task(t, word)));
        let has_task = |name: &&str| cards.iter().find(|c| c.tasks.iter().any(|t| t == name));
        // Features tell kinds of mathematics and kinds of answers apart, which a known label does not.
        let no_feature = declared.and_then(known_task).is_none_or(|label| label == "dialogue");
        let by_feature = || task.card_names().iter().find_map(has_task);
        let (card, why) = match cards.iter().find(is_declared) {
            Some(card) if task == TaskKind::Open || no_feature => (card, "the example says so"),
            _ => (by_feature().ok_or_else(|| unassigned(no_tool(task, declared)))?, shown_by),
        };
        Ok(Assignment {
            example: id.to_owned(),
            tools: vec![WeightedTool { tool: card.name.clone(), weight: 1.0, combine: CombineAs::Term, least: None }],
            by: "builtin".into(),
            why: format!("fixed rules chose: {why}; `{}` is for {}", card.name, card.tasks.join(", ")),
        })
    }
}

/// Whether a language model wrote the tool, as the origin on its card says.
fn is_written_by_model(card: &ToolCard) -> bool {
    card.origin.starts_with("written by ")
}

/// The error message that says why no tool fits an example with this kind of task.
fn no_tool(task: TaskKind, declared: Option<&str>) -> String {
    let word = declared.map(|w| format!(" for `{w}`")).unwrap_or_default();
    match task {
        TaskKind::Open => format!("it has no reference, and no tool of the library can judge it{word} without one"),
        _ => format!("no tool of the library names any of its tasks: {}", task.card_names().join(", ")),
    }
}
