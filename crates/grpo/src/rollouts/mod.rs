//! Rollouts: which prompts a step draws, the policy's replies with the scores of the reward tools, learned weights of
//! the tools, and what is monitored: tools that fail, groups in which all replies have the same reward, and scores that
//! drift.

pub mod mixture;
pub mod collect;
pub mod drawn_prompts;
mod sample_and_score;
pub mod batch;
pub mod rollout;
pub mod tool_health;
pub mod zero_spread;
pub mod evolution;
pub mod learned_weights;
