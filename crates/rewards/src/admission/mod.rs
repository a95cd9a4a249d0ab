//! Admission: the checks that a tool must pass before it may score training rollouts.

pub mod examine;
pub mod hacks;
pub mod probes;
pub mod ranking;
pub mod report;
