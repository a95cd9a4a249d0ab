//! Searches the replies of all recorded steps, the newest first. One question reads a bounded part of the files, and says
//! where the next one goes on.

use std::path::Path;

use serde::Serialize;

use crate::json_lines::FileProblem;
use crate::rollouts::{LISTED, ReplyFilter, ReplyRow, ReplyView, read_step, rollout_steps, step_file};

/// Size of the files that one question reads, in bytes; the file with which it is passed is read, too.
const MAX_BYTES: u64 = 64 << 20;
/// Largest number of files that one question reads.
const MAX_STEPS: usize = 500;
/// Number of characters before and after what was found.
const AROUND: usize = 120;

const COLUMNS: [&str; 10] =
    ["group", "example", "domain", "prompt", "completion", "reward", "advantage", "tokens", "finish", "verdicts"];

/// What was found in a part of a run.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct SearchPage {
    /// The replies, those of the newest step first.
    pub replies: Vec<FoundReply>,
    /// Number of further replies in these steps that are not listed.
    pub left_out: usize,
    /// Number of steps that were searched.
    pub searched: usize,
    /// The newest of them.
    pub newest: Option<u64>,
    /// The oldest of them.
    pub oldest: Option<u64>,
    /// Number of steps with replies in files.
    pub steps: usize,
    /// The next question asks for the steps up to this one; `None` if all were searched.
    pub next: Option<u64>,
    /// Files that could not be read.
    pub problems: Vec<FileProblem>,
}

/// A reply that was found.
#[derive(Debug, PartialEq, Serialize)]
pub struct FoundReply {
    /// Its step.
    pub step: u64,
    /// `completion` or `prompt`: where the text is.
    pub place: &'static str,
    /// What stands around the text.
    pub excerpt: String,
    /// The reply.
    #[serde(flatten)]
    pub reply: ReplyView,
}

/// Searches the steps up to `up_to` for replies that a filter lets through, until `limit` are found or enough is read. Of
/// each step at most `limit` are listed, and the number of the others is said.
pub fn search_replies(run: &Path, filter: &ReplyFilter, up_to: Option<u64>, limit: usize) -> SearchPage {
    let steps = rollout_steps(run);
    let mut page = SearchPage { steps: steps.len(), ..SearchPage::default() };
    let passes = filter.test();
    let mut bytes = 0;
    for step in steps.iter().rev().filter(|step| up_to.is_none_or(|up_to| step.step <= up_to)) {
        if bytes >= MAX_BYTES || page.searched >= MAX_STEPS || page.replies.len() >= limit {
            page.next = Some(step.step);
            break;
        }
        bytes += step.bytes;
        page.searched += 1;
        page.newest = page.newest.or(Some(step.step));
        page.oldest = Some(step.step);
        let rows = match read_step(run, step.step, &COLUMNS) {
            Ok(rows) => rows,
            Err(error) => {
                page.problems.push(FileProblem::of_file(step_file(step.step), &error));
                continue;
            }
        };
        let found: Vec<&ReplyRow> = rows.iter().filter(|row| passes(row)).collect();
        page.left_out += found.len().saturating_sub(limit);
        for row in found.into_iter().take(limit) {
            let wanted = filter.search.as_deref().unwrap_or_default();
            let place = |place| Some((place, excerpt(row.text(place), wanted)?));
            let (place, excerpt) =
                ["completion", "prompt"].into_iter().find_map(place).unwrap_or(("completion", String::new()));
            page.replies.push(FoundReply { step: step.step, place, excerpt, reply: row.view(LISTED) });
        }
    }
    page
}

/// What stands around the first occurrence of a text, whatever the case of its letters; `None` if it does not occur.
fn excerpt(text: &str, wanted: &str) -> Option<String> {
    // Small letters may take more or fewer bytes than large ones, so places are counted in characters.
    let small: String = text.to_lowercase();
    let at = small[..small.find(&wanted.to_lowercase())?].chars().count();
    let begin = at.saturating_sub(AROUND);
    let length = at - begin + wanted.chars().count() + AROUND;
    let shown: String = text.chars().skip(begin).take(length).collect();
    let before = if begin > 0 { "… " } else { "" };
    let after = if text.chars().count() > begin + length { " …" } else { "" };
    Some(format!("{before}{shown}{after}"))
}
