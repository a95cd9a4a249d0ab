//! The Python that runs untrusted code: found on the machine, asked what it is made of.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::SandboxError;
use crate::linux::command::finish;

/// Oldest version that is accepted.
const OLDEST: (u32, u32) = (3, 9);
/// Longest wait for its answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// An interpreter and what it needs to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// The program itself, not a link or a shim.
    pub python: PathBuf,
    /// Its version, such as `3.11`.
    pub version: String,
    /// The program, its standard library and the folders of the libraries that it loads.
    pub readable: Vec<PathBuf>,
}

/// Imports what the fork server imports and prints what that has mapped.
const ASK: &str = "
import sys, os, sysconfig, ctypes, socket, json, decimal, hashlib, _strptime, unicodedata, select, resource
python = os.path.realpath(getattr(sys, '_base_executable', None) or sys.executable)
print(python)
print('%d.%d' % sys.version_info[:2])
for kind in ('stdlib', 'platstdlib'):
    print(os.path.realpath(sysconfig.get_path(kind)))
# The loader that the program names, by the name that it uses.
head = open(python, 'rb').read(8192)
at = head.find(b'/ld-')
if at > 0:
    loader = head[head.rfind(b'\\0', 0, at) + 1:head.find(b'\\0', at)].decode()
    print(os.path.join(os.path.realpath(os.path.dirname(loader)), os.path.basename(loader)))
for line in open('/proc/self/maps'):
    path = line.split(None, 5)[5:]
    if path and path[0].startswith('/') and '.so' in path[0]:
        print(os.path.dirname(path[0].strip()))
";

impl Interpreter {
    /// Asks the one that `RLAR_PYTHON` names, or `python3`.
    pub fn find() -> Result<Self, SandboxError> {
        let refused = |why: String| SandboxError::Refused(why);
        let name = std::env::var_os("RLAR_PYTHON").unwrap_or_else(|| "python3".into());
        let shown = name.to_string_lossy().into_owned();
        let answer = ask(&name);
        let answer = answer.map_err(|e| refused(format!("cannot run `{shown}`: {e}; install Python 3.9 or newer")))?;
        let mut lines = answer.lines();
        let (Some(python), Some(version)) = (lines.next(), lines.next()) else {
            return Err(refused(format!("`{shown}` did not answer, or was built without ctypes")));
        };
        let mut numbers = version.split('.').filter_map(|n| n.parse().ok());
        if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < OLDEST {
            return Err(refused(format!("`{shown}` is version {version}; 3.9 or newer is needed")));
        }
        let mut readable: BTreeSet<PathBuf> = lines.map(PathBuf::from).collect();
        readable.extend([PathBuf::from(python), PathBuf::from("/etc/ld.so.cache")]);
        readable.retain(|p| p.exists());
        let home = std::env::var_os("HOME").map(PathBuf::from);
        if let Some(wide) = readable.iter().find(|p| *p == Path::new("/") || Some(*p) == home.as_ref()) {
            let wide = wide.display();
            return Err(refused(format!("`{shown}` needs all of {wide}, which holds more than the interpreter")));
        }
        Ok(Self { python: python.into(), version: version.into(), readable: readable.into_iter().collect() })
    }
}

/// The interpreter's answer, within a deadline: the name on `PATH` may be a shim that hangs.
fn ask(name: &OsStr) -> std::io::Result<String> {
    let mut child = Command::new(name)
        .args(["-I", "-S", "-c", ASK])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let output = child.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
    match finish(child, output, PATIENCE)? {
        Some((_, answer)) => Ok(answer),
        None => Err(std::io::Error::other(format!("no answer within {PATIENCE:?}"))),
    }
}
