//! The entries of `rewards.python`: which functions score, and how their scores are combined.

use std::path::Path;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use crate::tool::card::ToolRole;
use crate::tool::composite::{CombineAs, WeightedTool};

/// A Python function that scores replies; it may also be written as the text of `function` alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PythonFunction {
    /// The file and the function in it, as `reward.py:accuracy`.
    pub function: String,
    /// The tool's name in metrics and in `rewards.assign`; when absent, the function's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The factor of the function's score in the weighted sum; without effect for gates and vetoes.
    #[serde(default = "one")]
    pub weight: f64,
    /// How the score is combined with those of the other tools: as a term of the sum, a gate or a veto.
    #[serde(default, rename = "as", skip_serializing_if = "CombineAs::is_term")]
    pub combine: CombineAs,
    /// For gates and vetoes: the lowest score that lets a reply pass. When absent, it is the middle of `range`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least: Option<f64>,
    /// The lowest and the highest score; a score outside is a failure. When absent, every finite number is a score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
    /// What the scores mean. When given, the admission checks also test that the function ranks good replies above bad
    /// ones and rewards no hacks; without it, only that it runs on every text, repeatably and fast enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<ToolRole>,
    /// Python packages that the function may import, besides those in `rewards.packages`, as pip writes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
    /// Whether the function runs unconfined, in an ordinary Python process, as it must if it uses the network or torch.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trusted: bool,
    /// Keyword arguments that the function gets in every call, besides those of its form. In verl they are called
    /// `reward_kwargs`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub kwargs: Map<String, Value>,
}

fn one() -> f64 {
    1.0
}

/// The file and the name of a function, as the two parts of `reward.py:accuracy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionAddress<'t> {
    /// Path of the file.
    pub file: &'t str,
    /// Name of the function.
    pub function: &'t str,
}

impl<'t> FunctionAddress<'t> {
    /// Splits a text; `None` if it is not of the form `FILE.py:FUNCTION`.
    pub fn parse(text: &'t str) -> Option<Self> {
        let (file, function) = text.rsplit_once(':')?;
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let is_function = !function.is_empty() && function.chars().all(is_name);
        let is_file = Path::new(file).extension().is_some_and(|extension| extension == "py");
        (is_file && is_function).then_some(Self { file, function })
    }
}

impl PythonFunction {
    /// The entry of a function that is given by its address alone.
    pub fn new(function: &str) -> Self {
        Self {
            function: function.to_owned(),
            name: None,
            weight: one(),
            combine: CombineAs::Term,
            least: None,
            range: None,
            role: None,
            packages: Vec::new(),
            trusted: false,
            kwargs: Map::new(),
        }
    }

    /// The file and the name of the function; `None` if `function` is not of the form `FILE.py:FUNCTION`.
    pub fn address(&self) -> Option<FunctionAddress<'_>> {
        FunctionAddress::parse(&self.function)
    }

    /// The tool's name.
    pub fn tool_name(&self) -> &str {
        self.name.as_deref().or(self.address().map(|a| a.function)).unwrap_or(&self.function)
    }

    /// The function as one of the tools of a prompt.
    pub fn weighted(&self) -> WeightedTool {
        let (tool, combine, least) = (self.tool_name().to_owned(), self.combine, self.least);
        WeightedTool { tool, weight: if combine.is_term() { self.weight } else { 0.0 }, combine, least }
    }

    /// What is wrong with the entry, as far as the entry alone shows it; `None` if nothing is wrong.
    pub fn problem(&self) -> Option<String> {
        if self.address().is_none() {
            return Some(format!("`{}` must name a file and a function in it, as `reward.py:accuracy`", self.function));
        }
        let name = self.tool_name();
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
            return Some(format!(
                "`{name}` cannot be a tool's name; give it one of letters, digits, `_` and `-` with `name`"
            ));
        }
        if self.combine.is_term() && (!self.weight.is_finite() || self.weight == 0.0) {
            return Some(format!("the weight of `{name}` is {}; it must be a number other than 0", self.weight));
        }
        match self.range {
            Some([low, high]) if !(low.is_finite() && high.is_finite() && low < high) => {
                Some("`range` must be two finite numbers, the lower first".into())
            }
            Some(range) => self.weighted().problem(range).filter(|_| !self.combine.is_term()),
            None if !self.combine.is_term() && self.least.is_none() => Some(format!(
                "`{name}` decides about replies: say from which score on they pass, with `least` or `range`"
            )),
            None => None,
        }
    }
}

/// An entry of `rewards.python` as the config writes it: the text of its `function`, or a mapping.
#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenEntry {
    Text(String),
    Mapping(PythonFunction),
}

/// The value of `rewards.python` as the config writes it: a list of entries, or one entry.
#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenEntries {
    // Tried first, because a mapping could also be read from a list, as its values in order.
    Several(Vec<WrittenEntry>),
    One(WrittenEntry),
}

impl WrittenEntry {
    fn entry(self) -> PythonFunction {
        match self {
            Self::Text(function) => PythonFunction::new(&function),
            Self::Mapping(entry) => entry,
        }
    }
}

/// Reads one entry or a list of them; an entry is a mapping, or the text of its `function`.
pub fn read_entries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PythonFunction>, D::Error> {
    Ok(match WrittenEntries::deserialize(deserializer)? {
        WrittenEntries::One(entry) => vec![entry.entry()],
        WrittenEntries::Several(entries) => entries.into_iter().map(WrittenEntry::entry).collect(),
    })
}

/// The JSON schema of what [`read_entries`] reads. It lists all allowed types together instead of as alternatives
/// (`anyOf`), so that a mistake in an entry is reported with its key.
pub fn entries_schema(generator: &mut SchemaGenerator) -> Schema {
    let mut entry = PythonFunction::json_schema(generator).to_value();
    entry["type"] = json!(["string", "object"]);
    let mut schema = json_schema!({});
    for (key, value) in entry.as_object().into_iter().flatten().filter(|(key, _)| *key != "description") {
        schema.insert(key.clone(), value.clone());
    }
    schema.insert("type".into(), json!(["string", "object", "array"]));
    schema.insert("items".into(), entry);
    schema.insert("default".into(), Value::Array(Vec::new()));
    schema
}
