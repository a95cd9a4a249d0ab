//! The folder of a run. A kill at any instant loses nothing that is already in it.
//!
//! - [`RunFolder`] locks the folder and knows the names in it.
//! - [`write_atomic`] writes a whole file or nothing; [`Disk`] says how long a write waits for room on a full disk.
//! - [`Journal`] records the inputs of a step that cannot be computed again, such as sampled replies, so that a resumed
//!   run repeats the step exactly.
//! - [`Records`] are append-only JSONL files, which a resume cuts back to its checkpoint.
//! - [`Checkpoints`] are folders that appear complete or not at all, with the hash of every file.
//! - [`ProcessEnvironment`] is what a process of a run computes on: build, system, machine.
//! - [`Events`] are TensorBoard's event files.
//! - [`percent`] writes shares for people.
//! - [`OutputMode`] is how a command shows what it does; [`Progress`] is a progress bar, and [`Activity`] is what is going
//!   on within a step.
//!
//! ```
//! use rlar_run::{Disk, RunError, RunFolder};
//!
//! # let folder = std::env::temp_dir().join(format!("rlar-run-doctest-{}", std::process::id()));
//! let run = RunFolder::open(&folder, false, Disk::default())?;
//! let mut journal = run.journal(0)?;
//! let draw = journal.once(1, "draw", || Ok::<_, RunError>(0.25))?;
//! drop(journal);
//!
//! // After a kill, the recorded value comes back instead of a new one.
//! let mut journal = run.journal(0)?;
//! assert_eq!(journal.once(1, "draw", || Ok::<_, RunError>(0.75))?, draw);
//! # std::fs::remove_dir_all(&folder).ok();
//! # Ok::<(), RunError>(())
//! ```

mod error;

mod activity;
mod atomic;
mod disk;

mod checkpoints;
mod environment;
mod events;
mod folder;
mod hash;
mod journal;
mod percent;
mod progress;
mod records;
mod terminal;

pub use activity::{Activity, OngoingWork};
pub use atomic::{sync_or_rewrite, write_atomic};
pub use checkpoints::{Checkpoint, Checkpoints, Files};
pub use disk::Disk;
pub use environment::{Build, Computation, ENVIRONMENT, ProcessEnvironment};
pub use error::RunError;
pub use events::Events;
pub use folder::{JOURNAL, RunFolder};
pub use hash::{StreamedHash, fingerprint, hash_files, sha256};
pub use journal::Journal;
pub use percent::percent;
pub use progress::Progress;
pub use records::Records;
pub use terminal::{COLUMNS, OutputMode, StandardError, above_bar, fill, shortened, wrap};
