//! Admission: the checks that a tool must pass before it may score training rollouts.

pub mod examine;
pub mod probes;
pub mod hacks;
pub mod ranking;
pub mod counterexamples;
pub mod report;
pub mod look_alikes;
