//! What a reward tool is: its card, its kind, how it scores a reply, and what its outcome means.

pub mod builtin;
pub mod card;
mod card_document;
pub mod code_tests;
pub mod composite;
pub mod judge;
pub mod outcome;
pub mod reward_model;
pub mod scores;
pub mod scoring;
