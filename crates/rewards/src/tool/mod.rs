//! What a reward tool is: its card (`tool.yaml`), its kind (builtin, verifier, function of the user, reward model,
//! judge or composite), how
//! it scores a reply, and what the outcome of scoring means.

pub mod card;
mod card_document;
pub mod outcome;
pub mod reason;
pub mod score_record;
pub mod scores;
pub mod scoring;
mod accepted_answers;
mod literals;
pub mod wrapper;
pub mod builtin;
pub mod code_tests;
pub mod python;
pub mod reward_model;
pub mod judge;
pub mod judge_log;
pub mod composite;
