//! `rlar sandbox`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::path::path;

#[derive(Subcommand)]
pub enum SandboxCommand {
    /// Show how untrusted code is confined on this machine.
    #[command(after_help = "Example:\n  rlar sandbox status")]
    Status,
    /// Run a Python program in the sandbox and report its end, time and memory.
    #[command(after_help = "Example:\n  rlar sandbox run program.py --input input.txt --seconds 5")]
    Run(SandboxRunArguments),
    /// Run the 81 built-in attacks on the sandbox and report what contained each.
    #[command(after_help = "Examples:\n  rlar sandbox attack\n  rlar sandbox attack --tier b")]
    Attack {
        /// The tier of confinement: `a` (namespaces, Landlock, seccomp, limits) or `b` (without namespaces); the
        /// strongest that the machine supports when absent.
        #[arg(long)]
        tier: Option<TierArgument>,
    },
}

/// A tier of confinement, as `--tier` takes it.
#[derive(Clone, Copy, ValueEnum)]
pub enum TierArgument {
    A,
    B,
}

#[derive(Args)]
pub struct SandboxRunArguments {
    /// The Python file.
    #[arg(value_parser = path())]
    pub file: PathBuf,
    /// A file to use as standard input; empty input when absent.
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub input: Option<PathBuf>,
    /// Time limit, in seconds.
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// Limit of the address space, in megabytes.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(64..=1 << 20))]
    pub megabytes: u64,
    /// The tier of confinement: `a` (namespaces, Landlock, seccomp, limits) or `b` (without namespaces); the strongest
    /// that the machine supports when absent.
    #[arg(long)]
    pub tier: Option<TierArgument>,
}
