//! The score cache: scores and logged calls in one `SQLite` file, and statistics of the logged calls of every tool.

pub mod cached_score;
pub mod calibration;
pub mod store;
