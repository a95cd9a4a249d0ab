//! Python packages that verifiers may import: allowed by the user, installed once, read-only.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rlar_run::{sha256, write_atomic};

use crate::SandboxError;
use crate::linux::command::finish;
use crate::linux::interpreter::Interpreter;

/// Maximum time that one run of `pip` may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// The Python packages that verifiers may import, and where they are installed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packages {
    /// Requirements that verifiers may ask for, as `pip` writes them: `sympy`, or `sympy==1.13.1`.
    pub allowed: Vec<String>,
    /// Folder below which packages are installed; if `None`, rlar's cache folder.
    pub cache: Option<PathBuf>,
}

/// Makes a [`SandboxError::Packages`] with this reason.
fn refused(why: impl std::fmt::Display) -> SandboxError {
    SandboxError::Packages(why.to_string())
}

impl Packages {
    /// The folder from which the packages `wanted` can be imported. At the first use they are installed, from wheels
    /// only, and the hashes of the wheels are written to `packages.lock` beside the folder. The folder's parent is
    /// named by the hash of the list and the interpreter's version.
    pub(crate) fn environment(&self, wanted: &[String], interpreter: &Interpreter) -> Result<PathBuf, SandboxError> {
        let (wanted, home) = self.environment_folder(wanted, interpreter)?;
        let site = home.join("site");
        if !is_complete(&home) {
            install(&wanted, interpreter, &home)?;
        }
        site.canonicalize().map_err(|e| refused(format!("{}: {e}", site.display())))
    }

    /// Whether all of the packages `wanted` are installed.
    pub(crate) fn has(&self, wanted: &[String], interpreter: &Interpreter) -> Result<bool, SandboxError> {
        Ok(is_complete(&self.environment_folder(wanted, interpreter)?.1))
    }

    /// The packages `wanted`, sorted and without duplicates, and the folder of their environment (which holds the
    /// installed packages). Fails if a package is not allowed.
    fn environment_folder(
        &self,
        wanted: &[String],
        interpreter: &Interpreter,
    ) -> Result<(Vec<String>, PathBuf), SandboxError> {
        if let Some(other) = wanted.iter().find(|w| !self.allowed.contains(w)) {
            let allowed = if self.allowed.is_empty() { "none".into() } else { self.allowed.join(", ") };
            return Err(refused(format!("`{other}` is not allowed; allowed packages: {allowed}")));
        }
        let mut wanted = wanted.to_vec();
        wanted.sort();
        wanted.dedup();
        // `pip` must not take a requirement for an option or a path.
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-=<>!~,[]".contains(c);
        if let Some(odd) = wanted.iter().find(|w| w.starts_with(['-', '.']) || !w.chars().all(plain)) {
            return Err(refused(format!("`{odd}` is not a package")));
        }
        let mut key = sha256(format!("{} {}", interpreter.version, wanted.join("\n")).as_bytes());
        key.truncate(16);
        let cache = self.cache.clone().or_else(user_cache).ok_or_else(|| refused("no cache folder; set RLAR_CACHE"))?;
        Ok((wanted, cache.join("packages").join(key)))
    }
}

/// Whether the installation of an environment's packages was completed.
fn is_complete(home: &Path) -> bool {
    home.join("packages.lock").exists()
}

/// rlar's cache folder: `RLAR_CACHE`, else `rlar` in `XDG_CACHE_HOME`, else `.cache/rlar` in `HOME`. `None` if none of
/// these variables is set.
fn user_cache() -> Option<PathBuf> {
    let from = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    from("RLAR_CACHE")
        .or_else(|| from("XDG_CACHE_HOME").map(|c| c.join("rlar")))
        .or_else(|| from("HOME").map(|h| h.join(".cache/rlar")))
}

/// Downloads the wheels of the packages `wanted`, records their hashes, installs them, and marks the environment as
/// complete.
fn install(wanted: &[String], interpreter: &Interpreter, home: &Path) -> Result<(), SandboxError> {
    let io = |e: std::io::Error| refused(format!("{}: {e}", home.display()));
    std::fs::create_dir_all(home).map_err(io)?;
    let lock = std::fs::File::create(home.join("lock")).map_err(io)?;
    lock.lock().map_err(io)?;
    if is_complete(home) {
        return Ok(());
    }
    let (wheels, site) = (home.join("wheels"), home.join("site"));
    for old in [&wheels, &site] {
        let _ = std::fs::remove_dir_all(old);
    }
    let list = wanted.join(" ");
    let (wheels_text, site_text) = (wheels.to_string_lossy(), site.to_string_lossy());
    let mut download = vec!["download", "--only-binary=:all:", "--dest", &wheels_text];
    download.extend(wanted.iter().map(String::as_str));
    pip(interpreter, &download, &list)?;
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&wheels).map_err(io)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>().map_err(io)?;
    files.sort();
    let line = |file: &PathBuf| {
        let hash = sha256(&std::fs::read(file).map_err(io)?);
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Ok(format!("{name} --hash=sha256:{hash}\n"))
    };
    let record = files.iter().map(line).collect::<Result<String, SandboxError>>()?;
    // Installed from the very files that were hashed.
    let mut install = vec!["install", "--no-index", "--no-deps", "--target", &site_text];
    let names: Vec<String> = files.iter().map(|f| f.to_string_lossy().into_owned()).collect();
    install.extend(names.iter().map(String::as_str));
    pip(interpreter, &install, &list)?;
    std::fs::remove_dir_all(&wheels).map_err(io)?;
    write_atomic(&home.join("packages.lock"), record.as_bytes()).map_err(refused)
}

/// Runs `pip` with a deadline; `list` names the packages in messages.
fn pip(interpreter: &Interpreter, arguments: &[&str], list: &str) -> Result<(), SandboxError> {
    let common = ["-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"];
    let mut child = Command::new(&interpreter.python)
        .args(common)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| refused(format!("cannot run pip: {e}")))?;
    let errors = child.stderr.take().ok_or_else(|| refused("pip has no standard error"))?;
    let ended = finish(child, errors, PATIENCE).map_err(refused)?;
    let (status, output) =
        ended.ok_or_else(|| refused(format!("pip did not finish with {list} within {PATIENCE:?}")))?;
    if status.success() {
        return Ok(());
    }
    let why = output.lines().rfind(|l| l.starts_with("ERROR")).or(output.lines().last()).unwrap_or("no reason given");
    Err(refused(format!("pip cannot install {list}: {why}")))
}
