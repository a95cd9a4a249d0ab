//! A model card: the metadata at the top of a README, YAML between two lines of `---`
//! (<https://huggingface.co/docs/hub/model-cards>).

use serde_json::Value;

/// The longest metadata, in bytes; longer metadata is ignored.
pub(crate) const MAX_BYTES: usize = 256 << 10;

/// The metadata of a model.
#[derive(Clone, Debug, Default)]
pub(crate) struct ModelCard {
    /// The whole metadata; null if there is none.
    pub data: Value,
    /// The tags, with those that the Hub derives from other keys, such as `license:mit`.
    pub tags: Vec<String>,
}

impl ModelCard {
    /// Reads a README; without metadata, or with invalid YAML, the card is empty.
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

    /// A key's text, if it has one.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.data.get(key).and_then(Value::as_str)
    }

    /// A key's number, or 0.
    pub fn number(&self, key: &str) -> u64 {
        self.data.get(key).and_then(Value::as_u64).unwrap_or_default()
    }

    /// The `gated` value of the Hub's API: `false`, `"auto"` or `"manual"`.
    pub fn gated(&self) -> Value {
        match self.data.get("gated") {
            Some(Value::Bool(true)) => "auto".into(),
            Some(Value::String(how)) if how == "manual" || how == "auto" => how.as_str().into(),
            _ => false.into(),
        }
    }
}
