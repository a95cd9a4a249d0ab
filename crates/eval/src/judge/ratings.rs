//! A number from 1 to 10 per completion.

use rlar_data::Message;

use super::{fill, user};

/// The conversation that asks for a rating; Ties has its own words, which ask for no depth.
pub fn prompt(question: &str, completion: &str, ties: bool) -> Vec<Message> {
    let template = if ties { include_str!("ratings_ties.txt") } else { include_str!("ratings.txt") };
    vec![user(fill(template, &[("prompt", question), ("completion", completion)]))]
}

/// The whole number from 1 to 10 that ends a reply, after a word boundary: the reference's
/// `\b([1-9]|10)\b\s*$`. So `7/10` is 10 and `8.5` is 5; `9.` and `**9**` are no rating.
pub fn parse(reply: &str) -> Option<u8> {
    let reply = reply.trim_end();
    let digits = reply.len() - reply.bytes().rev().take_while(u8::is_ascii_digit).count();
    let before = reply[..digits].chars().next_back();
    let boundary = before.is_none_or(|c| !(c.is_alphanumeric() || c == '_'));
    let number = reply[digits..].parse::<u8>().ok().filter(|n| (1..=10).contains(n))?;
    (boundary && !reply[digits..].starts_with('0')).then_some(number)
}

/// Ratings of an item's completions as scores. A reply without a rating is −1, as in the reference: below every
/// other; when all are, an item outside Ties has the share of a guess. The second number counts them.
pub fn scores(ratings: &[Option<u8>]) -> (Vec<f64>, usize) {
    let scores = ratings.iter().map(|r| r.map_or(-1.0, f64::from)).collect();
    (scores, ratings.iter().filter(|r| r.is_none()).count())
}
