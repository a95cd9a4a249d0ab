//! Runs untrusted Python and returns typed verdicts.
//!
//! [`Sandbox::open`] finds an interpreter and the strongest confinement that this kernel enforces (a [`Tier`]), or
//! refuses: untrusted code never runs unconfined. A sandbox has one fork server per core: a Python interpreter that is
//! already running and forks a fresh process when one is needed. Three kinds of code run in a sandbox:
//!
//! - A [`Verifier`] is a function that scores. Many calls share a process; [`Verifier::strict`] gives each call its
//!   own.
//! - A [`ConfinedFunction`] is a user's reward function, which gets the replies of a group in one call. An
//!   [`UnconfinedFunction`] is the same outside the sandbox, for functions that the user trusts.
//! - A [`Program`] is judged by tests that it cannot see, because they run in another process.
//!
//! Verifiers and reward functions can import the module `rlar_tools`, whose functions [`building_blocks()`] lists.
//!
//! Every result is an [`Execution`]: a verdict from a closed set, the resources used and the tier. Code that exceeds a
//! limit of [`SandboxLimits`] loses its process and affects no other call. `docs/explanation/sandbox.md` says what protects
//! against what.
//!
//! ```
//! # #[cfg(target_os = "linux")]
//! # fn main() -> Result<(), rlar_sandbox::SandboxError> {
//! use rlar_sandbox::{Sandbox, SandboxLimits, Verdict, Verifier};
//!
//! let sandbox = Sandbox::open()?;
//! let source = "def length(text):\n    return len(text) / 100\n";
//! let verifier = Verifier::start(&sandbox, source, "length", SandboxLimits::default())?;
//! let executions = verifier.score(&[vec!["A reply of 25 characters.".to_owned()]])?;
//! assert_eq!(executions[0].verdict, Verdict::Score(0.25));
//! # Ok(())
//! # }
//! # #[cfg(not(target_os = "linux"))]
//! # fn main() {}
//! ```

mod error;
mod limits;
mod building_blocks;
mod reward_function;
mod verdict;

mod compare;
mod decimals;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other_systems;

pub use building_blocks::{BUILDING_BLOCKS, BuildingBlock, building_blocks, uses_building_blocks};
pub use compare::Comparison;
pub use error::SandboxError;
pub use limits::SandboxLimits;
#[cfg(target_os = "linux")]
pub use linux::{
    CallArguments, ConfinedFunction, IoTest, Packages, Program, Run, Sandbox, Termination, TestResults, Tests,
    UnconfinedFunction, Verifier, attack, run, run_in_turn,
};
#[cfg(not(target_os = "linux"))]
pub use other_systems::{CallArguments, ConfinedFunction, Packages, Sandbox, UnconfinedFunction, Verifier};
pub use reward_function::{FunctionForm, FunctionSource, GroupCall, GroupResult, GroupVerdict, ReplyResult};
pub use verdict::{Execution, ShouldStop, TestVerdict, Tier, Usage, Verdict};
