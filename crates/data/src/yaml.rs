//! YAML files that are checked as a whole against a JSON Schema; every mistake is reported with its line.

use std::path::{Path, PathBuf};

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{ConfigError, KeyProblem, Problem};

/// A parsed YAML file that remembers the line of every key.
pub struct Document<'a> {
    path: PathBuf,
    text: &'a str,
    root: MarkedYaml<'a>,
    /// Names of settings in other programs, each with the key for the same setting here. An error about an unknown key
    /// that is such a name says which key to use.
    foreign_names: &'static [ForeignName],
}

/// The name of a setting in another program, with the key for the same setting here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignName {
    /// The name of the setting in the other program.
    pub name: &'static str,
    /// The path of the key for the same setting in a document of this program, such as `train.steps`.
    pub key: &'static str,
}

impl<'a> Document<'a> {
    /// Parses a text that holds one YAML document. `path` is the file that errors name.
    pub fn parse(path: &Path, text: &'a str) -> Result<Self, ConfigError> {
        let error = |line, message| ConfigError { path: path.to_owned(), problems: vec![Problem { line, message }] };
        let mut documents =
            MarkedYaml::load_from_str(text).map_err(|e| error(e.marker().line(), format!("not YAML: {}", e.info())))?;
        if documents.len() > 1 {
            return Err(error(1, "holds several YAML documents; one is expected".into()));
        }
        let root = documents.pop().ok_or_else(|| error(1, "is empty".into()))?;
        Ok(Self { path: path.to_owned(), text, root, foreign_names: &[] })
    }

    /// Sets the names that settings have in other programs. If the document has such a name as an unknown key, the
    /// error says which key to use instead.
    pub fn with_foreign_names(self, foreign_names: &'static [ForeignName]) -> Self {
        Self { foreign_names, ..self }
    }

    /// Checks the document against the JSON Schema of `T` (unknown and missing keys, types, ranges, allowed values),
    /// then deserialises it. The error lists every mistake.
    pub fn check<T: DeserializeOwned>(&self, schema: &Value) -> Result<T, ConfigError> {
        let mut checker = Checker { schema, foreign_names: self.foreign_names, problems: Vec::new() };
        checker.node(&self.root, schema, "");
        let mut problems = checker.problems;
        if problems.is_empty() {
            match serde_yaml::from_str(self.text) {
                Ok(value) => return Ok(value),
                Err(e) => {
                    let line = e.location().map_or(1, |l| l.line());
                    problems.push(Problem { line, message: e.to_string() });
                }
            }
        }
        problems.sort_by_key(|p| p.line);
        Err(ConfigError { path: self.path.clone(), problems })
    }

    /// Turns problems that were found after [`Document::check`] into one error, with the line of each key. Succeeds if
    /// there are none.
    pub fn reject(&self, found: Vec<KeyProblem>) -> Result<(), ConfigError> {
        if found.is_empty() { Ok(()) } else { Err(self.error(found)) }
    }

    /// The error of one or more problems that were found after [`Document::check`], with the line of each key.
    pub fn error(&self, found: Vec<KeyProblem>) -> ConfigError {
        let with_line =
            |KeyProblem { key, message }| Problem { line: self.line(&key), message: format!("`{key}`: {message}") };
        let mut problems: Vec<Problem> = found.into_iter().map(with_line).collect();
        problems.sort_by_key(|p| p.line);
        ConfigError { path: self.path.clone(), problems }
    }

    /// The line of the key at a path, or of its nearest ancestor that the document contains.
    fn line(&self, path: &str) -> usize {
        let (mut node, mut line) = (&self.root, 1);
        for part in path.split('.') {
            let (key, item) = part.strip_suffix(']').and_then(|p| p.split_once('[')).unwrap_or((part, ""));
            let YamlData::Mapping(map) = &node.data else { break };
            let Some((k, v)) = map.iter().find(|(k, _)| text(k).as_deref() == Some(key)) else { break };
            (node, line) = (v, k.span.start.line());
            let items = if let YamlData::Sequence(items) = &node.data { &items[..] } else { &[] };
            if let Some(inner) = item.parse::<usize>().ok().and_then(|i| items.get(i)) {
                (node, line) = (inner, inner.span.start.line());
            }
        }
        line
    }
}

