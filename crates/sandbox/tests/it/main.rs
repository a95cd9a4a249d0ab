//! Tests of the sandbox as its users see it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod attacks;
mod building_blocks;
mod exceptions;
mod like_python;
mod machine;
mod outputs;
mod programs;
mod reward_functions;
mod trusted_functions;
mod verifiers;

use std::sync::OnceLock;

use rlar_sandbox::{Sandbox, Tier};

/// The sandbox of a tier. All tests share it, so that they also test that runs do not disturb each other.
fn sandbox(tier: Tier) -> Sandbox {
    static TIERS: [OnceLock<Sandbox>; 2] = [OnceLock::new(), OnceLock::new()];
    TIERS[tier as usize].get_or_init(|| Sandbox::open_tier(tier).unwrap()).clone()
}

/// Runs a check on both tiers.
fn each_tier(check: impl Fn(&Sandbox)) {
    for tier in [Tier::A, Tier::B] {
        check(&sandbox(tier));
    }
}
