//! From which model of the Hugging Face Hub a GGUF file was made, as far as its metadata say it.

use crate::gguf::Gguf;

/// What the metadata of a GGUF file say about the models that it was made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GgufOrigin {
    /// Hub id of the model from which the file was converted (`general.source.…`); `None` where no key names one.
    pub converted_from: Option<String>,
    /// Hub id of the parent model (`general.base_model.0.repo_url`): the model from which this one was fine-tuned, or the
    /// one that was converted. `None` where the key is missing.
    pub parent: Option<String>,
}

impl Gguf {
    /// The models from which this file was made, as its metadata name them. Repositories of GGUF files do not count.
    pub fn origin(&self) -> GgufOrigin {
        let id = |key: &str| hub_id(self.text(key).ok()?);
        GgufOrigin {
            converted_from: id("general.source.huggingface.repository").or_else(|| id("general.source.repo_url")),
            parent: id("general.base_model.0.repo_url"),
        }
    }
}

/// The id `owner/name` in the address of a model on the Hugging Face Hub, or a text that is such an id. `None` for any
/// other text, and for a repository whose name says that it holds GGUF files.
fn hub_id(text: &str) -> Option<String> {
    let without_scheme = text.trim().trim_start_matches("https://").trim_start_matches("http://");
    let path = ["huggingface.co/", "hf.co/"].iter().find_map(|host| without_scheme.strip_prefix(host));
    // Without the Hub's host, only a bare id is left: another host would be a third part.
    let parts: Vec<&str> = path.unwrap_or(text.trim()).trim_end_matches('/').split('/').collect();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_name = |part: &&str| part.chars().all(allowed) && part.starts_with(|c: char| c.is_ascii_alphanumeric());
    match parts.as_slice() {
        [owner, name] if [owner, name].into_iter().all(is_name) && !name.to_ascii_lowercase().ends_with("gguf") => {
            Some(format!("{owner}/{name}"))
        }
        _ => None,
    }
}
