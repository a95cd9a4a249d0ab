//! What the sandbox promises.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../../../data/tests/it/oracle.rs"]
mod oracle;

mod attacks;
mod machine;
mod programs;
mod verifiers;

use std::sync::OnceLock;

use rlar_sandbox::{Sandbox, Tier};

/// One sandbox per tier for all tests: that they share it is a test in itself.
fn sandbox(tier: Tier) -> Sandbox {
    static TIERS: [OnceLock<Sandbox>; 2] = [OnceLock::new(), OnceLock::new()];
    TIERS[tier as usize].get_or_init(|| Sandbox::open_tier(tier).unwrap()).clone()
}

fn each_tier(check: impl Fn(&Sandbox)) {
    for tier in [Tier::A, Tier::B] {
        check(&sandbox(tier));
    }
}
