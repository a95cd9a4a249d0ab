//! Reward functions of users: a plain Python function that a config names (`rewards.python`) becomes a tool.
//!
//! `entry.rs` is the config's entry, `source.rs` reads the file with the modules that it imports, `card.rs` makes a tool
//! card of both, `scorer.rs` calls the function with the replies of a group and decides what its results mean, and
//! `run_state.rs` holds what functions share with the run: the training step and the log of prints.

pub mod card;
pub mod entry;
pub mod run_state;
pub mod scorer;
pub mod source;
