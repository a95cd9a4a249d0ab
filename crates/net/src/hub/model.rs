//! Searches for models, and what the Hub returns about a model.

use serde_json::Value;

use crate::hub::names::{self, shown};

/// The most files that a model may have.
pub(crate) const MAX_FILES: usize = 50_000;

/// A search for models.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    /// A text that the id must contain; empty for every id.
    pub query: String,
    /// Tags that the model must have, such as `license:mit` or `safetensors`.
    pub filter: Vec<String>,
    /// The task of the model, such as `text-generation`; `None` for every task.
    pub pipeline_tag: Option<String>,
    /// The owner of the model; `None` for every owner.
    pub author: Option<String>,
    /// The order of the results.
    pub sort: Sort,
    /// The most models to return.
    pub limit: usize,
}

impl Default for Search {
    /// The 20 models with the most downloads, of every task and owner.
    fn default() -> Self {
        let (query, filter) = (String::new(), Vec::new());
        Self { query, filter, pipeline_tag: None, author: None, sort: Sort::default(), limit: 20 }
    }
}

/// The order of a search's results, always descending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Downloads in the last 30 days.
    #[default]
    Downloads,
    /// The number of likes.
    Likes,
    /// The time of the last change.
    Updated,
    /// The time of the first publication.
    Created,
    /// The Hub's trending score: recent popularity.
    Trending,
}

impl Sort {
    /// The value of the `sort` parameter.
    pub(crate) fn parameter(self) -> &'static str {
        match self {
            Self::Downloads => "downloads",
            Self::Likes => "likes",
            Self::Updated => "lastModified",
            Self::Created => "createdAt",
            Self::Trending => "trendingScore",
        }
    }
}

/// Access to a model's files (the Hub's `gated`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GatedAccess {
    /// Free for everyone.
    #[default]
    No,
    /// For users who accept the model's terms.
    Auto,
    /// For users whom the owner approves.
    Manual,
}

/// A model in the results of a search. Texts are the publisher's, without control characters and cut after 500
/// characters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelSummary {
    /// The id, `owner/name`.
    pub id: String,
    /// The newest commit, 40 hexadecimal digits; `None` if the Hub does not give it.
    pub sha: Option<String>,
    /// Downloads in the last 30 days.
    pub downloads: u64,
    /// The number of likes.
    pub likes: u64,
    /// The Hub's tags, such as `safetensors` or `license:mit`.
    pub tags: Vec<String>,
    /// The task, such as `text-generation`.
    pub pipeline_tag: Option<String>,
    /// The library that runs it, such as `transformers`.
    pub library_name: Option<String>,
    /// The licence, such as `apache-2.0`, from the model card or the tags.
    pub licence: Option<String>,
    /// Access to the files.
    pub gated: GatedAccess,
    /// The time of the last change (ISO 8601).
    pub last_modified: Option<String>,
}

/// A model at one commit.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// The metadata that a search returns as well. Its id is the model's present one, also if it was renamed.
    pub model: ModelSummary,
    /// The commit, 40 hexadecimal digits.
    pub commit: String,
    /// The files, sorted by name.
    pub siblings: Vec<Sibling>,
    /// The metadata of the model card (`cardData`); null if there is none.
    pub card: Value,
}

/// A file of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sibling {
    /// The path in the model.
    pub name: String,
    /// The size in bytes; `None` if the Hub does not give it.
    pub size: Option<u64>,
    /// The git blob id (SHA-1), which for a file in Git LFS is that of its pointer.
    pub blob: Option<String>,
    /// The SHA-256 of a file in Git LFS, else `None`.
    pub sha256: Option<String>,
}

impl ModelSummary {
    /// Reads an item of `GET /api/models`; an error without a valid id.
    pub(crate) fn read(json: &Value) -> Result<Self, String> {
        let text = |key: &str| json.get(key).and_then(Value::as_str).map(shown);
        let number = |key: &str| json.get(key).and_then(Value::as_u64).unwrap_or_default();
        let id = text("id").or_else(|| text("modelId")).ok_or("a model has no `id`")?;
        names::id(&id).map_err(|e| e.to_string())?;
        let tags: Vec<String> = json
            .get("tags")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(shown)
            .collect();
        let card_licence = json.pointer("/cardData/license").and_then(Value::as_str).map(shown);
        let tag_licence = || tags.iter().find_map(|t| t.strip_prefix("license:")).map(str::to_owned);
        let gated = match json.get("gated") {
            Some(Value::String(how)) if how == "manual" => GatedAccess::Manual,
            Some(Value::String(_) | Value::Bool(true)) => GatedAccess::Auto,
            _ => GatedAccess::No,
        };
        Ok(Self {
            id,
            sha: text("sha").filter(|s| names::is_hash(s, 40)),
            downloads: number("downloads"),
            likes: number("likes"),
            pipeline_tag: text("pipeline_tag"),
            library_name: text("library_name"),
            licence: card_licence.or_else(tag_licence),
            gated,
            last_modified: text("lastModified"),
            tags,
        })
    }
}

impl ModelInfo {
    /// Reads `GET /api/models/{id}`; the error says what is wrong.
    pub(crate) fn read(json: &Value) -> Result<Self, String> {
        let model = ModelSummary::read(json)?;
        let commit = model.sha.clone().ok_or("`sha` is not a commit of 40 hexadecimal digits")?;
        let listed = json.get("siblings").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if listed.len() > MAX_FILES {
            return Err(format!("the model has {} files, more than {MAX_FILES}", listed.len()));
        }
        let mut siblings = listed.iter().map(Sibling::read).collect::<Result<Vec<_>, _>>()?;
        siblings.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = siblings.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(format!("the file {:?} is listed twice", pair[0].name));
        }
        let card = json.get("cardData").cloned().unwrap_or_default();
        Ok(Self { model, commit, siblings, card })
    }
}

impl Sibling {
    fn read(json: &Value) -> Result<Self, String> {
        let name = json.get("rfilename").and_then(Value::as_str).ok_or("a file has no `rfilename`")?;
        names::file(name).map_err(|e| e.to_string())?;
        let hash = |at: &str, digits| {
            let text = json.pointer(at).and_then(Value::as_str);
            text.filter(|t| names::is_hash(t, digits)).map(str::to_owned)
        };
        let number = |at: &str| json.pointer(at).and_then(Value::as_u64);
        Ok(Self {
            name: name.to_owned(),
            size: number("/lfs/size").or_else(|| number("/size")),
            blob: hash("/blobId", 40),
            sha256: hash("/lfs/sha256", 64),
        })
    }

    /// The hash of the file's bytes: SHA-256 in Git LFS, else the git blob id.
    pub(crate) fn hash(&self) -> Option<&str> {
        self.sha256.as_deref().or(self.blob.as_deref())
    }
}
