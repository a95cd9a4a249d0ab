//! Checks that ids, revisions, file names and hashes are safe to use in addresses and paths.

use crate::hub::HubError;

/// Maximum length of the owner or the name in a model's id, in bytes.
const MAX_ID_PART: usize = 96;

/// Maximum length of a file's path or of a revision, in bytes.
const MAX_PATH: usize = 1024;

/// Checks a model's id by the rules of `huggingface_hub`'s `validate_repo_id`: `name` or `owner/name`, of letters,
/// digits, `-`, `_` and `.`, without anything that has a meaning in a path.
pub(crate) fn id(id: &str) -> Result<(), HubError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let at_end = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let good = |part: &str| {
        (1..=MAX_ID_PART).contains(&part.len())
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

/// Checks the name of a revision: a branch, a tag or a commit.
pub(crate) fn revision(revision: &str) -> Result<(), HubError> {
    // These are the rules of `git check-ref-format`, which exclude everything that has a meaning in a path.
    let bad_part = |part: &str| part.starts_with('.') || part.strip_suffix(".lock").is_some();
    let bad = revision.contains([' ', '~', '^', ':', '?', '*', '[']) || revision.split('/').any(bad_part);
    if bad || !is_relative(revision) {
        return Err(HubError::Name(format!("{:?} is not a branch, tag or commit", short(revision))));
    }
    Ok(())
}

/// Checks a file's path in a model: it must be relative and stay below the model's folder on every system.
pub(crate) fn file(name: &str) -> Result<(), HubError> {
    // On Windows, where the cache may be read later, a letter followed by a colon names a drive.
    let is_drive = |part: &str| part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.get(1..2) == Some(":");
    if !is_relative(name) || name.split('/').any(is_drive) {
        let why = "it must be a relative path without `..`, `\\`, drives, empty parts and control characters";
        return Err(HubError::Name(format!("{:?} is not a file's name: {why}", short(name))));
    }
    Ok(())
}

fn is_relative(path: &str) -> bool {
    let good = |part: &str| !matches!(part, "" | "." | "..") && part.len() < 256;
    path.len() <= MAX_PATH
        && !path.contains(['\\', '\u{7f}'])
        && !path.contains(char::is_control)
        && path.split('/').all(good)
}

/// The first 100 characters of a name, for an error message.
fn short(name: &str) -> String {
    name.chars().take(100).collect()
}

/// Whether a text consists of exactly `digits` lower-case hexadecimal digits, as a hash does: 40 for SHA-1, 64 for
/// SHA-256.
pub(crate) fn is_hash(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Prepares a text from the Hub for display: removes control characters and keeps the first 500 others.
pub(crate) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(500).collect()
}
