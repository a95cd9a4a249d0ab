//! The file system of tier A: a root that holds the interpreter, three devices and a scratch folder.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::SandboxError;
use crate::error::refused;

/// One step of building the root, with all that it needs, so that a forked child can take it without memory of its own.
#[derive(Debug)]
pub enum Step {
    /// Makes a folder.
    Folder(CString),
    /// Makes an empty file.
    File(CString),
    /// Makes a symbolic link: target, then name.
    Link(CString, CString),
    /// Mounts a memory file system with these options.
    Memory(CString, CString),
    /// Shows a file or folder of the machine, read-only.
    Show(CString, CString),
    /// Shows a device of the machine.
    Device(CString, CString),
    /// Makes a mount read-only.
    Seal(CString),
}

/// Bytes and files that a scratch folder holds.
pub const SCRATCH_BYTES: u64 = 16 << 20;
const SCRATCH_FILES: u32 = 1024;

fn c(path: impl AsRef<OsStr>) -> Result<CString, SandboxError> {
    CString::new(path.as_ref().as_bytes()).map_err(|_| refused("a path of the interpreter holds a NUL byte"))
}

/// Where the new root is built: a folder of every Linux that shows nothing which is to be shown in it.
pub fn place(readable: &[PathBuf]) -> Result<PathBuf, SandboxError> {
    let places = ["/mnt", "/media", "/srv", "/tmp"].map(PathBuf::from);
    let free = |p: &PathBuf| p.is_dir() && !readable.iter().any(|r| r.starts_with(p));
    places.into_iter().find(free).ok_or_else(|| refused("no folder to build a root in (/mnt, /media, /srv, /tmp)"))
}

/// Where packages are seen.
pub const PACKAGES: &str = "/packages";

/// The steps from an empty folder to the root of a jail.
pub fn steps(root: &Path, readable: &[PathBuf], packages: Option<&Path>) -> Result<Vec<Step>, SandboxError> {
    if let Some(hidden) = readable.iter().find(|r| r.starts_with("/tmp")) {
        return Err(refused(format!("{} lies below /tmp, where the scratch folder goes", hidden.display())));
    }
    let mut steps = vec![Step::Memory(c(root)?, c("size=1m,mode=755")?)];
    let mut made = BTreeSet::new();
    let inside = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    let mut folders = |path: &Path, steps: &mut Vec<Step>| -> Result<(), SandboxError> {
        let mut at = PathBuf::from("/");
        for part in path.components().filter(|p| matches!(p, Component::Normal(_))) {
            at.push(part);
            if made.insert(at.clone()) {
                steps.push(Step::Folder(c(inside(&at))?));
            }
        }
        Ok(())
    };
    // A path below another one is shown with it.
    let top = |p: &&PathBuf| !readable.iter().any(|other| other != *p && p.starts_with(other));
    for path in readable.iter().filter(top) {
        if path.is_dir() {
            folders(path, &mut steps)?;
        } else {
            folders(path.parent().unwrap_or(path), &mut steps)?;
            steps.push(Step::File(c(inside(path))?));
        }
        steps.push(Step::Show(c(path)?, c(inside(path))?));
    }
    if let Some(site) = packages {
        folders(Path::new(PACKAGES), &mut steps)?;
        steps.push(Step::Show(c(site)?, c(inside(Path::new(PACKAGES)))?));
    }
    // `/lib64` and the like, by which the loader is found.
    for name in ["/lib", "/lib64", "/lib32", "/usr/lib64"].map(Path::new) {
        let shown = readable.iter().any(|r| name.starts_with(r));
        if let (false, Ok(target)) = (shown, fs::read_link(name)) {
            folders(name.parent().unwrap_or(name), &mut steps)?;
            steps.push(Step::Link(c(target)?, c(inside(name))?));
        }
    }
    folders(Path::new("/dev"), &mut steps)?;
    for device in ["/dev/null", "/dev/zero", "/dev/urandom"].map(Path::new) {
        steps.push(Step::File(c(inside(device))?));
        steps.push(Step::Device(c(device)?, c(inside(device))?));
    }
    folders(Path::new("/tmp"), &mut steps)?;
    let options = format!("size={SCRATCH_BYTES},nr_inodes={SCRATCH_FILES},mode=1777");
    steps.push(Step::Memory(c(inside(Path::new("/tmp")))?, c(options)?));
    steps.push(Step::Seal(c(root)?));
    Ok(steps)
}
