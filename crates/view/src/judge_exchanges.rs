//! What judges were asked about a reply and answered. The log has the newest exchanges of a run; they are found by the tool and
//! by the texts that the judge was shown.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;

use crate::exchanges::{ExchangeDetail, detail, text};
use crate::json_lines::{FileProblem, LinePosition, read_lines};

/// The files of the log, the older one first.
const FILES: [&str; 2] = ["judges-before.jsonl", "judges.jsonl"];
/// Largest number of exchanges of a reply; the newest are shown.
const MAX_SHOWN: usize = 6;

/// The exchanges in which judges scored a reply.
#[derive(Debug, Default)]
pub struct JudgeExchanges {
    /// The newest of them, the oldest first.
    pub exchanges: Vec<ExchangeDetail>,
    /// Files that could not be read.
    pub problems: Vec<FileProblem>,
}

/// The exchanges in which judges scored a reply: those of one of these tools whose messages show the reply and its prompt.
/// Where only a part of the reply is scored, those that show a part of it. A run without the log has none.
pub fn judge_exchanges(run: &Path, tools: &[String], prompt: &str, reply: &str) -> JudgeExchanges {
    let mut problems = Vec::new();
    let (mut of_whole, mut of_part) = (VecDeque::new(), VecDeque::new());
    // A prompt is found in the text of a line as JSON writes it, so that only lines about it are parsed.
    let written = Value::from(prompt).to_string();
    let written = &written[1..written.len() - 1];
    for file in FILES {
        let read = read_lines(&run.join(file), LinePosition::default(), |line, read| {
            let found = read.ok().filter(|text| text.contains(written));
            let Some(value) = found.and_then(|text| serde_json::from_str::<Value>(text).ok()) else { return };
            if text(&value, "role") != "judge" || !tools.contains(&text(&value, "task")) {
                return;
            }
            let list = match shows(&value, prompt, reply) {
                Shown::Whole => &mut of_whole,
                Shown::Part => &mut of_part,
                Shown::Nothing => return,
            };
            list.push_back(detail(line, value));
            if list.len() > MAX_SHOWN {
                list.pop_front();
            }
        });
        match read {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                problems.push(FileProblem { file: file.to_owned(), line: None, message: error.to_string() });
            }
            _ => {}
        }
    }
    JudgeExchanges { exchanges: if of_whole.is_empty() { of_part } else { of_whole }.into(), problems }
}

/// How much of a reply an exchange shows.
enum Shown {
    Whole,
    Part,
    Nothing,
}

fn shows(exchange: &Value, prompt: &str, reply: &str) -> Shown {
    let messages = exchange.get("messages").and_then(Value::as_array).into_iter().flatten();
    for content in messages.map(|message| text(message, "content")).filter(|content| content.contains(prompt)) {
        let mut shown = shown_replies(&content);
        if shown.clone().any(|shown| shown == reply) {
            return Shown::Whole;
        }
        if shown.any(|shown| !shown.trim().is_empty() && reply.contains(shown)) {
            return Shown::Part;
        }
    }
    Shown::Nothing
}

/// The texts that a judge's message shows between the marks `<reply-CODE>` and `</reply-CODE>`; where it compares a reply
/// with the reference, `<reply-a-CODE>` and `<reply-b-CODE>`.
fn shown_replies(message: &str) -> impl Iterator<Item = &str> + Clone {
    message.match_indices("<reply-").filter_map(|(begin, _)| {
        let (mark, rest) = message[begin + 1..].split_once(">\n")?;
        Some(rest.split_once(&format!("\n</{mark}>"))?.0)
    })
}