/// The text of a node that holds text; `None` for other nodes.
fn text(node: &MarkedYaml) -> Option<String> {
    match &node.data {
        YamlData::Value(Scalar::String(s)) => Some(s.to_string()),
        _ => None,
    }
}

/// Compares a document with a schema and collects the mistakes.
struct Checker<'s> {
    /// The whole schema, in which `$ref` references are looked up.
    schema: &'s Value,
    foreign_names: &'static [ForeignName],
    problems: Vec<Problem>,
}

impl<'s> Checker<'s> {
    /// Adds a mistake at the line of a node.
    fn report(&mut self, node: &MarkedYaml, message: String) {
        self.problems.push(Problem { line: node.span.start.line(), message });
    }

    /// Replaces a `$ref` by the schema that it refers to, and an `anyOf` by the alternative that has the node's type,
    /// or else by the first alternative that is not `null`. Returns any other schema unchanged.
    fn resolve(&self, mut schema: &'s Value, node: &MarkedYaml) -> &'s Value {
        loop {
            if let Some(target) = schema["$ref"].as_str() {
                schema = self.schema.pointer(target.trim_start_matches('#')).unwrap_or(&Value::Null);
            } else if let Some(choices) = schema["anyOf"].as_array() {
                let mut choices = choices.iter().filter(|c| c["type"] != "null");
                let Some(first) = choices.clone().next() else { return schema };
                schema = choices.find(|c| fits(self.resolve(c, node), node)).unwrap_or(first);
            } else {
                return schema;
            }
        }
    }

    /// Checks a node against a schema; `path` is the node's key path, empty for the whole document.
    fn node(&mut self, node: &MarkedYaml, schema: &'s Value, path: &str) {
        let null = matches!(node.data, YamlData::Value(Scalar::Null));
        let optional =
            |s: &Value| s["type"].as_array().is_some_and(|t| t.contains(&"null".into())) || s["anyOf"].is_array();
        if null && optional(schema) {
            return;
        }
        let schema = self.resolve(schema, node);
        let here = if path.is_empty() { "the document".to_owned() } else { format!("`{path}`") };
        if let Some(allowed) = enumeration(schema) {
            let found = text(node).unwrap_or_else(|| shown(node));
            if !allowed.contains(&found.as_str()) {
                let hint = nearest(&found, allowed.iter().copied());
                self.report(node, format!("{here} is `{found}`; possible: {}{hint}", allowed.join(", ")));
            }
            return;
        }
        let types = &schema["type"];
        let is = |name: &str| types == name || types.as_array().is_some_and(|t| t.contains(&name.into()));
        match &node.data {
            YamlData::Mapping(map) if is("object") => self.mapping(map.iter(), schema, path, node),
            YamlData::Sequence(items) if is("array") => {
                for (i, item) in items.iter().enumerate() {
                    self.node(item, &schema["items"], &format!("{path}[{i}]"));
                }
            }
            YamlData::Value(Scalar::Integer(n)) if is("integer") || is("number") => {
                self.range(node, *n as f64, schema, &here);
            }
            YamlData::Value(Scalar::FloatingPoint(x)) if is("number") => {
                self.range(node, x.into_inner(), schema, &here);
            }
            YamlData::Value(Scalar::Boolean(_)) if is("boolean") => {}
            YamlData::Value(Scalar::String(_)) if is("string") => {}
            _ if types.is_null() => {}
            _ => {
                let expected = types.as_str().or_else(|| types[0].as_str()).unwrap_or("another type");
                self.report(node, format!("{here} must be {}, not {}", article(expected), shown(node)));
            }
        }
    }

    /// Checks the keys of a mapping, which starts at the node `at`, and their values.
    fn mapping<'n, 'i: 'n>(
        &mut self,
        entries: impl Iterator<Item = (&'n MarkedYaml<'i>, &'n MarkedYaml<'i>)>,
        schema: &'s Value,
        path: &str,
        at: &MarkedYaml,
    ) {
        let Some(known) = schema["properties"].as_object() else { return };
        let mut seen = Vec::new();
        for (key, value) in entries {
            let name = text(key).unwrap_or_else(|| shown(key));
            let full = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            if let Some(inner) = known.get(&name) {
                self.node(value, inner, &full);
            } else {
                let foreign = self.foreign_names.iter().find(|foreign| foreign.name == name);
                let hint = match foreign {
                    Some(foreign) => format!("; here it is `{}`", foreign.key),
                    None => nearest(&name, known.keys().map(String::as_str)),
                };
                self.report(key, format!("unknown key `{full}`{hint}"));
            }
            seen.push(name);
        }
        for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !seen.iter().any(|s| s == required) {
                let full = if path.is_empty() { required.to_owned() } else { format!("{path}.{required}") };
                self.report(at, format!("the key `{full}` is missing"));
            }
        }
    }

    /// Checks a number against the bounds of a schema; `here` names the number's key in messages.
    fn range(&mut self, node: &MarkedYaml, x: f64, schema: &Value, here: &str) {
        let bound = |key: &str| schema[key].as_f64();
        let low = bound("minimum").is_some_and(|m| x < m) || bound("exclusiveMinimum").is_some_and(|m| x <= m);
        let high = bound("maximum").is_some_and(|m| x > m) || bound("exclusiveMaximum").is_some_and(|m| x >= m);
        if low || high || !x.is_finite() {
            let mut allowed = Vec::new();
            for (key, words) in [
                ("minimum", "at least"),
                ("exclusiveMinimum", "more than"),
                ("maximum", "at most"),
                ("exclusiveMaximum", "less than"),
            ] {
                allowed.extend(bound(key).map(|m| format!("{words} {m}")));
            }
            self.report(node, format!("{here} is {x}; it must be {}", allowed.join(" and ")));
        }
    }
}

