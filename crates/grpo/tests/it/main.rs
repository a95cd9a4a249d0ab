//! What the GRPO crate promises: the mathematics, and runs of quantised models.
// Exact zeros and equal formulas are compared exactly.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::float_cmp)]

mod advantages;
mod assignment_log;
mod configs;
mod gradients;
mod hints;
mod jobs;
mod learned_weights;
mod loopback;
mod memory;
mod demonstrations;
mod engines;
mod objectives;
mod quantised;
mod references;
mod schedules;
mod scripted_engine;
mod times;
mod tinker;
mod tinker_server;
mod vllm;
mod vllm_server;
mod vllm_started;
