//! The model card: the metadata at the top of a model's README, as YAML between two lines of `---`
//! (<https://huggingface.co/docs/hub/model-cards>).

use serde_json::Value;

/// Maximum size of the metadata, in bytes; longer metadata is ignored.
pub(crate) const MAX_BYTES: usize = 256 << 10;

/// The metadata in the README of a model.
#[derive(Clone, Debug, Default)]
pub(crate) struct ModelCard {
    /// The whole metadata as JSON; null if there is none.
    pub data: Value,
    /// The tags, including those that the Hub derives from other keys, such as `license:mit` from `license`.
    pub tags: Vec<String>,
}

impl ModelCard {
    /// Reads the metadata in the text of a README. Without metadata, or if the YAML is invalid, the result is empty.
    pub fn read(text: &str) -> Self {
        let yaml = text.strip_prefix("---").and_then(|rest| rest.split_once("\n---")).map(|(yaml, _)| yaml);
        let data: Value = yaml.and_then(|y| serde_yaml::from_str(y).ok()).unwrap_or_default();
        if !data.is_object() {
            return Self::default();
        }
        let mut tags: Vec<String> = Vec::new();
        let sources = [
            ("library_name", ""),
            ("tags", ""),
            ("language", ""),
            ("license", "license:"),
            ("base_model", "base_model:"),
            ("datasets", "dataset:"),
        ];
        for (key, prefix) in sources {
            let value = data.get(key).unwrap_or(&Value::Null);
            let one_or_more = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            for tag in one_or_more.iter().filter_map(Value::as_str).map(|tag| format!("{prefix}{tag}")) {
                if !tags.contains(&tag) {
                    tags.push(tag);
                }
            }
        }
        Self { data, tags }
    }

    /// The text that a key of the metadata has; `None` if there is no such key or its value is no text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.data.get(key).and_then(Value::as_str)
    }

    /// The number that a key of the metadata has; 0 if there is no such key or its value is no whole number.
    pub fn number(&self, key: &str) -> u64 {
        self.data.get(key).and_then(Value::as_u64).unwrap_or_default()
    }

    /// Who may download the model, as the value of `gated` in the Hub's API: `false` (everyone), `"auto"` or
    /// `"manual"`.
    pub fn gated(&self) -> Value {
        match self.data.get("gated") {
            Some(Value::Bool(true)) => "auto".into(),
            Some(Value::String(how)) if how == "manual" || how == "auto" => how.as_str().into(),
            _ => false.into(),
        }
    }
}
