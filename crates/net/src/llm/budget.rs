//! Limits of the tokens and the money that chats may use.

use std::cmp::Ordering::Less;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::llm::LlmError;

/// Limits of tokens and money, and prices. By default nothing is limited and everything is free.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LlmLimits {
    /// The most tokens of prompts and replies together; `None` for no limit.
    pub max_tokens: Option<u64>,
    /// The most money, in the currency of the prices; `None` for no limit.
    pub max_cost: Option<f64>,
    /// Price of a million prompt tokens.
    pub prompt_price: f64,
    /// Price of a million reply tokens.
    pub completion_price: f64,
}

/// Tokens, money and requests used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenUsage {
    /// Prompt tokens.
    pub prompt_tokens: u64,
    /// Reply tokens.
    pub completion_tokens: u64,
    /// Money, in the currency of the prices.
    pub cost: f64,
    /// Requests that got a reply.
    pub requests: u64,
}

impl TokenUsage {
    /// Prompt and reply tokens together.
    pub fn tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }
}

/// A budget that clones share.
///
/// It is checked before each request, but a request's cost is known only afterwards. The usage can therefore exceed a
/// limit by the requests that are under way at that moment, at most as many as the server's concurrency.
#[derive(Clone, Debug, Default)]
pub struct Budget(Arc<BudgetState>);

#[derive(Debug, Default)]
struct BudgetState {
    limits: LlmLimits,
    prompt_tokens: AtomicU64,
    completion_tokens: AtomicU64,
    requests: AtomicU64,
}

impl Budget {
    /// An unused budget.
    pub fn new(limits: LlmLimits) -> Self {
        Self(Arc::new(BudgetState { limits, ..BudgetState::default() }))
    }

    /// The usage so far.
    pub fn usage(&self) -> TokenUsage {
        let BudgetState { limits, .. } = &*self.0;
        let prompt_tokens = self.0.prompt_tokens.load(Ordering::Relaxed);
        let completion_tokens = self.0.completion_tokens.load(Ordering::Relaxed);
        let millionths =
            prompt_tokens as f64 * limits.prompt_price + completion_tokens as f64 * limits.completion_price;
        let requests = self.0.requests.load(Ordering::Relaxed);
        TokenUsage { prompt_tokens, completion_tokens, cost: millionths / 1e6, requests }
    }

    /// [`LlmError::Budget`] if a limit is reached.
    pub fn check(&self) -> Result<(), LlmError> {
        let usage = self.usage();
        let used_up = |what: String, key: &str| {
            let message = format!("the budget is used up: {what} in {} requests; raise `{key}`", usage.requests);
            Err(LlmError::Budget(message))
        };
        let LlmLimits { max_tokens, max_cost, .. } = self.0.limits;
        if let Some(max) = max_tokens.filter(|max| usage.tokens() >= *max) {
            return used_up(format!("{} of {max} tokens", usage.tokens()), "rewards.llm.max_tokens");
        }
        // Written so that a NaN limit allows nothing.
        if let Some(max) = max_cost.filter(|max| usage.cost.partial_cmp(max) != Some(Less)) {
            return used_up(format!("a cost of {:.6} of {max}", usage.cost), "rewards.llm.max_cost");
        }
        Ok(())
    }

    /// Adds the tokens of a request that got a reply.
    pub(crate) fn charge(&self, prompt_tokens: u64, completion_tokens: u64) {
        // Saturating: a server's absurd count cannot wrap the sum around to a small one.
        let add = |to: &AtomicU64, n: u64| {
            let _ = to.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |sum| Some(sum.saturating_add(n)));
        };
        add(&self.0.prompt_tokens, prompt_tokens);
        add(&self.0.completion_tokens, completion_tokens);
        add(&self.0.requests, 1);
    }
}
