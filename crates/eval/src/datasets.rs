//! Downloads published data sets and checks the hashes of their files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rlar_data::{Document, KeyProblem};
use rlar_net::hub::HubSettings;
use rlar_net::{FileDownload, get_file};
use rlar_run::{sha256, write_atomic};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::EvalError;

/// The version of the YAML form of lists of data sets that this program reads.
const VERSION: u64 = 1;
/// Prefix of the address of a file on the Hugging Face Hub. The whole address is `hub:OWNER/NAME@REVISION/PATH`.
const HUB: &str = "hub:";
/// Maximum size of a downloaded file, in bytes.
const MAX_BYTES: u64 = 4 << 30;
/// Maximum time for the download of one file.
const DEADLINE: Duration = Duration::from_hours(2);

/// A YAML file that lists data sets which can be downloaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatasetManifest {
    /// The version of this YAML form: 1.
    pub version: u64,
    /// The data sets by name. The name is also that of the data set's folder.
    pub sets: BTreeMap<String, Dataset>,
}

/// A published data set that can be downloaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dataset {
    /// What the data set contains, for readers.
    pub about: String,
    /// The licence that the data set's authors state.
    pub licence: String,
    /// The files of the data set.
    pub files: Vec<DataFile>,
}

/// A file of a data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataFile {
    /// The file's path in the data set's folder.
    pub file: String,
    /// The file's URL, or `hub:OWNER/NAME@REVISION/PATH` for a file of a data set on the Hugging Face Hub (at
    /// `HF_ENDPOINT`).
    pub url: String,
    /// The SHA-256 that the file must have, in hexadecimal. Without it, the hash of the first download is stored beside
    /// the file, and later downloads must have that hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// What happened when a file was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchOutcome {
    /// The file was in the folder already, with the expected hash, so nothing was downloaded.
    AlreadyThere,
    /// The file was downloaded, and it has the expected hash.
    Downloaded,
    /// The file was downloaded, and no hash was known. Its SHA-256, in hexadecimal, was stored beside it.
    Unverified(String),
}

/// The folder of fetched data: the environment variable `RLAR_DATA`, else `rlar/data` in `XDG_CACHE_HOME` or in
/// `~/.cache`. `env` looks up environment variables. `None` where `RLAR_DATA`, `XDG_CACHE_HOME` and `HOME` are all
/// unset.
pub fn data_folder(env: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let path = |name: &str| env(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let cache = || path("XDG_CACHE_HOME").or_else(|| Some(path("HOME")?.join(".cache")));
    path("RLAR_DATA").or_else(|| Some(cache()?.join("rlar/data")))
}

impl DatasetManifest {
    /// Parses and checks the YAML text of a list of data sets. The path appears only in error messages.
    pub fn parse(path: &Path, text: &str) -> Result<Self, EvalError> {
        let document = Document::parse(path, text)?;
        let manifest: Self = document.check(&schemars::schema_for!(Self).to_value())?;
        let mut problems = Vec::new();
        if manifest.version != VERSION {
            problems.push(KeyProblem::new(
                "version",
                format!("is {}; this build reads version {VERSION}", manifest.version),
            ));
        }
        let is_plain_path = |name: &str| !name.is_empty() && name.split('/').all(is_plain);
        for (name, set) in &manifest.sets {
            let key = format!("sets.{name}");
            if !is_plain(name) {
                problems.push(KeyProblem::new(&key, "a name may have letters, digits, `.`, `-` and `_` only"));
            }
            for (i, source) in set.files.iter().enumerate() {
                let key = format!("{key}.files[{i}]");
                if !is_plain_path(&source.file) {
                    problems.push(KeyProblem::new(
                        &key,
                        format!("`{}` is not a relative path of plain names", source.file),
                    ));
                }
                if set.files[..i].iter().any(|other| other.file == source.file) {
                    problems.push(KeyProblem::new(&key, format!("`{}` is listed twice", source.file)));
                }
                if !["http://", "https://", HUB].iter().any(|start| source.url.starts_with(start)) {
                    problems.push(KeyProblem::new(
                        &key,
                        format!("`{}` must begin with http://, https:// or {HUB}", source.url),
                    ));
                }
                if source.sha256.as_ref().is_some_and(|h| h.len() != 64 || !h.bytes().all(|b| b.is_ascii_hexdigit())) {
                    problems.push(KeyProblem::new(key, "`sha256` must be 64 hexadecimal digits"));
                }
            }
        }
        document.reject(problems)?;
        Ok(manifest)
    }

    /// The name of the data set to which a file belongs; `None` where the list has no such file. `file` is a path in
    /// the folder of fetched data, `SET/FILE`.
    pub fn dataset_of(&self, file: &str) -> Option<&str> {
        let (set, inside) = file.split_once('/')?;
        let (name, set) = self.sets.get_key_value(set)?;
        set.files.iter().any(|f| f.file == inside).then_some(name)
    }
}

/// Whether a name is safe as one part of a path: letters, digits, `.`, `-` and `_`, and no `.` at the beginning.
fn is_plain(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !name.is_empty() && name.chars().all(is_allowed) && !name.starts_with('.')
}

/// A single file of a data set on the Hub, from its address `hub:OWNER/NAME@REVISION/PATH`. It is stored under
/// `hub/OWNER/NAME/REVISION/PATH`. `None` where the address has another form, or where a part of it could lead out of
/// the folder.
pub fn hub_file(name: &str) -> Option<DataFile> {
    let HubAddress { owner, repo, revision, path } = parse_hub(name)?;
    let file = format!("hub/{owner}/{repo}/{revision}/{path}");
    file.split('/').all(is_plain).then(|| DataFile { file, url: name.to_owned(), sha256: None })
}

/// The parts of `hub:OWNER/NAME@REVISION/PATH`.
struct HubAddress<'a> {
    owner: &'a str,
    repo: &'a str,
    /// The branch, tag or commit; `main` where the address names none.
    revision: &'a str,
    path: &'a str,
}

