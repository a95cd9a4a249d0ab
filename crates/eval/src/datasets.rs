//! Published data sets: where they come from, what their hashes are, and where they lie once fetched.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rlar_data::Document;
use rlar_net::hub::HubSettings;
use rlar_net::{FileDownload, get_file};
use rlar_run::{sha256, write_atomic};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::EvalError;

/// The version of the form that this build reads.
const VERSION: u64 = 1;
/// What begins the name of a file on the Hub: `hub:OWNER/NAME@REVISION/PATH`.
const HUB: &str = "hub:";
/// The longest file that is fetched.
const LONGEST: u64 = 4 << 30;
/// Time for one file.
const DEADLINE: Duration = Duration::from_hours(2);

/// Data sets by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Origins {
    /// The version of this form: 1.
    pub version: u64,
    /// The data sets.
    pub sets: BTreeMap<String, DataSet>,
}

/// A data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataSet {
    /// What it is.
    pub about: String,
    /// Its licence, as its makers say.
    pub licence: String,
    /// Its files.
    pub files: Vec<Source>,
}

/// A file and its origin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its name in the data set's folder.
    pub file: String,
    /// Its address, or `hub:OWNER/NAME@REVISION/PATH` for a data set of the Hub at `HF_ENDPOINT`.
    pub url: String,
    /// Its SHA-256; without one the first fetch is trusted, and remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// It was there with the right hash.
    There,
    /// It came, with the hash that was known.
    Came,
    /// It came, and its hash is known from now on.
    Trusted(String),
}

/// The folder of fetched data: `RLAR_DATA`, else `rlar/data` in `XDG_CACHE_HOME` or `~/.cache`.
pub fn folder(env: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name: &str| env(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let cache = || set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    set("RLAR_DATA").or_else(|| Some(cache()?.join("rlar/data")))
}

impl Origins {
    /// Reads and checks a list of data sets; the path is for messages.
    pub fn parse(path: &Path, text: &str) -> Result<Self, EvalError> {
        let document = Document::parse(path, text)?;
        let origins: Self = document.check(&schemars::schema_for!(Self).to_value())?;
        let mut found = Vec::new();
        if origins.version != VERSION {
            found.push(("version".to_owned(), format!("is {}; this build reads version {VERSION}", origins.version)));
        }
        let plain = |name: &str| !name.is_empty() && name.split('/').all(is_plain);
        for (name, set) in &origins.sets {
            let key = format!("sets.{name}");
            if !is_plain(name) {
                found.push((key.clone(), "a name may have letters, digits, `.`, `-` and `_` only".to_owned()));
            }
            for (i, source) in set.files.iter().enumerate() {
                let key = format!("{key}.files[{i}]");
                if !plain(&source.file) {
                    found.push((key.clone(), format!("`{}` is no name of a file in a folder", source.file)));
                }
                if set.files[..i].iter().any(|other| other.file == source.file) {
                    found.push((key.clone(), format!("`{}` stands there twice", source.file)));
                }
                if !["http://", "https://", HUB].iter().any(|start| source.url.starts_with(start)) {
                    found.push((key.clone(), format!("`{}` begins with none of http://, https://, {HUB}", source.url)));
                }
                if source.sha256.as_ref().is_some_and(|h| h.len() != 64 || !h.bytes().all(|b| b.is_ascii_hexdigit())) {
                    found.push((key, "`sha256` must be 64 hexadecimal digits".to_owned()));
                }
            }
        }
        document.reject(found)?;
        Ok(origins)
    }

    /// The data set that a file in the folder of fetched data belongs to.
    pub fn of(&self, file: &str) -> Option<&str> {
        let (set, inside) = file.split_once('/')?;
        let (name, set) = self.sets.get_key_value(set)?;
        set.files.iter().any(|f| f.file == inside).then_some(name)
    }
}

fn is_plain(name: &str) -> bool {
    let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !name.is_empty() && name.chars().all(ok) && !name.starts_with('.')
}

/// One file of the Hub as a data set of its own: `hub:OWNER/NAME@REVISION/PATH`, kept under `hub/OWNER/NAME/REVISION/PATH`.
pub fn of_hub(name: &str) -> Option<Source> {
    let (owner, repo, revision, path) = hub_parts(name)?;
    let file = format!("hub/{owner}/{repo}/{revision}/{path}");
    file.split('/').all(is_plain).then(|| Source { file, url: name.to_owned(), sha256: None })
}

/// Owner, name, revision (`main` where none is named) and path.
fn hub_parts(name: &str) -> Option<(&str, &str, &str, &str)> {
    let (owner, rest) = name.strip_prefix(HUB)?.split_once('/')?;
    let (repo, path) = rest.split_once('/')?;
    let (repo, revision) = repo.split_once('@').unwrap_or((repo, "main"));
    let fine = [owner, repo, revision].into_iter().chain(path.split('/')).all(is_plain);
    fine.then_some((owner, repo, revision, path))
}

/// Whether a file is there with its right hash.
pub fn is_there(folder: &Path, source: &Source) -> bool {
    let path = folder.join(&source.file);
    let Ok(bytes) = fs::read(&path) else { return false };
    known_hash(&path, source).is_none_or(|hash| hash == sha256(&bytes))
}

/// The hash that a file must have, as its list says or as it was remembered.
fn known_hash(path: &Path, source: &Source) -> Option<String> {
    source.sha256.as_ref().map(|h| h.to_lowercase()).or_else(|| {
        let kept = fs::read_to_string(remembered(path)).ok()?;
        Some(kept.split_whitespace().next()?.to_owned())
    })
}

/// Where the hash of a trusted file is remembered, as `sha256sum` writes it.
fn remembered(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sha256");
    name.into()
}

/// Fetches a file into a folder, unless it is there with its right hash. The Hub's address and token are those of
/// `huggingface_hub`; `env` looks variables up.
pub fn fetch(
    folder: &Path,
    source: &Source,
    env: impl Fn(&str) -> Option<String>,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<Fetched, EvalError> {
    if is_there(folder, source) {
        return Ok(Fetched::There);
    }
    let path = folder.join(&source.file);
    let io = |e: std::io::Error| EvalError::File { path: path.clone(), message: e.to_string() };
    fs::create_dir_all(path.parent().unwrap_or(folder)).map_err(io)?;
    let (address, token) = if source.url.starts_with(HUB) {
        let (owner, repo, revision, file) = hub_parts(&source.url)
            .ok_or_else(|| EvalError::Mismatch(format!("{}: expected is {HUB}OWNER/NAME@REVISION/PATH", source.url)))?;
        let settings = HubSettings::from_env(env).map_err(|e| EvalError::Mismatch(e.to_string()))?;
        if settings.offline {
            let message = "is not there, and HF_HUB_OFFLINE forbids to ask the Hub".into();
            return Err(EvalError::File { path, message });
        }
        (format!("{}/datasets/{owner}/{repo}/resolve/{revision}/{file}", settings.endpoint), settings.token)
    } else {
        (source.url.clone(), None)
    };
    let hash = known_hash(&path, source);
    let wanted = FileDownload {
        address: &address,
        sha256: hash.as_deref(),
        max_bytes: LONGEST,
        token: token.as_ref(),
        deadline: DEADLINE,
    };
    let found = get_file(&wanted, &path, progress)?;
    if hash.is_some() {
        return Ok(Fetched::Came);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    write_atomic(&remembered(&path), format!("{found}  {name}\n").as_bytes())
        .map_err(|e| EvalError::File { path: path.clone(), message: e.to_string() })?;
    Ok(Fetched::Trusted(found))
}
