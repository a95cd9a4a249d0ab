//! Where the Hub and its cache are, as the official Python client finds them.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Secret;
use crate::http::redacted;
use crate::hub::HubError;

/// The longest token file, in bytes.
const LONGEST_TOKEN: u64 = 64 << 10;

/// How the Hub is asked.
#[derive(Clone)]
pub struct Settings {
    /// The Hub's address, such as `https://huggingface.co`.
    pub endpoint: String,
    /// The folder of downloaded models, shared with the official client.
    pub cache: PathBuf,
    /// Who asks; sent to the endpoint alone.
    pub token: Option<Secret>,
    /// Whether only the cache may be used.
    pub offline: bool,
    /// Time for a question, with all its tries and pauses.
    pub deadline: Duration,
    /// Time without a byte after which a download's connection counts as broken.
    pub patience: Duration,
    /// Tries per question, and per download without progress; zero counts as one.
    pub tries: u32,
}

impl Settings {
    /// Reads the variables that `huggingface_hub` 2.4 reads: `HF_ENDPOINT`, `HF_HUB_CACHE` (or
    /// `HUGGINGFACE_HUB_CACHE`), `HF_HOME`, `XDG_CACHE_HOME`, `HF_TOKEN` (or `HUGGING_FACE_HUB_TOKEN`, or the file at
    /// `HF_TOKEN_PATH` or `$HF_HOME/token`), `HF_HUB_DISABLE_IMPLICIT_TOKEN` and `HF_HUB_OFFLINE` (or
    /// `TRANSFORMERS_OFFLINE`). `env` looks one up; an empty one counts as not set. [`HubError::Settings`] if there is
    /// no home, [`HubError::Io`] if a token file cannot be read.
    pub fn from(env: impl Fn(&str) -> Option<String>) -> Result<Self, HubError> {
        let get = |names: &[&str]| names.iter().find_map(|n| env(n).filter(|v| !v.is_empty()));
        let is_true = |names: &[&str]| {
            get(names).is_some_and(|v| matches!(v.to_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE"))
        };
        let path = |text: &str| expanded(text, &get);
        let home = match (get(&["HF_HOME"]), get(&["XDG_CACHE_HOME"])) {
            (Some(home), _) => path(&home)?,
            (None, Some(cache)) => path(&format!("{cache}/huggingface"))?,
            (None, None) => path("~/.cache/huggingface")?,
        };
        let cache = get(&["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"]);
        let cache = cache.map_or_else(|| Ok(home.join("hub")), |c| path(&c))?;
        let endpoint = get(&["HF_ENDPOINT"]).unwrap_or_else(|| "https://huggingface.co".into());
        let token = if is_true(&["HF_HUB_DISABLE_IMPLICIT_TOKEN"]) {
            None
        } else if let Some(token) = get(&["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]) {
            clean(&token)
        } else {
            let file = get(&["HF_TOKEN_PATH"]).map_or_else(|| Ok(home.join("token")), |p| path(&p))?;
            token_in(&file)?
        };
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').into(),
            cache,
            token,
            offline: is_true(&["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]),
            deadline: Duration::from_mins(1),
            patience: Duration::from_secs(30),
            tries: 5,
        })
    }
}

/// The address may hold a password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Settings");
        shown.field("endpoint", &redacted(&self.endpoint)).field("cache", &self.cache).field("token", &self.token);
        shown.field("offline", &self.offline).field("deadline", &self.deadline).field("patience", &self.patience);
        shown.field("tries", &self.tries).finish()
    }
}

/// A token without what files and shells add; nothing if nothing is left.
fn clean(token: &str) -> Option<Secret> {
    let token = token.replace(['\r', '\n'], "");
    let token = token.trim();
    (!token.is_empty()).then(|| Secret::new(token))
}

fn token_in(path: &Path) -> Result<Option<Secret>, HubError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(HubError::io(path)(e)),
    };
    let mut text = String::new();
    file.take(LONGEST_TOKEN).read_to_string(&mut text).map_err(HubError::io(path))?;
    Ok(clean(&text))
}

/// A path with `~`, `$NAME` and `${NAME}` replaced; unknown names stay.
fn expanded(text: &str, get: &dyn Fn(&[&str]) -> Option<String>) -> Result<PathBuf, HubError> {
    let home = |rest: &str| {
        let home = get(&["HOME"]).ok_or_else(|| HubError::Settings("HOME is not set; set it, or HF_HOME".into()))?;
        Ok(format!("{}{rest}", home.trim_end_matches('/')))
    };
    let text = match text.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => home(rest)?,
        _ => text.to_owned(),
    };
    let mut parts = text.split('$');
    let mut path = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = match part.strip_prefix('{').and_then(|p| p.split_once('}')) {
            Some(braced) => braced,
            None => part.split_at(part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(part.len())),
        };
        match get(&[name]) {
            Some(value) => path.extend([value.as_str(), rest]),
            None => path.extend(["$", part]),
        }
    }
    Ok(path.into())
}
