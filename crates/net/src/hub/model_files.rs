//! Which model a name such as `owner/name@revision/file.gguf` stands for, and which files of its repository rlar reads.

use std::fmt;
use std::path::PathBuf;

use serde_json::Value;

use crate::hub::cache::Cache;
use crate::hub::{DownloadProgress, Hub, HubError, HubLimits, names};

/// Largest index of a model's safetensors files that is read, in bytes.
const MAX_INDEX_BYTES: u64 = 32 << 20;

/// Maximum number of GGUF files that a message lists.
const MAX_LISTED: usize = 40;

/// The small files that describe a model and its tokenizer. Those that a repository has are downloaded with the weights.
const DESCRIPTIONS: [&str; 8] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
];

/// The name of a model on the Hub: `owner/name`, `owner/name@revision`, or one of these with a file, as in
/// `owner/name@revision/file.gguf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelName {
    /// The model's id, `owner/name`.
    pub id: String,
    /// The branch, tag or commit; `main` if the name gives none.
    pub revision: String,
    /// The path of a GGUF file in the repository; `None` for a name without one.
    pub file: Option<String>,
}

/// A model on the Hub at one commit, with the files that are needed to load it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundHubModel {
    /// The name by which the model was looked for.
    pub name: ModelName,
    /// The commit, as 40 hexadecimal digits.
    pub commit: String,
    /// For a model in a GGUF file, the file's path in the repository; `None` for a model in the Hugging Face format.
    pub gguf: Option<String>,
    /// The paths of the files to download.
    files: Vec<String>,
}

/// The files of a model at one commit.
struct Listing {
    commit: String,
    names: Vec<String>,
}

impl ModelName {
    /// Parses a name; `None` if the text cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, rest) = match text.split_once('@') {
            Some((id, rest)) => (id, Some(rest)),
            None => (text, None),
        };
        let name = if let Some(rest) = rest {
            // A revision with a slash, such as `refs/pr/1`, is possible only without a file.
            match rest.split_once('/').filter(|_| is_gguf(rest)) {
                Some((revision, file)) => Self::new(id, revision, Some(file)),
                None => Self::new(id, rest, None),
            }
        } else {
            let end = id.match_indices('/').nth(1).map(|(at, _)| at);
            match end.map(|at| (&id[..at], &id[at + 1..])) {
                Some((id, file)) if is_gguf(file) => Self::new(id, "main", Some(file)),
                // A GGUF file in a folder is a path.
                None if !is_gguf(id) => Self::new(id, "main", None),
                _ => return None,
            }
        };
        let is_valid = name.id.contains('/')
            && names::id(&name.id).is_ok()
            && names::revision(&name.revision).is_ok()
            && name.file.as_deref().is_none_or(|file| names::file(file).is_ok());
        is_valid.then_some(name)
    }

    fn new(id: &str, revision: &str, file: Option<&str>) -> Self {
        Self { id: id.to_owned(), revision: revision.to_owned(), file: file.map(str::to_owned) }
    }

    /// The same model at another branch, tag or commit.
    #[must_use]
    pub fn at(self, revision: &str) -> Self {
        Self { revision: revision.to_owned(), ..self }
    }

    fn error(&self, message: String) -> HubError {
        HubError::Model { id: self.id.clone(), revision: self.revision.clone(), message }
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.id, self.revision)?;
        self.file.as_ref().map_or(Ok(()), |file| write!(f, "/{file}"))
    }
}

