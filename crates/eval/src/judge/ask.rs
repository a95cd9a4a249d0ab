//! Asking a language model as a generative judge.

use rlar_data::Message;
use rlar_net::llm::{ChatMessage, ChatReply, ChatRequest, Llm, LlmError, chat_all};
use rlar_run::sha256;

use super::{four, ratings};
use crate::EvalError;
use crate::item::{Benchmark, Item, Kind};
use crate::scores::{Cost, Scored, Scores};

/// Tokens that an answer may have, as in the reference.
const MAX_TOKENS: u32 = 2048;
/// Items that are asked about before the next.
const AT_ONCE: usize = 16;

/// How a judge is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A number from 1 to 10 for every completion.
    Ratings,
    /// The best of four completions in shuffled places. Items with other numbers of completions, and Ties, get ratings.
    Four {
        /// How the instructions reach the model.
        style: four::Style,
        /// Seed of the places.
        seed: u64,
    },
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Ratings => "ratings",
            Self::Four { style: four::Style::System, .. } => "four",
            Self::Four { style: four::Style::Merged, .. } => "four-merged",
            Self::Four { style: four::Style::Bare, .. } => "four-bare",
        }
    }

    /// Where the right completion is shown, of an item that is asked about as one of four.
    fn place(self, item: &Item) -> Option<four::Place> {
        let Self::Four { seed, .. } = self else { return None };
        let fits = item.kind == Kind::Pick && item.completions.len() == 4 && item.is_right(0) && item.right() == 1;
        let key = sha256(format!("{}\0{}", item.category, item.id).as_bytes());
        // It depends on the item alone, not on which others are asked about.
        fits.then(|| four::Place::draw(seed, u64::from_str_radix(&key[..16], 16).unwrap_or(0)))
    }
}

/// What a judge said of a benchmark.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Its verdicts as scores; none of an item where a question got no answer at all.
    pub scores: Scores,
    /// Questions that were answered.
    pub answers: usize,
    /// Answers without a rating or a verdict, which count as the reference counts them: the least rating, or a tie.
    pub unread: usize,
}

/// A judge's scores of a benchmark, or nothing if `over` ended the asking; `done` hears of every item. Where nobody answers any
/// question about the first items, that is an error.
pub fn judge(
    benchmark: &Benchmark,
    llm: &dyn Llm,
    way: Way,
    over: &(dyn Fn() -> bool + Sync),
    done: &mut dyn FnMut(usize),
) -> Result<Option<Judged>, EvalError> {
    let tool = format!("{}-{}", llm.name(), way.name());
    let mut judged = Judged { scores: Scores { tool, rows: Vec::new() }, answers: 0, unread: 0 };
    for (number, some) in benchmark.items.chunks(AT_ONCE).enumerate() {
        let places: Vec<Option<four::Place>> = some.iter().map(|item| way.place(item)).collect();
        let requests: Vec<Vec<ChatRequest>> =
            some.iter().zip(&places).map(|(item, place)| questions(item, *place, way)).collect();
        let flat: Vec<ChatRequest> = requests.iter().flatten().cloned().collect();
        let mut told = chat_all(llm, &flat, over).into_iter();
        if over() {
            return Ok(None);
        }
        let mut why = None;
        for (place, questions) in places.iter().zip(&requests) {
            let answers: Vec<Result<ChatReply, LlmError>> = told.by_ref().take(questions.len()).collect();
            judged.answers += answers.iter().flatten().count();
            why = why.or_else(|| answers.iter().find_map(|a| a.as_ref().err().map(ToString::to_string)));
            if let Some(Err(LlmError::Budget(why))) = answers.iter().find(|a| matches!(a, Err(LlmError::Budget(_)))) {
                return Err(EvalError::Mismatch(why.clone()));
            }
            let row = judged.read(*place, &answers);
            judged.scores.rows.push(row);
        }
        if let (0, 0, Some(why)) = (number, judged.answers, why) {
            return Err(EvalError::Mismatch(format!("the judge answered nothing about the first items: {why}")));
        }
        done(judged.scores.rows.len());
    }
    Ok(Some(judged))
}

/// What is asked about an item.
fn questions(item: &Item, place: Option<four::Place>, way: Way) -> Vec<ChatRequest> {
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
    if let (Some(place), Way::Four { style, .. }, [a, b, c, d]) = (place, way, &item.completions[..]) {
        return vec![request("four-1", String::new(), four::prompt(&item.prompt, [a, b, c, d], place, style))];
    }
    let ties = item.kind == Kind::Ties;
    let rated = item.completions.iter().enumerate();
    rated.map(|(i, c)| request("ratings-1", format!(" #{i}"), ratings::prompt(&item.prompt, c, ties))).collect()
}

impl Judged {
    /// An item's scores from what was answered.
    fn read(&mut self, place: Option<four::Place>, answers: &[Result<ChatReply, LlmError>]) -> Scored {
        let said: Vec<&ChatReply> = answers.iter().flatten().collect();
        let tokens = said.iter().map(|r| r.prompt_tokens + r.completion_tokens).sum();
        let cost = Cost { llm_calls: answers.len() as u64, tokens, seconds: 0.0 };
        if said.len() < answers.len() || said.is_empty() {
            return Scored { scores: None, cost };
        }
        let scores = if let Some(place) = place {
            let verdict = four::parse(&said[0].text);
            self.unread += usize::from(verdict.is_none());
            four::scores(verdict, place).to_vec()
        } else {
            let given: Vec<Option<u8>> = said.iter().map(|r| ratings::parse(&r.text)).collect();
            let (scores, unread) = ratings::scores(&given);
            self.unread += unread;
            scores
        };
        Scored { scores: Some(scores), cost }
    }
}
