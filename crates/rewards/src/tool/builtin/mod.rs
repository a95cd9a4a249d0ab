//! Builtins: tools in Rust. An example and a reply in, a score out.
//!
//! A card names its builtin and gives it settings. A builtin has a score for every reply; it abstains, with `None`, only when
//! the example or the card is not of its kind.
//!
//! To add one, write its function in a file of this folder and its line in the table below; then add a folder to
//! `crates/rewards/library`.

mod answers;
mod compiled;
mod form;
mod overlap;
mod setting;
mod units;

use rlar_data::Example;
use serde_json::{Map, Value};

use setting::{Setting, boolean, json_schema, language_code, names, non_negative, pattern, positive_integer, setting};

/// The settings that a card gives to its builtin.
pub type BuiltinSettings = Map<String, Value>;

/// A builtin that is a pure function: of the settings, the example and the reply. It gives a score, or `None` to abstain.
pub type ScoreFunction = fn(&BuiltinSettings, &Example, &str) -> Option<f64>;

/// What runs when a builtin scores.
#[derive(Clone, Copy, Debug)]
pub enum ScoredBy {
    /// A pure function.
    Function(ScoreFunction),
    /// The reply itself, as a program in the sandbox that must pass the example's tests: [`super::code_tests`].
    Programs,
}

/// A line of the table of builtins.
#[derive(Clone, Copy, Debug)]
pub struct Builtin {
    /// Its name in cards.
    pub name: &'static str,
    /// What runs when it scores.
    pub scored_by: ScoredBy,
    /// The settings that it knows.
    settings: &'static [Setting],
}

const fn function(name: &'static str, function: ScoreFunction, settings: &'static [Setting]) -> Builtin {
    Builtin { name, scored_by: ScoredBy::Function(function), settings }
}

/// The builtins, by name.
const BUILTINS: &[Builtin] = &[
    function("bleu", overlap::bleu, &[]),
    function("brevity", form::brevity, &[]),
    function("chrf", overlap::chrf, &[]),
    function("chrf_plus_plus", overlap::chrf_plus_plus, &[]),
    Builtin { name: "code_tests", scored_by: ScoredBy::Programs, settings: &[setting("partial", boolean)] },
    function("edit_similarity", answers::edit_similarity, &[]),
    function("exact_match", answers::exact_match, &[]),
    function("instructions", form::instructions, &[]),
    function("json_schema", form::json_schema, &[setting("schema", json_schema)]),
    function("language", form::language, &[setting("language", language_code)]),
    function("length", form::length, &[setting("min_words", non_negative), setting("max_words", non_negative)]),
    function("math_equivalence", answers::math_equivalence, &[]),
    function("multiple_choice", answers::multiple_choice, &[]),
    function("numeric_match", answers::numeric_match, &[]),
    function(
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

/// The builtin of a name; an error says that there is none, or what is wrong with the settings.
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

/// The score of a yes-or-no builtin: 1 or 0.
fn yes(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}
