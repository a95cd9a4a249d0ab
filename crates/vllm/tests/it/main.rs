//! What the client promises: it sends what vLLM 0.32 takes, reads what that answers, and names what is wrong.
#![allow(clippy::unwrap_used)]

mod bad_answers;
mod process;
mod recorded;
mod serve;
