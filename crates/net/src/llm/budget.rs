//! What chats may cost.

use std::cmp::Ordering::Less;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::llm::LlmError;

/// What may be spent, and what things cost; nothing is limited by default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Tokens in all, of prompts and answers.
    pub max_tokens: Option<u64>,
    /// Money in all, in the currency of the prices.
    pub max_cost: Option<f64>,
    /// Price of a million tokens of prompts.
    pub prompt_price: f64,
    /// Price of a million tokens of answers.
    pub completion_price: f64,
}

/// What was spent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Tokens of answers.
    pub completion_tokens: u64,
    /// Money, in the currency of the prices.
    pub cost: f64,
    /// Requests that were answered.
    pub requests: u64,
}

impl Spent {
    /// Tokens in all.
    pub fn tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }
}

/// A budget; clones share it. It is looked at before each request, and what a request costs is known after it: what
/// is spent can pass a limit by the requests that are under way then, at most a server's concurrency.
#[derive(Clone, Debug, Default)]
pub struct Budget(Arc<Purse>);

#[derive(Debug, Default)]
struct Purse {
    limits: Limits,
    prompt_tokens: AtomicU64,
    completion_tokens: AtomicU64,
    requests: AtomicU64,
}

impl Budget {
    /// A budget of which nothing is spent.
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Purse { limits, ..Purse::default() }))
    }

    /// What was spent so far.
    pub fn spent(&self) -> Spent {
        let Purse { limits, .. } = &*self.0;
        let prompt_tokens = self.0.prompt_tokens.load(Ordering::Relaxed);
        let completion_tokens = self.0.completion_tokens.load(Ordering::Relaxed);
        let millionths =
            prompt_tokens as f64 * limits.prompt_price + completion_tokens as f64 * limits.completion_price;
        let requests = self.0.requests.load(Ordering::Relaxed);
        Spent { prompt_tokens, completion_tokens, cost: millionths / 1e6, requests }
    }

    /// Whether anything is left; [`LlmError::Budget`] if not.
    pub fn check(&self) -> Result<(), LlmError> {
        let spent = self.spent();
        let used_up = |what: String, key: &str| {
            let message = format!("the budget is used up: {what} in {} requests; raise `{key}`", spent.requests);
            Err(LlmError::Budget(message))
        };
        let Limits { max_tokens, max_cost, .. } = self.0.limits;
        if let Some(most) = max_tokens.filter(|most| spent.tokens() >= *most) {
            return used_up(format!("{} of {most} tokens", spent.tokens()), "rewards.llm.max_tokens");
        }
        // A limit that is no number allows nothing.
        if let Some(most) = max_cost.filter(|most| spent.cost.partial_cmp(most) != Some(Less)) {
            return used_up(format!("{:.6} of {most} of money", spent.cost), "rewards.llm.max_cost");
        }
        Ok(())
    }

    /// Takes an answered request's tokens.
    pub(crate) fn charge(&self, prompt_tokens: u64, completion_tokens: u64) {
        // A server's word is taken, but it cannot make the sum begin anew.
        let add = |to: &AtomicU64, n: u64| {
            let _ = to.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |sum| Some(sum.saturating_add(n)));
        };
        add(&self.0.prompt_tokens, prompt_tokens);
        add(&self.0.completion_tokens, completion_tokens);
        add(&self.0.requests, 1);
    }
}
