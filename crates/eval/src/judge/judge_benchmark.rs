//! Scores a benchmark's completions with a language model as a generative judge.

use std::time::Instant;

use rlar_data::Message;
use rlar_net::llm::{ChatMessage, ChatReply, ChatRequest, Llm, LlmError, chat_all};
use rlar_run::sha256;

use super::best_of_four::{self, Position, PromptStyle};
use super::ratings;
use crate::EvalError;
use crate::item::{Benchmark, Item, ItemKind};
use crate::scores::{BenchmarkScores, ItemScores, ScoringCost};

/// Maximum length of a judge's reply, in tokens; the same as in the reference implementation.
const MAX_TOKENS: u32 = 2048;
/// Number of items whose requests are sent to the model together.
const BATCH: usize = 16;

/// What the judge is asked for: ratings, or the best of four completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JudgeMode {
    /// The judge is asked for a rating from 1 to 10 of every completion by itself.
    Ratings,
    /// The judge is asked for the best of four completions in shuffled order. Items of Ties get ratings instead, as do
    /// items that do not have four completions of which only the first is correct.
    BestOfFour {
        /// How the judge's instructions are put into its prompt.
        style: PromptStyle,
        /// Seed of the random positions at which the correct completions are shown.
        seed: u64,
    },
}

impl JudgeMode {
    fn name(self) -> &'static str {
        match self {
            Self::Ratings => "ratings",
            Self::BestOfFour { style: PromptStyle::System, .. } => "four",
            Self::BestOfFour { style: PromptStyle::Merged, .. } => "four-merged",
            Self::BestOfFour { style: PromptStyle::Bare, .. } => "four-bare",
        }
    }

    /// The position at which the judge is shown the item's correct completion; `None` for an item that gets ratings.
    fn position(self, item: &Item) -> Option<Position> {
        let Self::BestOfFour { seed, .. } = self else { return None };
        let is_one_of_four = item.kind == ItemKind::BestOfN
            && item.completions.len() == 4
            && item.is_correct(0)
            && item.num_correct() == 1;
        // The random stream depends only on the item, so that an item has the same position if only a subset is scored.
        let hash = sha256(format!("{}\0{}", item.category, item.id).as_bytes());
        is_one_of_four.then(|| Position::draw(seed, u64::from_str_radix(&hash[..16], 16).unwrap_or(0)))
    }
}

/// A judge's scores of a benchmark, with counts of its replies.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgeResult {
    /// The judge's scores. An item has none where one of its requests got no reply.
    pub scores: BenchmarkScores,
    /// Number of replies that the judge gave.
    pub answers: usize,
    /// Number of replies in which no rating or verdict was found. As in the reference implementation, a missing rating
    /// counts as −1, below every rating, and a missing verdict as a tie of the four completions.
    pub without_verdict: usize,
}

/// Scores a benchmark with a judge; `None` if cancelled. `on_progress` gets the number of finished items. Fails where
/// the budget for the model's calls is spent, or where the judge gives no reply about any of the first items.
pub fn judge_benchmark(
    benchmark: &Benchmark,
    llm: &dyn Llm,
    mode: JudgeMode,
    cancelled: &(dyn Fn() -> bool + Sync),
    on_progress: &mut dyn FnMut(usize),
) -> Result<Option<JudgeResult>, EvalError> {
    let tool = format!("{}-{}", llm.name(), mode.name());
    let mut result = JudgeResult { scores: BenchmarkScores { tool, rows: Vec::new() }, answers: 0, without_verdict: 0 };
    for (number, batch) in benchmark.items.chunks(BATCH).enumerate() {
        let positions: Vec<Option<Position>> = batch.iter().map(|item| mode.position(item)).collect();
        let requests: Vec<Vec<ChatRequest>> =
            batch.iter().zip(&positions).map(|(item, position)| chat_requests(item, *position, mode)).collect();
        let all_requests: Vec<ChatRequest> = requests.iter().flatten().cloned().collect();
        let began = Instant::now();
        let mut responses = chat_all(llm, &all_requests, cancelled).into_iter();
        let seconds_per_request = began.elapsed().as_secs_f64() / all_requests.len().max(1) as f64;
        if cancelled() {
            return Ok(None);
        }
        let mut first_failure = None;
        for (position, requests) in positions.iter().zip(&requests) {
            let responses: Vec<Result<ChatReply, LlmError>> = responses.by_ref().take(requests.len()).collect();
            result.answers += responses.iter().flatten().count();
            let mut failures = responses.iter().filter_map(|r| r.as_ref().err());
            first_failure = first_failure.or_else(|| failures.clone().next().map(ToString::to_string));
            if let Some(LlmError::Budget(reason)) = failures.find(|e| matches!(e, LlmError::Budget(_))) {
                return Err(EvalError::Mismatch(reason.clone()));
            }
            let mut row = result.read_item(*position, &responses);
            row.cost.seconds = seconds_per_request * requests.len() as f64;
            result.scores.rows.push(row);
        }
        if let (0, 0, Some(reason)) = (number, result.answers, first_failure) {
            return Err(EvalError::Mismatch(format!("the judge gave no reply about the first items: {reason}")));
        }
        on_progress(result.scores.rows.len());
    }
    Ok(Some(result))
}

/// The requests about an item: one request for the best of four completions, or a request for a rating of each
/// completion.
fn chat_requests(item: &Item, position: Option<Position>, mode: JudgeMode) -> Vec<ChatRequest> {
    let request = |template: &str, part: String, messages: Vec<Message>| ChatRequest {
        role: "judge".into(),
        template: template.into(),
        task: format!("{}: {}{part}", item.category, item.id),
        attempt: 0,
        messages: messages
            .into_iter()
            .map(|m| ChatMessage { role: m.role.as_str().into(), content: m.content })
            .collect(),
        max_tokens: MAX_TOKENS,
        temperature: 0.0,
        schema: None,
        tools: Vec::new(),
    };
    if let (Some(position), JudgeMode::BestOfFour { style, .. }, [a, b, c, d]) = (position, mode, &item.completions[..])
    {
        let messages = best_of_four::prompt(&item.prompt, [a, b, c, d], position, style);
        return vec![request("four-1", String::new(), messages)];
    }
    let is_ties = item.kind == ItemKind::Ties;
    let completions = item.completions.iter().enumerate();
    completions
        .map(|(i, c)| request("ratings-1", format!(" #{i}"), ratings::prompt(&item.prompt, c, is_ties)))
        .collect()
}

impl JudgeResult {
    /// Computes an item's scores from the judge's replies, and adds the replies without a rating or verdict to
    /// `without_verdict`.
    fn read_item(&mut self, position: Option<Position>, responses: &[Result<ChatReply, LlmError>]) -> ItemScores {
        let replies: Vec<&ChatReply> = responses.iter().flatten().collect();
        let tokens = replies.iter().map(|r| r.prompt_tokens + r.completion_tokens).sum();
        let cost = ScoringCost { llm_calls: responses.len() as u64, tokens, seconds: 0.0 };
        if replies.len() < responses.len() || replies.is_empty() {
            return ItemScores { scores: None, cost };
        }
        let scores = if let Some(position) = position {
            let verdict = best_of_four::parse(&replies[0].text);
            self.without_verdict += usize::from(verdict.is_none());
            best_of_four::scores(verdict, position).to_vec()
        } else {
            let ratings: Vec<Option<u8>> = replies.iter().map(|r| ratings::parse(&r.text)).collect();
            self.without_verdict += ratings.iter().filter(|r| r.is_none()).count();
            ratings::scores(&ratings)
        };
        ItemScores { scores: Some(scores), cost }
    }
}
