//! The Python interpreter that runs untrusted code, and the files that it needs.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::SandboxError;
use crate::linux::command::finish;

/// Oldest Python version that is accepted: major and minor number.
const OLDEST: (u32, u32) = (3, 9);
/// Maximum time that the interpreter may take to answer [`INSPECT`].
const PATIENCE: Duration = Duration::from_secs(20);

/// A Python interpreter and the files that it needs to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// Path of the executable itself, never of a link or of a script that starts the executable.
    pub python: PathBuf,
    /// Python's version, such as `3.11`.
    pub version: String,
    /// Paths that the interpreter reads: the executable, its standard library, the dynamic loader with its cache, and
    /// the folders of the shared libraries that it loads.
    pub readable: Vec<PathBuf>,
    /// The code of the fork servers as the interpreter has compiled it, in Python's `marshal` format.
    pub compiled: Vec<u8>,
}

/// Python code that prints the executable, its version, its argument as compiled code in hexadecimal digits, and the paths
/// that it reads, one per line. Before the paths it imports extension modules, so that the folders of the shared libraries that
/// they load are among them. It imports nothing that is written in Python, which would take most of the time.
const INSPECT: &str = "
import sys, os, marshal
python = os.path.realpath(getattr(sys, '_base_executable', None) or sys.executable)
print(python)
print('%d.%d' % sys.version_info[:2])
import _ctypes
for extension in ('_socket', '_json', '_decimal', '_hashlib', 'unicodedata', 'select', 'resource'):
    try:
        __import__(extension)
    except ImportError:
        pass
print(marshal.dumps(compile(sys.argv[1], '<string>', 'exec')).hex())
for path in sys.path:
    print(os.path.realpath(path))
# The dynamic loader, under the name by which the executable refers to it.
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
    /// Inspects the interpreter that the environment variable `RLAR_PYTHON` names, or else `python3`, and lets it compile
    /// `code`, that of the fork servers. Fails with [`SandboxError::Refused`] if there is none, if it is too old, or if it
    /// would need all of `/` or of the user's home folder.
    pub fn find(code: &str) -> Result<Self, SandboxError> {
        let refused = |why: String| SandboxError::Refused(why);
        let name = std::env::var_os("RLAR_PYTHON").unwrap_or_else(|| "python3".into());
        let shown = name.to_string_lossy().into_owned();
        let reply = inspect(&name, code);
        let reply = reply.map_err(|e| refused(format!("cannot run `{shown}`: {e}; install Python 3.9 or newer")))?;
        let mut lines = reply.lines();
        let (Some(python), Some(version)) = (lines.next(), lines.next()) else {
            return Err(refused(format!("`{shown}` did not answer; install Python 3.9 or newer")));
        };
        let mut numbers = version.split('.').filter_map(|n| n.parse().ok());
        if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < OLDEST {
            return Err(refused(format!("`{shown}` is version {version}; 3.9 or newer is needed")));
        }
        let Some(compiled) = lines.next().and_then(from_hexadecimal) else {
            return Err(refused(format!(
                "`{shown}` did not compile the code of the sandbox, or was built without ctypes"
            )));
        };
        let mut readable: BTreeSet<PathBuf> = lines.map(PathBuf::from).collect();
        readable.extend([PathBuf::from(python), PathBuf::from("/etc/ld.so.cache")]);
        readable.retain(|p| p.exists());
        let home = std::env::var_os("HOME").map(PathBuf::from);
        if let Some(wide) = readable.iter().find(|p| *p == Path::new("/") || Some(*p) == home.as_ref()) {
            let wide = wide.display();
            return Err(refused(format!("`{shown}` needs all of {wide}, which contains more than the interpreter")));
        }
        Ok(Self { python: python.into(), version: version.into(), readable: readable.into_iter().collect(), compiled })
    }
}

/// The bytes of a text of hexadecimal digits; `None` if it has other characters.
fn from_hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|value| value as u8);
    digits.as_bytes().chunks(2).map(|pair| Some((digit(pair[0])? << 4) | digit(*pair.get(1)?)?)).collect()
}

/// Runs [`INSPECT`] with `code` and returns what it prints; with a deadline, because `python3` may be a script that hangs.
fn inspect(name: &OsStr, code: &str) -> std::io::Result<String> {
    let mut child = Command::new(name)
        .args(["-I", "-S", "-c", INSPECT, code])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let output = child.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
    match finish(child, output, PATIENCE)? {
        Some((_, reply)) => Ok(reply),
        None => Err(std::io::Error::other(format!("no answer within {PATIENCE:?}"))),
    }
}
