//! Reports and plots of runs that the tests write.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod contents;
#[allow(dead_code)]
#[path = "../../../view/tests/it/fixture.rs"]
mod fixture;
mod hostile;
mod markup;
mod plots;

use std::path::{Path, PathBuf};

use rlar_report::{PlotLook, Report};

/// The page about some runs.
fn page(folders: &[&Path]) -> String {
    report(folders).html(PlotLook::default())
}

fn report(folders: &[&Path]) -> Report {
    Report::read(&paths(folders)).unwrap()
}

fn paths(folders: &[&Path]) -> Vec<PathBuf> {
    folders.iter().map(|folder| (*folder).to_owned()).collect()
}
