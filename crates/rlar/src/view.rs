//! `rlar view`: shows runs in a local web page, until SIGTERM or Ctrl-C.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result};
use rlar_view::{ViewError, ViewOptions, ViewServer};

use crate::cli::ViewArguments;
use crate::error::BadRequestExt;
use crate::output::{print, print_note};

/// Prints the page's address, opens a browser where there is one, and serves until a signal ends it.
pub fn run(arguments: &ViewArguments) -> Result<()> {
    let folder = arguments.folder.clone().unwrap_or_else(default_folder);
    let server = match ViewServer::start(&ViewOptions::new(folder, arguments.port)) {
        Err(error @ ViewError::Folder(_)) => return Err(error).bad_request(),
        started => started?,
    };
    let port = server.address().port();
    if arguments.port != 0 && port != arguments.port {
        print_note(format!("port {} is in use, so {port} is taken\n", arguments.port))?;
    }
    // Before the address is known to anybody who may send one.
    let signal = server.listen().context("cannot wait for signals")?;
    print(format!("{}\n", server.url()))?;
    print_note(format!("shows {}; Ctrl-C ends it\n", server.folder().display()))?;
    if !arguments.no_browser {
        open_browser(&server.url());
    }
    server.wait(signal).context("cannot wait for signals")?;
    server.stop();
    Ok(())
}

/// The folder that is shown when none is named.
fn default_folder() -> PathBuf {
    let runs = Path::new("runs");
    if runs.is_dir() { runs.to_owned() } else { PathBuf::from(".") }
}

/// Opens an address in the user's browser if there is a desktop. The address is printed, so a failure loses nothing.
fn open_browser(url: &str) {
    let has_desktop = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    let opener = if cfg!(target_os = "macos") {
        "open"
    } else if has_desktop {
        "xdg-open"
    } else {
        return;
    };
    let mut command = Command::new(opener);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Ok(mut child) = command.spawn() {
        // Some openers end at once, others with the browser; either way it is waited for.
        thread::spawn(move || child.wait());
    }
}
