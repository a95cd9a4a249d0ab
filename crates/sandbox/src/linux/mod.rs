//! Confinement on Linux: find an interpreter, plan its jail, start fork servers, run verifiers and programs in them.

mod command;
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
mod verifier;
mod wire;
mod zygote;

pub mod attack;

pub use packages::Packages;
pub use pool::Sandbox;
pub use program::{IoTest, Program, TestResults, Tests};
pub use script::{Run, Termination, run};
pub use verifier::{CallArguments, Verifier};
