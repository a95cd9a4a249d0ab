//! What the Hub says of a model.

use serde_json::Value;

use crate::hub::names::{self, shown};

/// The most files of a model that are looked at.
pub(crate) const MOST_FILES: usize = 50_000;

/// What is searched.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    /// Text in the ids; empty for any.
    pub query: String,
    /// Tags that a model must have, such as `license:mit` or `safetensors`.
    pub filter: Vec<String>,
    /// A task that a model must be for, such as `text-generation`.
    pub pipeline_tag: Option<String>,
    /// Who published.
    pub author: Option<String>,
    /// Which come first.
    pub sort: Sort,
    /// Models at most.
    pub limit: usize,
}

impl Default for Search {
    /// The 20 models with the most downloads.
    fn default() -> Self {
        let (query, filter) = (String::new(), Vec::new());
        Self { query, filter, pipeline_tag: None, author: None, sort: Sort::default(), limit: 20 }
    }
}

/// The order of what is found: the most, or the newest, first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Downloads in the last 30 days.
    #[default]
    Downloads,
    /// Likes.
    Likes,
    /// The time of the last change.
    Updated,
    /// The time of the first publication.
    Created,
    /// What is liked these days.
    Trending,
}

impl Sort {
    /// The Hub's word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Downloads => "downloads",
            Self::Likes => "likes",
            Self::Updated => "lastModified",
            Self::Created => "createdAt",
            Self::Trending => "trendingScore",
        }
    }
}

/// Who may download a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gated {
    /// Everybody.
    #[default]
    No,
    /// Those who accept its terms.
    Auto,
    /// Those whom its owner accepts.
    Manual,
}

/// A model that was found. Texts are as its publisher wrote them, without control characters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// `owner/name`.
    pub id: String,
    /// The newest commit, if the Hub says it.
    pub sha: Option<String>,
    /// Downloads in the last 30 days.
    pub downloads: u64,
    /// Likes.
    pub likes: u64,
    /// Tags.
    pub tags: Vec<String>,
    /// What it is for, such as `text-generation`.
    pub pipeline_tag: Option<String>,
    /// What runs it, such as `transformers`.
    pub library_name: Option<String>,
    /// Its licence by its tags, such as `apache-2.0`.
    pub licence: Option<String>,
    /// Who may download it.
    pub gated: Gated,
    /// The time of the last change, as the Hub writes it (ISO 8601).
    pub last_modified: Option<String>,
}

/// A model at one commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// What a search says as well; its id is the model's present one.
    pub model: Found,
    /// The commit, 40 hexadecimal digits.
    pub commit: String,
    /// Its files.
    pub siblings: Vec<Sibling>,
    /// The metadata at the top of its README (`cardData`), or nothing.
    pub card: Value,
}

/// A file of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sibling {
    /// Its path in the model.
    pub name: String,
    /// Its size in bytes, if the Hub says it.
    pub size: Option<u64>,
    /// git's hash of it, or of its pointer where the file itself is in Git LFS.
    pub blob: Option<String>,
    /// Its SHA-256 where it is in Git LFS.
    pub sha256: Option<String>,
}

impl Found {
    /// Reads an item of `GET /api/models`; what is wrong with it if it has no usable id.
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
        let said = json.pointer("/cardData/license").and_then(Value::as_str).map(shown);
        let tagged = || tags.iter().find_map(|t| t.strip_prefix("license:")).map(str::to_owned);
        let gated = match json.get("gated") {
            Some(Value::String(how)) if how == "manual" => Gated::Manual,
            Some(Value::String(_) | Value::Bool(true)) => Gated::Auto,
            _ => Gated::No,
        };
        Ok(Self {
            id,
            sha: text("sha").filter(|s| names::is_hash(s, 40)),
            downloads: number("downloads"),
            likes: number("likes"),
            pipeline_tag: text("pipeline_tag"),
            library_name: text("library_name"),
            licence: said.or_else(tagged),
            gated,
            last_modified: text("lastModified"),
            tags,
        })
    }
}

impl Info {
    /// Reads `GET /api/models/{id}`; what is wrong with it if it is of no use.
    pub(crate) fn read(json: &Value) -> Result<Self, String> {
        let model = Found::read(json)?;
        let commit = model.sha.clone().ok_or("`sha` is not a commit of 40 hexadecimal digits")?;
        let listed = json.get("siblings").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if listed.len() > MOST_FILES {
            return Err(format!("the model has {} files, and {MOST_FILES} are the most", listed.len()));
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

    /// The hash of its bytes.
    pub(crate) fn hash(&self) -> Option<&str> {
        self.sha256.as_deref().or(self.blob.as_deref())
    }
}
