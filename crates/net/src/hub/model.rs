//! The conditions of a search for models, and the information that the Hub returns about a model.

use serde_json::Value;

use crate::hub::names::{self, shown};

/// Maximum number of files of a model; a model with more is an error.
pub(crate) const MAX_FILES: usize = 50_000;

/// A search for models on the Hub: the conditions that a model must meet, the order, and the maximum number of models.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    /// A text that the model's id must contain; an empty text allows every id.
    pub query: String,
    /// Tags that the model must have, such as `license:mit` or `safetensors`.
    pub filter: Vec<String>,
    /// The task that the model must have, such as `text-generation`; `None` for every task.
    pub pipeline_tag: Option<String>,
    /// The owner that the model must have; `None` for every owner.
    pub author: Option<String>,
    /// The order of the models found.
    pub sort: Sort,
    /// Maximum number of models to return.
    pub limit: usize,
}

impl Default for Search {
    /// A search for the 20 models with the most downloads, of every task and owner.
    fn default() -> Self {
        let (query, filter) = (String::new(), Vec::new());
        Self { query, filter, pipeline_tag: None, author: None, sort: Sort::default(), limit: 20 }
    }
}

/// The order in which a search returns models, always descending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// By the number of downloads in the last 30 days.
    #[default]
    Downloads,
    /// By the number of likes.
    Likes,
    /// By the time of the last change, newest first.
    Updated,
    /// By the time of the first publication, newest first.
    Created,
    /// By the Hub's trending score, a measure of recent popularity.
    Trending,
}

impl Sort {
    /// The value of the parameter `sort` in a request.
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

/// Who may download a model's files (the Hub's `gated`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GatedAccess {
    /// Everyone may download the files.
    #[default]
    No,
    /// Only users who have accepted the model's terms may download the files.
    Auto,
    /// Only users whom the model's owner has approved may download the files.
    Manual,
}

/// A model in the results of a search. The publisher of the model wrote the texts; control characters are removed, and
/// texts are cut after 500 characters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelSummary {
    /// The id of the model, `owner/name`.
    pub id: String,
    /// The newest commit of the model, as 40 hexadecimal digits; `None` if the Hub does not give it.
    pub sha: Option<String>,
    /// Number of downloads in the last 30 days.
    pub downloads: u64,
    /// Number of likes.
    pub likes: u64,
    /// The tags that the Hub gives to the model, such as `safetensors` or `license:mit`.
    pub tags: Vec<String>,
    /// The task of the model, such as `text-generation`; `None` if the Hub does not give it.
    pub pipeline_tag: Option<String>,
    /// The library that runs the model, such as `transformers`; `None` if the Hub does not give it.
    pub library_name: Option<String>,
    /// The licence, such as `apache-2.0`, from the model card or the tags; `None` if neither names one.
    pub licence: Option<String>,
    /// Who may download the model's files.
    pub gated: GatedAccess,
    /// The time of the last change (ISO 8601); `None` if the Hub does not give it.
    pub last_modified: Option<String>,
}

/// The metadata and the list of files of a model at one commit.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelInfo {
    /// The metadata that a search returns as well. For a model that was renamed, the id is the new one.
    pub model: ModelSummary,
    /// The commit, as 40 hexadecimal digits.
    pub commit: String,
    /// The files of the model at this commit, sorted by name.
    pub siblings: Vec<Sibling>,
    /// The metadata at the top of the model's README (`cardData`); null if there is none.
    pub card: Value,
}

/// A file in the list of a model's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sibling {
    /// The file's path in the model.
    pub name: String,
    /// The file's size in bytes; `None` if the Hub does not give it.
    pub size: Option<u64>,
    /// The file's blob id in git (SHA-1). For a file in Git LFS, this is the blob id of the small pointer file that git
    /// stores instead. `None` if the Hub does not give it.
    pub blob: Option<String>,
    /// The SHA-256 of the file's bytes if the file is stored in Git LFS; `None` for other files.
    pub sha256: Option<String>,
}

impl ModelSummary {
    /// Reads a model from an item of the response to `GET /api/models`. An error if the item has no valid id.
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
    /// Reads the response to `GET /api/models/{id}`. The error says what is wrong with the response.
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

    /// The hash that identifies the file's bytes: the SHA-256 of a file in Git LFS, or else the git blob id. `None` if
    /// the Hub gave neither.
    pub(crate) fn hash(&self) -> Option<&str> {
        self.sha256.as_deref().or(self.blob.as_deref())
    }
}
