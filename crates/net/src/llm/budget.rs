//! A budget for chats with language models: limits on tokens and on money.

use std::cmp::Ordering::Less;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::llm::LlmError;

/// The limits of a [`Budget`], and the prices of tokens. By default, nothing is limited and every price is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LlmLimits {
    /// Maximum number of tokens of prompts and replies together; `None` for no limit.
    pub max_tokens: Option<u64>,
    /// Maximum amount of money, in the currency of the prices; `None` for no limit.
    pub max_cost: Option<f64>,
    /// Price of one million prompt tokens, in any currency.
    pub prompt_price: f64,
    /// Price of one million reply tokens, in the same currency as the price of prompt tokens.
    pub completion_price: f64,
}

/// How many tokens, how much money and how many requests a [`Budget`] has spent so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenUsage {
    /// Number of tokens in the prompts.
    pub prompt_tokens: u64,
    /// Number of tokens in the replies.
    pub completion_tokens: u64,
    /// Money spent, in the currency of the prices.
    pub cost: f64,
    /// Number of requests that got a reply or a part of one; a request that is sent again counts again.
    pub requests: u64,
}

impl TokenUsage {
    /// Number of tokens in prompts and replies together.
    pub fn tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }
}

/// Limits the tokens and the money that chats may use, and counts what they have used. Clones share the count.
///
/// The budget is checked before each request, but the cost of a request is known only afterwards. The usage can
/// therefore exceed a limit by the cost of the requests that are under way when the limit is reached.
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
    /// A budget with these limits, of which nothing has been used.
    pub fn new(limits: LlmLimits) -> Self {
        Self(Arc::new(BudgetState { limits, ..BudgetState::default() }))
    }

    /// The tokens, money and requests that have been used so far.
    pub fn usage(&self) -> TokenUsage {
        let BudgetState { limits, .. } = &*self.0;
        let prompt_tokens = self.0.prompt_tokens.load(Ordering::Relaxed);
        let completion_tokens = self.0.completion_tokens.load(Ordering::Relaxed);
        let millionths =
            prompt_tokens as f64 * limits.prompt_price + completion_tokens as f64 * limits.completion_price;
        let requests = self.0.requests.load(Ordering::Relaxed);
        TokenUsage { prompt_tokens, completion_tokens, cost: millionths / 1e6, requests }
    }

    /// Gives [`LlmError::Budget`] if a limit is reached.
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
        // This comparison makes a limit of NaN allow nothing.
        if let Some(max) = max_cost.filter(|max| usage.cost.partial_cmp(max) != Some(Less)) {
            return used_up(format!("a cost of {:.6} of {max}", usage.cost), "rewards.llm.max_cost");
        }
        Ok(())
    }

    /// Counts a request that got a reply or a part of one, and its tokens.
    fn charge(&self, prompt_tokens: u64, completion_tokens: u64) {
        // The sum stops at the largest `u64`, so that an absurd count from a server cannot wrap the sum around to a
        // small one.
        let add = |to: &AtomicU64, n: u64| {
            let _ = to.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |sum| Some(sum.saturating_add(n)));
        };
        add(&self.0.prompt_tokens, prompt_tokens);
        add(&self.0.completion_tokens, completion_tokens);
        add(&self.0.requests, 1);
    }
}

/// Counts the tokens of one try of a request. When the value is dropped, the budget is charged with the tokens, also if
/// the try was given up, because the server did the work.
pub(crate) struct TryCharge<'a> {
    budget: &'a Budget,
    /// Number of tokens in the prompt, estimated until the server has counted them.
    pub prompt: u64,
    /// Number of tokens of the reply so far.
    pub completion: u64,
}

impl<'a> TryCharge<'a> {
    /// A charge for a prompt of `prompt` tokens and no reply yet.
    pub fn new(budget: &'a Budget, prompt: u64) -> Self {
        Self { budget, prompt, completion: 0 }
    }
}

impl Drop for TryCharge<'_> {
    fn drop(&mut self) {
        self.budget.charge(self.prompt, self.completion);
    }
}
