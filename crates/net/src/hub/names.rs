//! Names that are safe to send and to write: ids, revisions, files and hashes.

use crate::hub::HubError;

/// The longest part of an id and the longest name of a file or revision, in bytes.
const LONGEST: (usize, usize) = (96, 1024);

/// Checks a model's id by the rules of `huggingface_hub`'s `validate_repo_id`: `name` or `owner/name`, of letters,
/// digits, `-`, `_` and `.`, and nothing that means something else in a path.
pub(crate) fn id(id: &str) -> Result<(), HubError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let at_end = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let good = |part: &str| {
        (1..=LONGEST.0).contains(&part.len())
            && part.chars().all(allowed)
            && part.starts_with(at_end)
            && part.ends_with(at_end)
    };
    let refused = id.split('/').count() > 2 || !id.split('/').all(good) || id.contains("--") || id.contains("..");
    if refused || id.strip_suffix(".git").is_some() {
        let rule = "`owner/name` of letters, digits, `-`, `_` and `.`, without `--`, `..` and a `.git` at the end";
        return Err(HubError::Name(format!("{:?} is not a model's id: it must be {rule}", short(id))));
    }
    Ok(())
}

/// Checks the name of a branch, a tag or a commit.
pub(crate) fn revision(revision: &str) -> Result<(), HubError> {
    // git's own rules (git-check-ref-format), which leave out everything that means something in a path.
    let bad_part = |part: &str| part.starts_with('.') || part.strip_suffix(".lock").is_some();
    let bad = revision.contains([' ', '~', '^', ':', '?', '*', '[']) || revision.split('/').any(bad_part);
    if bad || !is_relative(revision) {
        return Err(HubError::Name(format!("{:?} is not a branch, tag or commit", short(revision))));
    }
    Ok(())
}

/// Checks the name of a file in a model: a relative path that stays below its folder on every system.
pub(crate) fn file(name: &str) -> Result<(), HubError> {
    // Windows, where the cache may be read later, takes a letter and a colon for a drive.
    let is_drive = |part: &str| part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.get(1..2) == Some(":");
    if !is_relative(name) || name.split('/').any(is_drive) {
        let why = "it must be a relative path without `..`, `\\`, drives, empty parts and control characters";
        return Err(HubError::Name(format!("{:?} is not a file's name: {why}", short(name))));
    }
    Ok(())
}

fn is_relative(path: &str) -> bool {
    let good = |part: &str| !matches!(part, "" | "." | "..") && part.len() < 256;
    path.len() <= LONGEST.1
        && !path.contains(['\\', '\u{7f}'])
        && !path.contains(char::is_control)
        && path.split('/').all(good)
}

/// The start of a name, for an error.
fn short(name: &str) -> String {
    name.chars().take(100).collect()
}

/// Whether a text is a hash in lower-case hexadecimal: 40 digits are a SHA-1, 64 a SHA-256.
pub(crate) fn is_hash(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A text of the Hub, fit to be shown: without control characters, and not endless.
pub(crate) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(500).collect()
}
