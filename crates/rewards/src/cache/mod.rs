//! The score cache: scores and calls in one SQLite file, and what they say of each tool.

pub mod cached_score;
pub mod calibration;
pub mod store;
