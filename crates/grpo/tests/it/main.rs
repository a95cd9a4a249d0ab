//! What the GRPO crate promises: the mathematics.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod advantages;
mod configs;
mod gradients;
mod objectives;
mod references;
mod schedules;
