//! `rlar data`: downloads published data sets, and finds downloaded files.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use rlar_eval::datasets::{DataFile, DatasetManifest, FetchOutcome, data_folder, fetch, hub_file, is_fetched};
use rlar_eval::table::render;

use crate::assets;
use crate::cli::DataCommand;
use crate::error::{BadRequestExt, bad_request};
use crate::output::{DownloadBar, print};

pub fn run(command: &DataCommand) -> Result<()> {
    match command {
        DataCommand::List { origins } => list(&read(origins.as_deref()).bad_request()?),
        DataCommand::Fetch { names, origins } => download(&requested(names, origins.as_deref()).bad_request()?),
    }
}

/// A data set with all its files, or a single file of the Hugging Face Hub.
struct RequestedSet<'a> {
    name: &'a str,
    files: Vec<DataFile>,
}

fn requested<'a>(names: &'a [String], origins: Option<&Path>) -> Result<Vec<RequestedSet<'a>>> {
    let origins = read(origins)?;
    names.iter().map(|name| Ok(RequestedSet { name, files: sources(&origins, name)? })).collect()
}

/// Reads the list of data sets from the file at `path`; without a path, the list that is embedded in the binary.
fn read(path: Option<&Path>) -> Result<DatasetManifest> {
    let asset = match path {
        Some(path) => assets::read(path)?,
        None => assets::origins(),
    };
    Ok(DatasetManifest::parse(&asset.path, &asset.text)?)
}

/// The folder of downloaded data.
pub fn home() -> Result<PathBuf> {
    data_folder(|name| std::env::var(name).ok()).ok_or_else(|| anyhow!("HOME is not set; set it, or RLAR_DATA"))
}

/// The files of a data set, with their paths relative to the folder of downloaded data.
fn sources(origins: &DatasetManifest, name: &str) -> Result<Vec<DataFile>> {
    if name.starts_with("hub:") {
        let source = hub_file(name).ok_or_else(|| anyhow!("{name}: hub:OWNER/NAME@REVISION/PATH is expected"))?;
        return Ok(vec![source]);
    }
    let set = origins.sets.get(name).ok_or_else(|| {
        let known: Vec<&str> = origins.sets.keys().map(String::as_str).collect();
        anyhow!(
            "no data set `{name}`; there are {}, and files of the Hub as hub:OWNER/NAME@REVISION/PATH",
            known.join(", ")
        )
    })?;
    let in_folder = |s: &DataFile| DataFile { file: format!("{name}/{}", s.file), ..s.clone() };
    Ok(set.files.iter().map(in_folder).collect())
}

fn list(origins: &DatasetManifest) -> Result<()> {
    let home = home()?;
    let mut rows = vec![["data set", "here", "licence", "about"].map(str::to_owned).to_vec()];
    for (name, set) in &origins.sets {
        let files = sources(origins, name)?;
        let present = files.iter().filter(|s| is_fetched(&home, s)).count();
        let present = if present == files.len() { "yes".into() } else { format!("{present} of {}", files.len()) };
        rows.push(vec![name.clone(), present, set.licence.clone(), set.about.clone()]);
    }
    print(format!("{}\nThey are in {}\n", render(&rows), home.display()))
}

fn download(sets: &[RequestedSet]) -> Result<()> {
    let home = home()?;
    for RequestedSet { name, files } in sets {
        for source in files {
            let mut bar = DownloadBar::default();
            let mut progress = |done, total: Option<u64>| bar.show(name, done, total.unwrap_or(done));
            let fetched = fetch(&home, source, |name| std::env::var(name).ok(), &mut progress)?;
            drop(bar);
            let path = home.join(&source.file);
            print(match fetched {
                FetchOutcome::AlreadyThere => format!("{} is already here\n", path.display()),
                FetchOutcome::Downloaded => format!("{}\n", path.display()),
                FetchOutcome::Unverified(hash) => {
                    format!("{}: the list has no SHA-256 for this file; {hash} is recorded beside it\n", path.display())
                }
            })?;
        }
    }
    Ok(())
}

/// The path of a file of a data set on the Hub, `hub:OWNER/NAME@REVISION/PATH`. It is downloaded into the folder of data
/// if it is not there yet.
pub fn fetch_hub_file(name: &str) -> Result<PathBuf> {
    let source = hub_file(name).ok_or_else(|| bad_request(format!("{name}: must be hub:OWNER/NAME@REVISION/PATH")))?;
    let home = home()?;
    let mut bar = DownloadBar::default();
    let mut progress = |done, total: Option<u64>| bar.show(name, done, total.unwrap_or(done));
    fetch(&home, &source, |name| std::env::var(name).ok(), &mut progress)?;
    Ok(home.join(&source.file))
}

/// The path of a file in the folder of downloaded data; `None` if it is not there.
pub fn downloaded(name: &str) -> Option<PathBuf> {
    home().ok().map(|home| home.join(name)).filter(|path| path.is_file())
}

/// The name of the data set that holds a file, as `rlar data fetch` takes it; `None` if no data set of the embedded
/// list has the file. `file` is a path `SET/FILE` in the folder of downloaded data.
pub fn set_of(file: &str) -> Result<Option<String>> {
    let asset = assets::origins();
    Ok(DatasetManifest::parse(&asset.path, &asset.text)?.dataset_of(file).map(str::to_owned))
}
