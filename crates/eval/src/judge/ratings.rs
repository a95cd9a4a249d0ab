//! Asks for a rating from 1 to 10 per completion.

use rlar_data::Message;

use super::{fill, user};

/// The conversation that asks for a rating. The prompt for Ties does not ask for depth and detail.
pub fn prompt(question: &str, completion: &str, is_ties: bool) -> Vec<Message> {
    let template = if is_ties { include_str!("ratings_ties.txt") } else { include_str!("ratings.txt") };
    vec![user(fill(template, &[("prompt", question), ("completion", completion)]))]
}

/// The whole number from 1 to 10 at the end of a reply, after a word boundary: the reference implementation's
/// `\b([1-9]|10)\b\s*$`. So `7/10` is 10 and `8.5` is 5; `9.` and `**9**` are not ratings.
pub fn parse(reply: &str) -> Option<u8> {
    let reply = reply.trim_end();
    let digits = reply.len() - reply.bytes().rev().take_while(u8::is_ascii_digit).count();
    let before = reply[..digits].chars().next_back();
    let is_boundary = before.is_none_or(|c| !(c.is_alphanumeric() || c == '_'));
    let number = reply[digits..].parse::<u8>().ok().filter(|n| (1..=10).contains(n))?;
    (is_boundary && !reply[digits..].starts_with('0')).then_some(number)
}

/// The ratings of an item's completions as scores. A missing rating is −1, as in the reference implementation: below every
/// rating. Where all are missing, the item has the value of a guess.
pub fn scores(ratings: &[Option<u8>]) -> Vec<f64> {
    ratings.iter().map(|r| r.map_or(-1.0, f64::from)).collect()
}
