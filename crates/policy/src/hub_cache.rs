//! The Hugging Face Hub's cache on this machine, in which the base model of an adapter may lie. Nothing is downloaded.

use std::path::{Path, PathBuf};

/// The folder in the Hugging Face Hub's cache that holds files of the model `id`, such as `org/model`, as of the branch,
/// tag or commit `revision`; its name is the commit. `None` where the cache has no such folder.
pub(crate) fn snapshot(id: &str, revision: &str) -> Option<PathBuf> {
    snapshot_in(&folder(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))?, id, revision)
}

/// The folder of the Hugging Face Hub's cache, as the environment variables that `huggingface_hub` reads set it.
/// `variable` returns the value of an environment variable. `None` where no variable says where the folder is.
fn folder(variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let path = |text: String| match text.strip_prefix("~/") {
        Some(rest) => Some(PathBuf::from(variable("HOME")?).join(rest)),
        None => Some(text.into()),
    };
    if let Some(cache) = variable("HF_HUB_CACHE").or_else(|| variable("HUGGINGFACE_HUB_CACHE")) {
        return path(cache);
    }
    let home = match (variable("HF_HOME"), variable("XDG_CACHE_HOME")) {
        (Some(home), _) => path(home)?,
        (None, Some(cache)) => path(cache)?.join("huggingface"),
        (None, None) => PathBuf::from(variable("HOME")?).join(".cache/huggingface"),
    };
    Some(home.join("hub"))
}

fn snapshot_in(cache: &Path, id: &str, revision: &str) -> Option<PathBuf> {
    let is_name = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains("..");
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    if !id.chars().chain(revision.chars()).all(allowed)
        || !id.split('/').all(is_name)
        || !revision.split('/').all(is_name)
    {
        return None;
    }
    let model = cache.join(format!("models--{}", id.replace('/', "--")));
    let named = std::fs::read_to_string(model.join("refs").join(revision)).ok();
    let commit = named.map_or_else(|| revision.to_owned(), |commit| commit.trim().to_owned());
    let is_commit = !commit.is_empty() && commit.chars().all(|c| c.is_ascii_hexdigit());
    let snapshot = model.join("snapshots").join(commit);
    (is_commit && snapshot.is_dir()).then_some(snapshot)
}
