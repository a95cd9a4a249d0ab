//! What the policy crate promises.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../../../data/tests/it/oracle.rs"]
mod oracle;

mod adapters;
mod chats;
mod fused_agrees_with_plain;
mod ggufs;
mod models_on_disk;
mod parity;
mod sampling;
mod smollm2;
mod tiny;
