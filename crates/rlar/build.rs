//! Rebuilds when an embedded config or data set changes, and tells the program at which commit its source was, where git knows.
#![allow(clippy::print_stdout)]

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=../../configs");
    println!("cargo::rerun-if-changed=../../datasets");
    println!("cargo::rerun-if-changed=build.rs");
    // A package's source may lie inside another repository, whose commit says nothing of it.
    let is_own = git(&["ls-files", "--error-unmatch", "build.rs"]).is_some();
    if let (true, Some(commit)) = (is_own, git(&["rev-parse", "--short=12", "HEAD"])) {
        println!("cargo::rustc-env=RLAR_COMMIT={commit}");
        // The log of HEAD grows with every commit and checkout; a repository without it has HEAD alone. A file that is missing
        // would rebuild every time.
        let files = ["logs/HEAD", "HEAD"].into_iter().filter_map(|name| git(&["rev-parse", "--git-path", name]));
        if let Some(changing) = files.into_iter().find(|file| Path::new(file).is_file()) {
            println!("cargo::rerun-if-changed={changing}");
        }
    }
}

/// What git prints; `None` if it fails or is not there.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
