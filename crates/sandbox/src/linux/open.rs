//! Opening the best sandbox that this machine allows.

use crate::error::refused;
use crate::linux::interpreter::Interpreter;
use crate::linux::pool::Sandbox;
use crate::linux::verifier::Verifier;
use crate::linux::zygote;
use crate::verdict::{Tier, Verdict};
use crate::{SandboxError, SandboxLimits};

impl Sandbox {
    /// Opens a sandbox of the strongest tier that works on this machine; one harmless call proves that it works. Fails
    /// with [`SandboxError::Refused`] if no tier works.
    pub fn open() -> Result<Self, SandboxError> {
        match Self::open_tier(Tier::A) {
            Ok(sandbox) => Ok(sandbox),
            Err(why) => Self::open_as(Tier::B, false, Some(why.to_string())),
        }
    }

    /// Opens a sandbox of this tier. Fails with [`SandboxError::Refused`] if it does not work on this machine.
    pub fn open_tier(tier: Tier) -> Result<Self, SandboxError> {
        let is_root = rustix::process::geteuid().is_root();
        match Self::open_as(tier, is_root, None) {
            // In a container, root may lack root's capabilities; a user namespace may still work.
            Err(_) if is_root && tier == Tier::A => Self::open_as(tier, false, None),
            opened => opened,
        }
    }

    /// Plans a sandbox and scores one harmless call in it. `as_root`: see [`Jail::plan`](super::jail::Jail::plan).
    /// `why_not_better` says why tier A does not work.
    fn open_as(tier: Tier, as_root: bool, why_not_better: Option<String>) -> Result<Self, SandboxError> {
        let sandbox = Self::plan(Interpreter::find(zygote::CODE)?, tier, as_root, None, why_not_better)?;
        // The kernel may still refuse what was planned; one harmless call proves that it does not.
        let verifier = Verifier::start(&sandbox, "def f(x):\n    return 1.0\n", "f", SandboxLimits::default());
        match verifier.and_then(|v| v.score(&[vec![String::new()]])) {
            Ok(scores) if matches!(scores[..], [ref s] if s.verdict == Verdict::Score(1.0)) => Ok(sandbox),
            Ok(other) => Err(refused(format!("a trial call in the sandbox gave {other:?} instead of the score 1"))),
            Err(SandboxError::Load(why)) => Err(refused(format!("a harmless verifier does not start in it: {why}"))),
            Err(e) => Err(e),
        }
    }
}