fn parse_hub(name: &str) -> Option<HubAddress<'_>> {
    let (owner, rest) = name.strip_prefix(HUB)?.split_once('/')?;
    let (repo, path) = rest.split_once('/')?;
    let (repo, revision) = repo.split_once('@').unwrap_or((repo, "main"));
    let is_safe = [owner, repo, revision].into_iter().chain(path.split('/')).all(is_plain);
    is_safe.then_some(HubAddress { owner, repo, revision, path })
}

/// Whether the file is in the folder and has the expected hash. Where no hash is known, any contents will do.
pub fn is_fetched(folder: &Path, source: &DataFile) -> bool {
    let path = folder.join(&source.file);
    let Ok(bytes) = fs::read(&path) else { return false };
    expected_hash(&path, source).is_none_or(|hash| hash == sha256(&bytes))
}

/// The SHA-256 that a file must have: that of the list of data sets, else that of the first download; `None` where
/// neither is known.
fn expected_hash(path: &Path, source: &DataFile) -> Option<String> {
    source.sha256.as_ref().map(|h| h.to_lowercase()).or_else(|| {
        let stored = fs::read_to_string(hash_file(path)).ok()?;
        Some(stored.split_whitespace().next()?.to_owned())
    })
}

/// The path of the file that stores a data file's hash, beside it, in the format of `sha256sum`.
fn hash_file(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sha256");
    name.into()
}

/// Downloads a file into a folder, unless it is there with the expected hash. The Hub's address and token come from the
/// environment variables of `huggingface_hub`, which `env` looks up. `on_progress` gets the number of bytes downloaded
/// and the file's size, if it is known.
pub fn fetch(
    folder: &Path,
    source: &DataFile,
    env: impl Fn(&str) -> Option<String>,
    on_progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<FetchOutcome, EvalError> {
    if is_fetched(folder, source) {
        return Ok(FetchOutcome::AlreadyThere);
    }
    let path = folder.join(&source.file);
    let io = |e: std::io::Error| EvalError::File { path: path.clone(), message: e.to_string() };
    fs::create_dir_all(path.parent().unwrap_or(folder)).map_err(io)?;
    let (address, token) = if source.url.starts_with(HUB) {
        let HubAddress { owner, repo, revision, path: file } = parse_hub(&source.url)
            .ok_or_else(|| EvalError::Mismatch(format!("{}: must be {HUB}OWNER/NAME@REVISION/PATH", source.url)))?;
        let settings = HubSettings::from_env(env).map_err(|e| EvalError::Mismatch(e.to_string()))?;
        if settings.offline {
            let message = "is not there, and HF_HUB_OFFLINE forbids fetching it from the Hub".into();
            return Err(EvalError::File { path, message });
        }
        (format!("{}/datasets/{owner}/{repo}/resolve/{revision}/{file}", settings.endpoint), settings.token)
    } else {
        (source.url.clone(), None)
    };
    let hash = expected_hash(&path, source);
    let download = FileDownload {
        address: &address,
        sha256: hash.as_deref(),
        max_bytes: MAX_BYTES,
        token: token.as_ref(),
        deadline: DEADLINE,
    };
    let found = get_file(&download, &path, on_progress)?;
    if hash.is_some() {
        return Ok(FetchOutcome::Downloaded);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    write_atomic(&hash_file(&path), format!("{found}  {name}\n").as_bytes())
        .map_err(|e| EvalError::File { path: path.clone(), message: e.to_string() })?;
    Ok(FetchOutcome::Unverified(found))
}
