//! Finding out what this machine allows.

use crate::error::refused;
use crate::linux::interpreter::Interpreter;
use crate::linux::pool::Sandbox;
use crate::linux::verifier::Verifier;
use crate::verdict::{Tier, Verdict};
use crate::{Limits, SandboxError};

impl Sandbox {
    /// The best tier that this machine allows, proven by a harmless call; refuses where there is none.
    pub fn open() -> Result<Self, SandboxError> {
        match Self::open_tier(Tier::A) {
            Ok(sandbox) => Ok(sandbox),
            Err(why) => Self::open_as(Tier::B, false, Some(why.to_string())),
        }
    }

    /// This tier or none.
    pub fn open_tier(tier: Tier) -> Result<Self, SandboxError> {
        let root = rustix::process::geteuid().is_root();
        match Self::open_as(tier, root, None) {
            // A root without the rights of one, as in a container.
            Err(_) if root && tier == Tier::A => Self::open_as(tier, false, None),
            opened => opened,
        }
    }

    fn open_as(tier: Tier, as_root: bool, why_not_better: Option<String>) -> Result<Self, SandboxError> {
        let sandbox = Self::plan(Interpreter::find()?, tier, as_root, None, why_not_better)?;
        // What is prepared here can still be refused by the kernel: one harmless call proves that it is not.
        let trial = Verifier::start(&sandbox, "def f(x):\n    return 1.0\n", "f", Limits::default());
        match trial.and_then(|v| v.score(&[vec![String::new()]])) {
            Ok(scores) if matches!(scores[..], [ref s] if s.verdict == Verdict::Score(1.0)) => Ok(sandbox),
            Ok(other) => Err(refused(format!("a harmless call in it ended as {other:?}"))),
            Err(SandboxError::Load(why)) => Err(refused(format!("a harmless verifier does not start in it: {why}"))),
            Err(e) => Err(e),
        }
    }
}
