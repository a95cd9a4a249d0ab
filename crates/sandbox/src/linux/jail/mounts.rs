//! The file system of tier A: a private root with the interpreter, three devices and a scratch folder.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::SandboxError;
use crate::error::refused;

/// One step of building the private root. A step holds everything that it needs, because the forked child that carries
/// it out must not allocate memory.
#[derive(Debug)]
pub enum MountStep {
    /// Creates the folder at this path.
    Folder(CString),
    /// Creates an empty file at this path.
    File(CString),
    /// Creates the symbolic link `name`, which points to `target`.
    Link { target: CString, name: CString },
    /// Mounts a `tmpfs` (a file system in memory) at `path`.
    Tmpfs { path: CString, options: CString },
    /// Bind-mounts the file or folder `from` of the machine at `to`, read-only.
    Bind { from: CString, to: CString },
    /// Bind-mounts the device `from` of the machine at `to`.
    Device { from: CString, to: CString },
    /// Makes the mount at this path read-only.
    ReadOnly(CString),
}

/// Maximum size of all files in a scratch folder together, in bytes.
pub const SCRATCH_BYTES: u64 = 16 << 20;
/// Maximum number of files and folders in a scratch folder.
const SCRATCH_FILES: u32 = 1024;

/// Converts a path to a C string; fails if the path holds a NUL byte.
fn c(path: impl AsRef<OsStr>) -> Result<CString, SandboxError> {
    CString::new(path.as_ref().as_bytes()).map_err(|_| refused("a path of the interpreter holds a NUL byte"))
}

/// The mount point of the new root: a folder that every Linux has and that contains none of the `readable` paths.
pub fn mount_point(readable: &[PathBuf]) -> Result<PathBuf, SandboxError> {
    let candidates = ["/mnt", "/media", "/srv", "/tmp"].map(PathBuf::from);
    let free = |p: &PathBuf| p.is_dir() && !readable.iter().any(|r| r.starts_with(p));
    candidates.into_iter().find(free).ok_or_else(|| refused("no folder to build a root in (/mnt, /media, /srv, /tmp)"))
}

/// Folder of the new root on which Python packages are mounted.
pub const PACKAGES: &str = "/packages";

/// The steps that build a private root at the folder `root`, with the `readable` paths and the folder `packages` in it.
pub fn steps(root: &Path, readable: &[PathBuf], packages: Option<&Path>) -> Result<Vec<MountStep>, SandboxError> {
    if let Some(path) = readable.iter().find(|r| r.starts_with("/tmp")) {
        return Err(refused(format!("{} lies below /tmp, which the scratch folder hides", path.display())));
    }
    let mut steps = vec![MountStep::Tmpfs { path: c(root)?, options: c("size=1m,mode=755")? }];
    let mut created = BTreeSet::new();
    let inside = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    let mut folders = |path: &Path, steps: &mut Vec<MountStep>| -> Result<(), SandboxError> {
        let mut folder = PathBuf::from("/");
        for part in path.components().filter(|p| matches!(p, Component::Normal(_))) {
            folder.push(part);
            if created.insert(folder.clone()) {
                steps.push(MountStep::Folder(c(inside(&folder))?));
            }
        }
        Ok(())
    };
    // A path below another readable one is mounted with it.
    let top = |p: &&PathBuf| !readable.iter().any(|other| other != *p && p.starts_with(other));
    for path in readable.iter().filter(top) {
        if path.is_dir() {
            folders(path, &mut steps)?;
        } else {
            folders(path.parent().unwrap_or(path), &mut steps)?;
            steps.push(MountStep::File(c(inside(path))?));
        }
        steps.push(MountStep::Bind { from: c(path)?, to: c(inside(path))? });
    }
    if let Some(site) = packages {
        folders(Path::new(PACKAGES), &mut steps)?;
        steps.push(MountStep::Bind { from: c(site)?, to: c(inside(Path::new(PACKAGES)))? });
    }
    // Links such as `/lib64`, through which the dynamic loader is found.
    for name in ["/lib", "/lib64", "/lib32", "/usr/lib64"].map(Path::new) {
        let is_mounted = readable.iter().any(|r| name.starts_with(r));
        if let (false, Ok(target)) = (is_mounted, fs::read_link(name)) {
            folders(name.parent().unwrap_or(name), &mut steps)?;
            steps.push(MountStep::Link { target: c(target)?, name: c(inside(name))? });
        }
    }
    folders(Path::new("/dev"), &mut steps)?;
    for device in ["/dev/null", "/dev/zero", "/dev/urandom"].map(Path::new) {
        steps.push(MountStep::File(c(inside(device))?));
        steps.push(MountStep::Device { from: c(device)?, to: c(inside(device))? });
    }
    folders(Path::new("/tmp"), &mut steps)?;
    let options = format!("size={SCRATCH_BYTES},nr_inodes={SCRATCH_FILES},mode=1777");
    steps.push(MountStep::Tmpfs { path: c(inside(Path::new("/tmp")))?, options: c(options)? });
    steps.push(MountStep::ReadOnly(c(root)?));
    Ok(steps)
}
