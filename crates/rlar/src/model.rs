//! Finds the model that a command line or a config names: on this machine, or on the Hugging Face Hub.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use rlar_net::hub::{FoundHubModel, Hub, HubError, HubSettings, ModelName};
use rlar_policy::{AbsentBase, ModelSource, Repository, absent_base};

use crate::error::bad_request;
use crate::find;
use crate::output::DownloadBar;

/// What is expected at the path of a model, for error messages.
const EXPECTED: &str = "a Hugging Face folder, a GGUF file, or a model of the Hub as OWNER/NAME[@REVISION][/FILE.gguf]";

/// The commits of models of the Hub, by their names in a config.
pub type HubCommits = BTreeMap<String, String>;

/// A place where a model is.
enum Place {
    /// A path that exists on this machine.
    Here(PathBuf),
    /// The Hub.
    Hub(ModelName),
}

/// Finds the model that an option of the command line names: at this path, otherwise on the Hub. A model of the Hub, and
/// the base model of an adapter, are downloaded into the Hub's cache.
pub fn find(name: &Path) -> Result<ModelSource> {
    take(place(name, None)?)
}

/// Finds the model that the file `config` names, as [`find`] does: as given, beside the config, one folder up, otherwise
/// on the Hub. A name in `pinned` is a model of the Hub at the commit that `pinned` gives.
pub fn find_beside(config: &Path, name: &str, pinned: &HubCommits) -> Result<ModelSource> {
    match (place(Path::new(name), Some(config))?, pinned.get(name)) {
        (Place::Hub(model), Some(commit)) => take(Place::Hub(model.at(commit))),
        (place, _) => take(place),
    }
}

/// The path of a model on this machine; `None` for one of the Hub. Fails where [`find`], or with a `config`
/// [`find_beside`], would find no model. Nothing is downloaded.
pub fn check(name: &Path, config: Option<&Path>) -> Result<Option<PathBuf>> {
    match place(name, config)? {
        Place::Here(path) => Ok(Some(path)),
        Place::Hub(model) => {
            hub()?.find_model(&model)?;
            Ok(None)
        }
    }
}

/// The folder of a run's final model; `None` if `folder` is no run, or is itself a model.
pub fn policy_of_run(folder: &Path) -> Option<PathBuf> {
    let model = folder.join("final");
    (model.is_dir() && !folder.join("config.json").exists()).then_some(model)
}

/// The place of a model that is named on the command line or in the file `config`. A path on this machine comes before a
/// model of the Hub with the same name.
fn place(name: &Path, config: Option<&Path>) -> Result<Place> {
    if let Some(model) = policy_of_run(name) {
        bail!("{} is a run; its model is {}", name.display(), model.display());
    }
    let folders = config.map_or_else(|| vec![PathBuf::new()], |config| find::folders(config).to_vec());
    if let Some(path) = folders.iter().map(|folder| folder.join(name)).find(|path| path.exists()) {
        return Ok(Place::Here(path));
    }
    let text = name.to_string_lossy();
    let hint = match ModelName::parse(&text) {
        Some(model) if !is_mistaken_path(&text, &folders) => return Ok(Place::Hub(model)),
        Some(model) => format!("; for the model of the Hub, write {model}"),
        None => String::new(),
    };
    Err(bad_request(match config {
        Some(config) => format!("model {}{hint}", find::missing(config, &text, EXPECTED)),
        None => format!("model {text} does not exist; expected: {EXPECTED}{hint}"),
    }))
}

/// The model at a place. A model of the Hub, and the base model of an adapter, are downloaded into the Hub's cache.
fn take(place: Place) -> Result<ModelSource> {
    let source = match place {
        Place::Here(path) => path.into(),
        Place::Hub(model) => download(&model)?,
    };
    if let Some(AbsentBase { name, revision, file }) = absent_base(&source.path)?
        && let Some(base) = ModelName::parse(&name)
        && !is_mistaken_path(&name, &[PathBuf::new(), source.path.clone()])
    {
        let base = ModelName { file, ..base.at(&revision) };
        let adapter = || format!("the base model of the adapter {}", source.path.display());
        download(&base).with_context(adapter)?;
    }
    Ok(source)
}

/// Whether the name of a model, which no file has, is a path rather than a model of the Hub: `models/x` is if one of the
/// folders has a folder `models`. A mistake in a path is no business of the Hub's.
fn is_mistaken_path(name: &str, folders: &[PathBuf]) -> bool {
    let owner = name.split('/').next().unwrap_or_default();
    !name.contains('@') && folders.iter().any(|folder| folder.join(owner).is_dir())
}

fn hub() -> Result<Hub> {
    Ok(Hub::new(HubSettings::from_env(|name| std::env::var(name).ok())?)?)
}

/// Downloads the files of a model that the Hub's cache lacks, and shows the progress.
fn download(model: &ModelName) -> Result<ModelSource> {
    let hub = hub()?;
    let found = hub.find_model(model).map_err(|error| match error {
        HubError::Request { .. } | HubError::Deadline { .. } => {
            anyhow!("{error}; HF_HUB_OFFLINE=1 takes a model from the cache without asking the Hub")
        }
        other => other.into(),
    })?;
    let mut bar = DownloadBar::default();
    let path = hub.download_model(&found, &mut |progress| {
        bar.show(&format!("{} {}", model.id, progress.name), progress.done, progress.total);
    })?;
    let FoundHubModel { name, commit, gguf, .. } = found;
    Ok(ModelSource { path, repository: Some(Repository { id: name.id, commit, file: gguf }) })
}
