//! The resolved config of a run, as a list of keys with their values, for comparing runs.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::answer::NoAnswer;
use crate::bounded_file::{read_json, read_text};

/// The file of the resolved config.
pub const CONFIG: &str = "config.yaml";

/// The file with hashes of the data, and the names in it that are also keys of `data`.
const INPUTS: &str = "inputs.json";
const HASHED: [&str; 4] = ["train", "heldout", "demonstrations", "preferences"];
/// Largest number of keys.
const MAX_KEYS: usize = 5000;

/// A key of a config.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct ConfigValue {
    /// The path of the key, such as `train.steps`.
    pub key: String,
    /// Its value.
    pub value: String,
    /// For files of data, a hash of what was read from them: two files with the same hash hold the same examples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

impl ConfigValue {
    /// Whether another run's value stands for the same: the same text, another spelling of the same path, or another file
    /// with the same data.
    pub fn is_same(&self, other: &Self) -> bool {
        let has_same_data = self.data.is_some() && self.data == other.data;
        has_same_data || plain_path(&self.value) == plain_path(&other.value)
    }
}

/// A path without its detours, so that two spellings of it are equal: `./data//a/../b` is `data/b`. Other texts stay.
fn plain_path(text: &str) -> String {
    if !text.contains('/') || text.contains("://") {
        return text.to_owned();
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/').filter(|part| !matches!(*part, "" | ".")) {
        if part == ".." && parts.last().is_some_and(|last| *last != "..") {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    format!("{}{}", if text.starts_with('/') { "/" } else { "" }, parts.join("/"))
}

/// The config of a run as JSON.
pub fn read_config(run: &Path) -> Result<Value, NoAnswer> {
    let path = run.join(CONFIG);
    let text = read_text(&path).map_err(|error| NoAnswer::of_file(&path, &error))?;
    serde_yaml::from_str(&text).map_err(|error| NoAnswer::unreadable(format!("{}: {error}", path.display())))
}

/// The keys of a run's config in their order.
pub fn config_values(run: &Path) -> Result<Vec<ConfigValue>, NoAnswer> {
    let mut values = Vec::new();
    flatten(&read_config(run)?, "", &mut values);
    // A run that has not begun has no hashes yet.
    let inputs = read_json(&run.join(INPUTS)).ok().flatten().unwrap_or_default();
    for value in &mut values {
        let name = value.key.strip_prefix("data.").and_then(|name| name.split('.').next());
        let hash = name.filter(|name| HASHED.contains(name)).and_then(|name| inputs.get(name)?.as_str());
        value.data = hash.map(str::to_owned);
    }
    Ok(values)
}

/// Adds every value that is no object or list of objects.
fn flatten(value: &Value, path: &str, values: &mut Vec<ConfigValue>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Object(object) => object.iter().for_each(|(key, value)| flatten(value, &below(key), values)),
        Value::Array(list) if list.iter().any(Value::is_object) => {
            list.iter().enumerate().for_each(|(i, value)| flatten(value, &below(&i.to_string()), values));
        }
        leaf => {
            if values.len() < MAX_KEYS {
                let text = leaf.as_str().map_or_else(|| leaf.to_string(), str::to_owned);
                values.push(ConfigValue { key: path.to_owned(), value: text, data: None });
            }
        }
    }
}
