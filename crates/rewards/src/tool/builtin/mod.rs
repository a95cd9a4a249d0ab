//! Builtins: tools written in Rust. Each takes an example and a reply, and gives a score.
//!
//! A tool card (`tool.yaml`) names its builtin and gives it settings. A builtin has a score for every reply. It
//! abstains, by returning `None`, only when the example or the card lacks what the builtin needs, such as a reference.
//!
//! To add a builtin, write its function in a file of this folder, and add a line to the table `BUILTINS` below. If it
//! is to be a curated tool as well, add a folder with a tool that uses it to `crates/rewards/library`.

mod answers;
mod choice;
mod compiled;
mod explained;
mod form;
mod overlap;
mod scientific;
mod setting;
mod units;

use rlar_data::Example;
use serde_json::{Map, Value};

use explained::ExplainedScore;
pub(crate) use form::lists_instructions;
use setting::{Setting, boolean, json_schema, language_code, names, non_negative, pattern, positive_integer, setting};

/// The settings of a builtin (a tool written in Rust), from its tool card (`tool.yaml`).
pub type BuiltinSettings = Map<String, Value>;

/// The function of a builtin (a tool written in Rust): from the card's settings, the example and the reply it computes
/// a score, or returns `None` to abstain. The result depends on nothing else.
pub type ScoreFunction = fn(&BuiltinSettings, &Example, &str) -> Option<f64>;

/// A [`ScoreFunction`] that also says why it gives the score.
pub type ExplainedFunction = fn(&BuiltinSettings, &Example, &str) -> Option<ExplainedScore>;

/// A function that says why a builtin abstains on an example (gives no score). `None` stands for the usual reason: the
/// example is not of the kind that the builtin scores.
pub type WhyAbstained = fn(&Example) -> Option<&'static str>;

/// How a builtin (a tool written in Rust) computes a score.
#[derive(Clone, Copy, Debug)]
pub enum ScoredBy {
    /// A pure function of the settings, the example and the reply computes the score.
    Function(ScoreFunction),
    /// A pure function of the settings, the example and the reply computes the score and gives the reason for it.
    Explained(ExplainedFunction),
    /// The reply is run as a program in the sandbox, against the example's tests: [`super::code_tests`].
    Programs,
}

/// A builtin (a tool written in Rust), as a line of the table of all builtins.
#[derive(Clone, Copy, Debug)]
pub struct Builtin {
    /// The name of the builtin in tool cards (`tool.yaml`).
    pub name: &'static str,
    /// How the builtin computes a score.
    pub scored_by: ScoredBy,
    /// The settings that a tool card may give to the builtin, with the checks of their values.
    settings: &'static [Setting],
    /// Says why the builtin abstains on an example; see [`WhyAbstained`].
    pub why_it_abstains: WhyAbstained,
}

const fn function(name: &'static str, function: ScoreFunction, settings: &'static [Setting]) -> Builtin {
    Builtin { name, scored_by: ScoredBy::Function(function), settings, why_it_abstains: no_reason }
}

const fn explained(name: &'static str, function: ExplainedFunction, settings: &'static [Setting]) -> Builtin {
    Builtin { name, scored_by: ScoredBy::Explained(function), settings, why_it_abstains: no_reason }
}

impl Builtin {
    /// The score of a reply; `None` when the builtin abstains, and always for a builtin that runs programs.
    pub fn score(&self, settings: &BuiltinSettings, example: &Example, reply: &str) -> Option<ExplainedScore> {
        match self.scored_by {
            ScoredBy::Function(score) => Some(ExplainedScore { score: score(settings, example, reply)?, reason: None }),
            ScoredBy::Explained(score) => score(settings, example, reply),
            ScoredBy::Programs => None,
        }
    }
}

fn no_reason(_: &Example) -> Option<&'static str> {
    None
}

/// The table of all builtins, in the order of their names.
const BUILTINS: &[Builtin] = &[
    function("bleu", overlap::bleu, &[]),
    function("brevity", form::brevity, &[]),
    function("chrf", overlap::chrf, &[]),
    function("chrf_plus_plus", overlap::chrf_plus_plus, &[]),
    Builtin {
        name: "code_tests",
        scored_by: ScoredBy::Programs,
        settings: &[setting("partial", boolean), setting("tolerance", non_negative)],
        why_it_abstains: no_reason,
    },
    function("edit_similarity", answers::edit_similarity, &[]),
    explained("exact_match", answers::exact_match, &[]),
    explained("instructions", form::instructions, &[]),
    function("json_schema", form::json_schema, &[setting("schema", json_schema)]),
    function("language", form::language, &[setting("language", language_code)]),
    function("length", form::length, &[setting("min_words", non_negative), setting("max_words", non_negative)]),
    Builtin {
        why_it_abstains: answers::unclear_reference,
        ..explained("math_equivalence", answers::math_equivalence, &[])
    },
    explained("multiple_choice", choice::multiple_choice, &[]),
    explained("numeric_match", answers::numeric_match, &[]),
    explained(
        "numeric_tolerance",
        answers::numeric_tolerance,
        &[setting("relative", non_negative), setting("absolute", non_negative)],
    ),
    function("regex", form::regex, &[setting("pattern", pattern), setting("whole", boolean)]),
    function("repetition", form::repetition, &[setting("n", positive_integer)]),
    function("rouge_1", overlap::rouge_1, &[]),
    function("rouge_2", overlap::rouge_2, &[]),
    function("rouge_l", overlap::rouge_l, &[]),
    function("rouge_lsum", overlap::rouge_lsum, &[]),
    function("tags", form::tags, &[setting("tags", names)]),
    function("ter", overlap::ter, &[]),
    function("token_f1", answers::token_f1, &[]),
];

/// The builtin of this name, if it accepts the settings. The error says that there is no such builtin, or what is wrong
/// with a setting.
pub fn find_builtin(name: &str, settings: &BuiltinSettings) -> Result<Builtin, String> {
    let Some(builtin) = BUILTINS.iter().find(|builtin| builtin.name == name) else {
        let names: Vec<&str> = BUILTINS.iter().map(|builtin| builtin.name).collect();
        return Err(format!("rlar has no such builtin as `{name}`; it has: {}", names.join(", ")));
    };
    for (key, value) in settings {
        let Some(known) = builtin.settings.iter().find(|setting| setting.key == key) else {
            return Err(unknown_setting(builtin, key));
        };
        if let Some(why) = (known.problem)(value) {
            return Err(format!("the setting `{key}` of the builtin `{name}` {why}"));
        }
    }
    Ok(*builtin)
}

fn unknown_setting(builtin: &Builtin, key: &str) -> String {
    let (name, known) = (builtin.name, builtin.settings);
    if known.is_empty() {
        return format!("the builtin `{name}` has no settings, and the card sets `{key}`");
    }
    let keys: Vec<&str> = known.iter().map(|setting| setting.key).collect();
    format!("the builtin `{name}` has no setting `{key}`; it has: {}", keys.join(", "))
}

/// The score of a builtin that checks a condition: 1 when the condition holds, else 0.
fn yes(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}
