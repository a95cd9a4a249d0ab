//! Tests of the metrics.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod answers;
mod math;
mod references;
