//! Asks a judge for a rating from 1 to 10 of each completion.

use rlar_data::Message;

use super::{fill, user};

/// The messages that ask a judge for a rating of one completion. For Ties the prompt does not ask for depth and detail.
pub fn prompt(question: &str, completion: &str, is_ties: bool) -> Vec<Message> {
    let template = if is_ties { include_str!("ratings_ties.txt") } else { include_str!("ratings.txt") };
    vec![user(fill(template, &[("prompt", question), ("completion", completion)]))]
}

/// Reads a judge's rating: the whole number from 1 to 10 at the end of the reply, after a word boundary. The regular
/// expression of the reference implementation is `\b([1-9]|10)\b\s*$`, by which `7/10` is 10 and `8.5` is 5, and `9.`
/// and `**9**` are no ratings. `None` where there is no rating.
pub fn parse(reply: &str) -> Option<u8> {
    let reply = reply.trim_end();
    let digits = reply.len() - reply.bytes().rev().take_while(u8::is_ascii_digit).count();
    let before = reply[..digits].chars().next_back();
    let is_boundary = before.is_none_or(|c| !(c.is_alphanumeric() || c == '_'));
    let number = reply[digits..].parse::<u8>().ok().filter(|n| (1..=10).contains(n))?;
    (is_boundary && !reply[digits..].starts_with('0')).then_some(number)
}

/// The ratings of an item's completions as scores. A missing rating becomes −1, below every rating, as in the reference
/// implementation. Where all ratings are missing, all scores are therefore equal.
pub fn scores(ratings: &[Option<u8>]) -> Vec<f64> {
    ratings.iter().map(|r| r.map_or(-1.0, f64::from)).collect()
}
