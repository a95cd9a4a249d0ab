//! `rlar report` and `rlar plot`: write what is known of runs into files that can be passed on.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rlar_report::{PlotLook, Report, plot_metric};
use rlar_run::write_atomic;

use crate::cli::{PlotArguments, ReportArguments};
use crate::error::{BadRequestExt, bad_request};
use crate::output::{print, print_note};

/// Number of problems of the runs that are said; the page has all of them.
const MAX_PROBLEMS: usize = 5;

/// Writes a page, a text, or both.
pub fn run(arguments: &ReportArguments) -> Result<()> {
    let text_file = arguments.markdown.as_ref().filter(|path| path.as_os_str() != "-");
    if arguments.plots && text_file.is_none() {
        return Err(bad_request("--plots writes files beside the text; name its file with --markdown FILE"));
    }
    let look = PlotLook { smoothing: arguments.smooth, log: arguments.log };
    let html = arguments.html.as_deref().map(output_path).transpose()?;
    let text_file = text_file.map(|path| output_path(path)).transpose()?;
    if html.is_some() && html == text_file {
        return Err(bad_request("--html and --markdown name the same file; name two"));
    }
    let report = Report::read(&arguments.runs).bad_request()?;
    let problems = report.problems();
    for problem in problems.iter().take(MAX_PROBLEMS) {
        print_note(format!("note: {problem}\n"))?;
    }
    if problems.len() > MAX_PROBLEMS {
        print_note(format!("note: {} more could not be read\n", problems.len() - MAX_PROBLEMS))?;
    }
    if let Some(path) = html {
        let written = write(&path, report.html(look).as_bytes())?;
        // Where the text is printed, standard output has nothing else.
        if arguments.markdown.is_some() && text_file.is_none() { print_note(written)? } else { print(written)? }
    }
    if arguments.markdown.is_some() {
        let beginning = text_file.as_ref().filter(|_| arguments.plots).and_then(|path| path.file_stem());
        let beginning = beginning.map(|stem| stem.to_string_lossy().into_owned());
        let written = report.markdown(beginning.as_deref(), look);
        match text_file {
            None => print(&written.text)?,
            Some(path) => {
                for plot in &written.plots {
                    print(write(&path.with_file_name(&plot.name), plot.svg.as_bytes())?)?;
                }
                print(write(&path, written.text.as_bytes())?)?;
            }
        }
    }
    Ok(())
}

/// Draws a plot.
pub fn plot(arguments: &PlotArguments) -> Result<()> {
    let file = arguments.svg.as_deref().map(output_path).transpose()?;
    let look = PlotLook { smoothing: arguments.smooth, log: arguments.log };
    let svg = plot_metric(&arguments.runs, &arguments.metric, look).bad_request()?;
    match file {
        Some(path) => print(write(&path, svg.as_bytes())?),
        None => print(svg),
    }
}

/// The path of a file to write, whose folder exists.
fn output_path(path: &Path) -> Result<PathBuf> {
    let shown = path.display();
    if path.is_dir() {
        return Err(bad_request(format!("{shown} is a folder; name a file in it")));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        let folder = folder.display();
        return Err(bad_request(format!("{shown}: there is no folder {folder}; make it with `mkdir -p {folder}`")));
    }
    match path.file_name() {
        Some(name) => Ok(folder.join(name)),
        None => Err(bad_request(format!("{shown} is no file; name a file"))),
    }
}

/// Writes a file, and returns the line that names it.
fn write(path: &Path, contents: &[u8]) -> Result<String> {
    write_atomic(path, contents)?;
    Ok(format!("{}\n", path.strip_prefix(".").unwrap_or(path).display()))
}
