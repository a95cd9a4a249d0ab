//! The address of the Hub, the folder of the cache and the token, read from the same environment variables as those of
//! the official Python client.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Secret;
use crate::http::redacted;
use crate::hub::HubError;

/// Maximum number of bytes that are read of a token file.
const MAX_TOKEN_BYTES: u64 = 64 << 10;

/// The settings of a [`Hub`](crate::hub::Hub).
#[derive(Clone)]
pub struct HubSettings {
    /// The Hub's address, such as `https://huggingface.co`.
    pub endpoint: String,
    /// The folder of the cache, which the official Python client can share.
    pub cache: PathBuf,
    /// The user's access token, sent to the endpoint only; `None` for requests without a token.
    pub token: Option<Secret>,
    /// Whether requests are forbidden (offline mode), so that only the cache is used.
    pub offline: bool,
    /// Whether the files of a snapshot are links to the cache's blobs. Without links, a file is in its snapshot only,
    /// and snapshots share no files. On a file system that has no links, the value makes no difference: files are
    /// stored without links.
    pub symlinks: bool,
    /// Maximum time for a request other than a download, with all its tries and the pauses between them.
    pub deadline: Duration,
    /// How long a download may receive no byte before its connection counts as broken.
    pub idle_timeout: Duration,
    /// Maximum number of tries per request; zero counts as one. A download that received new bytes starts counting
    /// again.
    pub tries: u32,
}

impl HubSettings {
    /// Reads the environment variables that `huggingface_hub` 2.4 reads: `HF_ENDPOINT`, `HF_HUB_CACHE` (or
    /// `HUGGINGFACE_HUB_CACHE`), `HF_HOME`, `XDG_CACHE_HOME`, `HF_TOKEN` (or `HUGGING_FACE_HUB_TOKEN`, or the file at
    /// `HF_TOKEN_PATH` or `$HF_HOME/token`), `HF_HUB_DISABLE_IMPLICIT_TOKEN`, `HF_HUB_DISABLE_SYMLINKS` and
    /// `HF_HUB_OFFLINE` (or `TRANSFORMERS_OFFLINE`). `env` is a function that looks a variable up, such as `|name|
    /// std::env::var(name).ok()`; an empty value counts as unset. The result is [`HubError::Settings`] if `HOME` is
    /// needed and unset, and [`HubError::Io`] if a token file cannot be read.
    pub fn from_env(env: impl Fn(&str) -> Option<String>) -> Result<Self, HubError> {
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
            token_of(&token)
        } else {
            let file = get(&["HF_TOKEN_PATH"]).map_or_else(|| Ok(home.join("token")), |p| path(&p))?;
            read_token(&file)?
        };
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').into(),
            cache,
            token,
            offline: is_true(&["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]),
            symlinks: !is_true(&["HF_HUB_DISABLE_SYMLINKS"]),
            deadline: Duration::from_mins(1),
            idle_timeout: Duration::from_secs(30),
            tries: 5,
        })
    }
}

// `Debug` is not derived, because the address may contain a password.
impl fmt::Debug for HubSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("HubSettings");
        shown.field("endpoint", &redacted(&self.endpoint)).field("cache", &self.cache).field("token", &self.token);
        shown.field("offline", &self.offline).field("symlinks", &self.symlinks).field("deadline", &self.deadline);
        shown.field("idle_timeout", &self.idle_timeout).field("tries", &self.tries).finish()
    }
}

/// Makes a token from a text without line breaks and without white space at its ends, which files and shells add;
/// `None` if nothing is left.
fn token_of(token: &str) -> Option<Secret> {
    let token = token.replace(['\r', '\n'], "");
    let token = token.trim();
    (!token.is_empty()).then(|| Secret::new(token))
}

/// Reads a token from a file; `None` if there is no such file or it contains only white space.
fn read_token(path: &Path) -> Result<Option<Secret>, HubError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(HubError::io(path)(e)),
    };
    let mut text = String::new();
    file.take(MAX_TOKEN_BYTES).read_to_string(&mut text).map_err(HubError::io(path))?;
    Ok(token_of(&text))
}

/// Replaces `~`, `$NAME` and `${NAME}` in a path by the values of the variables; unknown variables are left as they
/// are.
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
