//! `rlar data`: published data sets, fetched and found.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use rlar_eval::EvalError;
use rlar_eval::datasets::{DataFile, DatasetManifest, FetchOutcome, data_folder, fetch, hub_file, is_fetched};
use rlar_eval::table::render;

use crate::cli::DataCommand;
use crate::fetched::Bar;
use crate::output::print;
use crate::{Failure, assets};

pub fn run(command: &DataCommand) -> Result<(), Failure> {
    match command {
        DataCommand::List { origins } => {
            let origins = read(origins.as_deref()).map_err(Failure::Request)?;
            list(&origins).map_err(Failure::Job)
        }
        DataCommand::Fetch { names, origins } => {
            let origins = read(origins.as_deref()).map_err(Failure::Request)?;
            let wanted: Vec<(&str, Vec<DataFile>)> = names
                .iter()
                .map(|name| Ok((name.as_str(), sources(&origins, name)?)))
                .collect::<Result<_>>()
                .map_err(Failure::Request)?;
            get(&wanted).map_err(Failure::Job)
        }
    }
}

fn read(path: Option<&Path>) -> Result<DatasetManifest> {
    let asset = match path {
        Some(path) => assets::read(path)?,
        None => assets::origins(),
    };
    Ok(DatasetManifest::parse(&asset.path, &asset.text)?)
}

/// The folder of fetched data.
fn home() -> Result<PathBuf> {
    data_folder(|name| std::env::var(name).ok()).ok_or_else(|| anyhow!("HOME is not set; set it, or RLAR_DATA"))
}

/// The files of a data set, named as they lie in the folder of fetched data.
fn sources(origins: &DatasetManifest, name: &str) -> Result<Vec<DataFile>> {
    if name.starts_with("hub:") {
        let source = hub_file(name).ok_or_else(|| anyhow!("{name}: expected is hub:OWNER/NAME@REVISION/PATH"))?;
        return Ok(vec![source]);
    }
    let set = origins.sets.get(name).ok_or_else(|| {
        let known: Vec<&str> = origins.sets.keys().map(String::as_str).collect();
        anyhow!(
            "no data set `{name}` is known; known are {}, and files of the Hub as hub:OWNER/NAME@REVISION/PATH",
            known.join(", ")
        )
    })?;
    let inside = |s: &DataFile| DataFile { file: format!("{name}/{}", s.file), ..s.clone() };
    Ok(set.files.iter().map(inside).collect())
}

fn list(origins: &DatasetManifest) -> Result<()> {
    let home = home()?;
    let mut rows = vec![["data set", "here", "licence", "about"].map(str::to_owned).to_vec()];
    for (name, set) in &origins.sets {
        let files = sources(origins, name)?;
        let here = files.iter().filter(|s| is_fetched(&home, s)).count();
        let here = if here == files.len() { "yes".into() } else { format!("{here} of {}", files.len()) };
        rows.push(vec![name.clone(), here, set.licence.clone(), set.about.clone()]);
    }
    print(&format!("{}\nThey lie in {}\n", render(&rows), home.display()))
}

fn get(wanted: &[(&str, Vec<DataFile>)]) -> Result<()> {
    let home = home()?;
    for (name, sources) in wanted {
        for source in sources {
            let mut bar = Bar::default();
            let mut progress = |done, total: Option<u64>| bar.at(name, done, total.unwrap_or(done));
            let fetched = fetch(&home, source, |name| std::env::var(name).ok(), &mut progress)?;
            drop(bar);
            let path = home.join(&source.file);
            print(&match fetched {
                FetchOutcome::AlreadyThere => format!("{} was here\n", path.display()),
                FetchOutcome::Downloaded => format!("{}\n", path.display()),
                FetchOutcome::Unverified(hash) => format!(
                    "{}: nobody says what its SHA-256 should be; {hash} is remembered beside it\n",
                    path.display()
                ),
            })?;
        }
    }
    Ok(())
}

/// The path and the bytes of a file that a suite names: as given, beside the suite and one folder up, in the folder of fetched
/// data, then embedded.
pub fn find(suite: &Path, name: &str) -> Result<(PathBuf, Vec<u8>), EvalError> {
    let failed = |path: &Path, message: String| EvalError::File { path: path.to_owned(), message };
    let read = |path: PathBuf| match std::fs::read(&path) {
        Ok(bytes) => Ok((path, bytes)),
        Err(e) => Err(failed(&path, e.to_string())),
    };
    if let Some(path) = assets::beside(suite, name) {
        return read(path);
    }
    let inside = hub_file(name).map_or_else(|| name.to_owned(), |source| source.file);
    let home = home().ok();
    if let Some(path) = home.as_ref().map(|home| home.join(&inside)).filter(|p| p.is_file()) {
        return read(path);
    }
    if let Some(asset) = assets::embedded(name) {
        return Ok((asset.path, asset.text.into_owned().into_bytes()));
    }
    let set = if name.starts_with("hub:") {
        Some(name.to_owned())
    } else {
        let asset = assets::origins();
        DatasetManifest::parse(&asset.path, &asset.text)?.dataset_of(name).map(str::to_owned)
    };
    let what_to_do = set
        .map_or_else(|| "name another file with --data".into(), |set| format!("get it with `rlar data fetch {set}`"));
    let message = format!(
        "is neither on disk (as given, beside the suite, in {}) nor embedded; {what_to_do}",
        home.map_or_else(|| "RLAR_DATA".into(), |h| h.display().to_string())
    );
    Err(failed(Path::new(name), message))
}