/// Whether the `type` of a schema is the type of this node.
fn fits(schema: &Value, node: &MarkedYaml) -> bool {
    let types: &[&str] = match &node.data {
        YamlData::Mapping(_) => &["object"],
        YamlData::Sequence(_) => &["array"],
        YamlData::Value(Scalar::Integer(_)) => &["integer", "number"],
        YamlData::Value(Scalar::FloatingPoint(_)) => &["number"],
        YamlData::Value(Scalar::Boolean(_)) => &["boolean"],
        YamlData::Value(Scalar::String(_)) => &["string"],
        _ => &[],
    };
    types.iter().any(|name| schema["type"] == *name)
}

/// The texts that a schema allows as a value; `None` if the schema does not list them.
fn enumeration(schema: &Value) -> Option<Vec<&str>> {
    if let Some(list) = schema["enum"].as_array() {
        return Some(list.iter().filter_map(Value::as_str).collect());
    }
    let choices = schema["oneOf"].as_array()?;
    let each = |c: &'_ Value| -> Vec<String> { c["const"].as_str().map(str::to_owned).into_iter().collect() };
    if choices.iter().all(|c| c["const"].is_string() || c["enum"].is_array())
        && !choices.iter().all(|c| each(c).is_empty())
    {
        let one = choices.iter().filter_map(|c| c["const"].as_str());
        let many = choices.iter().filter_map(|c| c["enum"].as_array()).flatten().filter_map(Value::as_str);
        return Some(one.chain(many).collect());
    }
    None
}

/// A hint at the known name that is most similar to `name`, such as "; did you mean `train`?"; empty if none is similar.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    closest(name, known).map_or_else(String::new, |known| format!("; did you mean `{known}`?"))
}

/// The known name that is most similar to `name`; `None` if none is similar.
pub fn closest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.map(|k| (strsim::normalized_damerau_levenshtein(name, k), k));
    let (score, closest) = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (score >= 0.4).then_some(closest)
}

/// The type that a JSON Schema names, in words and with its article.
fn article(kind: &str) -> &str {
    match kind {
        "object" => "a mapping",
        "array" => "a list",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "string" => "text",
        other => other,
    }
}

/// Describes the value of a node in words, for messages.
fn shown(node: &MarkedYaml) -> String {
    match &node.data {
        YamlData::Mapping(_) => "a mapping".into(),
        YamlData::Sequence(_) => "a list".into(),
        YamlData::Value(Scalar::Null) => "empty".into(),
        YamlData::Value(Scalar::Boolean(b)) => format!("`{b}`"),
        YamlData::Value(Scalar::Integer(n)) => format!("`{n}`"),
        YamlData::Value(Scalar::FloatingPoint(x)) => format!("`{x}`"),
        YamlData::Value(Scalar::String(s)) => format!("the text `{s}`"),
        _ => "something else".into(),
    }
}
