//! Confinement on Linux: find an interpreter, plan its jail, start fork servers, run verifiers and programs in them.

mod command;
mod confined_function;
mod functions;
mod interpreter;
mod jail;
mod meter;
mod open;
mod packages;
mod pool;
mod program;
mod role;
mod script;
mod tester;
mod unconfined_function;
mod verifier;
mod wire;
mod zygote;

pub mod attack;

pub use confined_function::ConfinedFunction;
pub use packages::Packages;
pub use pool::Sandbox;
pub use program::{IoTest, Program, TestResults, Tests};
pub use script::{Run, Termination, run, run_in_turn};
pub use unconfined_function::UnconfinedFunction;
pub use verifier::{CallArguments, Verifier};
