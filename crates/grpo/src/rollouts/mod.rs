//! Rollouts: which prompts are drawn, their replies with the scores of the reward tools, and what the scores look like.

pub mod collect;
pub mod evolution;
pub mod mixture;
pub mod rollout;
pub mod tool_health;
pub mod zero_spread;