impl Hub {
    /// Finds the commit of a model and the files that are needed to load it: the GGUF file that the name gives; or an
    /// adapter's files; or configuration, tokenizer and safetensors; or the only GGUF file of the repository. No weights are
    /// downloaded. [`HubError::Model`] if the repository has no such files, or several GGUF files.
    ///
    /// If the revision is a commit whose list of files is in the cache, no request is sent. In offline mode, a branch or tag
    /// stands for the commit that it had at its last download.
    pub fn find_model(&self, name: &ModelName) -> Result<FoundHubModel, HubError> {
        names::id(&name.id)?;
        names::revision(&name.revision)?;
        let Listing { commit, names } = self.list_files(name)?;
        let found = |gguf: Option<&String>, files| FoundHubModel {
            name: name.clone(),
            commit: commit.clone(),
            gguf: gguf.cloned(),
            files,
        };
        let has = |file: &str| names.iter().any(|name| name == file);
        let ggufs: Vec<&String> = names.iter().filter(|name| is_gguf(name)).collect();
        if let Some(file) = &name.file {
            if !has(file) {
                let others = if ggufs.is_empty() { "none".into() } else { listed(name, &ggufs) };
                return Err(name.error(format!("no file `{file}`; its GGUF files: {others}")));
            }
            return Ok(found(Some(file), vec![file.clone()]));
        }
        let descriptions = || DESCRIPTIONS.iter().filter(|file| has(file)).map(|file| (*file).to_owned());
        if has("adapter_config.json") && has("adapter_model.safetensors") {
            let adapter = ["adapter_config.json", "adapter_model.safetensors"].map(str::to_owned);
            return Ok(found(None, descriptions().chain(adapter).collect()));
        }
        let index = "model.safetensors.index.json";
        if has(index) {
            let text = self.text(&name.id, &commit, index, MAX_INDEX_BYTES)?;
            let weights = files_in_index(&text).ok_or_else(|| name.error(format!("{index} has no `weight_map`")))?;
            let files = descriptions().chain([index.to_owned()]).chain(weights);
            return Ok(found(None, files.collect()));
        }
        if has("model.safetensors") {
            return Ok(found(None, descriptions().chain(["model.safetensors".to_owned()]).collect()));
        }
        match ggufs.as_slice() {
            [file] => Ok(found(Some(file), vec![(*file).clone()])),
            [] if self.0.settings.offline => {
                Err(self.not_cached(format!("a model of {} at `{}`", name.id, name.revision)))
            }
            [] => Err(name.error(without_weights(&names).to_owned())),
            several => Err(name.error(format!("several GGUF files; name one of them: {}", listed(name, several)))),
        }
    }

    /// Downloads the files of a model that the cache lacks, as [`Hub::download`] does, and returns the folder that holds
    /// them; for a model in a GGUF file, the path of that file.
    pub fn download_model(
        &self,
        model: &FoundHubModel,
        progress: &mut dyn FnMut(&DownloadProgress),
    ) -> Result<PathBuf, HubError> {
        let FoundHubModel { name: ModelName { id, revision, .. }, commit, gguf, files } = model;
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        // All files are of the commit that was found, also if the branch has moved since.
        let folder = self.download(id, commit, &files, &HubLimits::default(), progress)?;
        if !self.0.settings.offline {
            Cache::new(&self.0.settings.cache, id).write_ref(revision, commit)?;
        }
        Ok(match gguf {
            Some(file) => folder.join(file),
            None => folder,
        })
    }

    /// The commit of a revision and the names of its files, from the cache or from the Hub.
    fn list_files(&self, ModelName { id, revision, .. }: &ModelName) -> Result<Listing, HubError> {
        let (cache, offline) = (Cache::new(&self.0.settings.cache, id), self.0.settings.offline);
        if (offline || names::is_hash(revision, 40))
            && let Some(commit) = cache.commit(revision)?
        {
            if let Some(names) = cache.tree(&commit)? {
                return Ok(Listing { commit, names });
            }
            let names = if offline { cache.files(&commit)? } else { Vec::new() };
            if !names.is_empty() {
                return Ok(Listing { commit, names });
            }
        }
        if offline {
            return Err(self.not_cached(format!("{id} at `{revision}`")));
        }
        let info = self.info(id, revision)?;
        Ok(Listing { commit: info.commit, names: info.siblings.into_iter().map(|file| file.name).collect() })
    }
}

/// Whether a path is that of a GGUF file.
fn is_gguf(path: &str) -> bool {
    path.to_ascii_lowercase().ends_with(".gguf")
}

/// The names of the safetensors files in an index, sorted; `None` if the text is no index.
fn files_in_index(text: &str) -> Option<Vec<String>> {
    let index: Value = serde_json::from_str(text).ok()?;
    let mut files: Vec<String> =
        index["weight_map"].as_object()?.values().filter_map(|file| file.as_str().map(str::to_owned)).collect();
    files.sort_unstable();
    files.dedup();
    (!files.is_empty()).then_some(files)
}

/// The full names of GGUF files, for a message.
fn listed(name: &ModelName, ggufs: &[&String]) -> String {
    let full = |file: &&String| ModelName { file: Some((*file).clone()), ..name.clone() }.to_string();
    let shown: Vec<String> = ggufs.iter().take(MAX_LISTED).map(full).collect();
    let more = if ggufs.len() > MAX_LISTED { " …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// Why the files of a repository are no model that rlar reads.
fn without_weights(names: &[String]) -> &'static str {
    let is_pickle = |name: &String| [".bin", ".pt", ".pth", ".pkl"].iter().any(|end| name.ends_with(end));
    if names.iter().any(is_pickle) {
        "its weights are pickles, which can run code; only safetensors and GGUF files are read"
    } else {
        "it has neither safetensors (`model.safetensors`) nor a GGUF file"
    }
}
