//! Tests of the policy crate.
#![allow(clippy::unwrap_used)]

mod adapters;
mod bf16;
mod chats;
mod fused_agrees_with_plain;
mod gguf_headers;
mod gguf_mutations;
mod ggufs;
mod models_on_disk;
mod packed;
mod parity;
mod pre_tokenizers;
mod quantised;
mod sampling;
mod smollm2;
mod tiny;
mod turns;
mod wide;
