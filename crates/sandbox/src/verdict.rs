//! The results of running untrusted code.

use std::fmt;
use std::time::Duration;

/// A callback that returns true once the caller wants no more verdicts; it is called from several threads.
pub type ShouldStop<'a> = &'a (dyn Fn() -> bool + Sync);

/// How untrusted code is confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// Namespaces with a private root, Landlock, seccomp, resource limits.
    A,
    /// Landlock, seccomp, resource limits; for containers that forbid namespaces.
    B,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A (namespaces, Landlock, seccomp, limits)",
            Self::B => "B (Landlock, seccomp, limits)",
        })
    }
}

/// The resources that an execution used, as the kernel and rlar's clock measured them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Wall time from the request to the reply.
    pub wall: Duration,
    /// CPU time of all processes that took part; `None` if it could not be read.
    pub cpu: Option<Duration>,
    /// Peak resident memory of the process so far, in bytes; `None` if it could not be read.
    pub peak_memory: Option<u64>,
    /// Size of the reply or the output, in bytes.
    pub bytes: u64,
}

/// One execution of untrusted code: its verdict, the resources that it used, and its confinement.
#[derive(Clone, Debug, PartialEq)]
pub struct Execution<V> {
    /// The result: [`Verdict`], [`TestVerdict`] or, for a whole program, its `Run`.
    pub verdict: V,
    /// The resources that it used.
    pub usage: Usage,
    /// The confinement that was in force.
    pub tier: Tier,
}

/// The result of one call of a verifier.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// A finite number.
    Score(f64),
    /// NaN, an infinity, or an integer of magnitude 2⁵³ or more: its text.
    NotFinite(String),
    /// A value that is neither a `float` nor an `int`: the name of its type. A `bool` is not a number.
    NotANumber(String),
    /// The function raised an exception: its type and text.
    Raised(String),
    /// Not called, because [`ShouldStop`] returned true before.
    Skipped,
    /// No reply within this time.
    TimeLimit(Duration),
    /// The process ran out of memory.
    MemoryLimit,
    /// The reply was longer than the limit.
    OutputLimit,
    /// The process ended, or its reply was malformed: how.
    Crashed(String),
    /// The same call gave another result in a fresh process: the verifier is not a function of its arguments alone.
    Unrepeatable {
        /// The result in the process that serves many calls.
        first: Box<Verdict>,
        /// The result in the fresh process.
        again: Box<Verdict>,
    },
}

impl Verdict {
    /// Whether two verdicts on the same call are consistent with a deterministic function.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        // Limits and crashes depend on the load of the machine as well.
        if !(self.ran_to_completion() && other.ran_to_completion()) {
            return true;
        }
        match (self, other) {
            (Self::Score(a), Self::Score(b)) => a.total_cmp(b).is_eq(),
            // Messages of exceptions may contain memory addresses.
            (Self::Raised(_), Self::Raised(_)) => true,
            _ => self == other,
        }
    }

    /// Whether the same call might give another verdict at another time or on another machine, as after a limit or a crash.
    pub fn is_transient(&self) -> bool {
        !self.ran_to_completion()
    }

    /// Whether the function returned or raised.
    pub(crate) fn ran_to_completion(&self) -> bool {
        matches!(self, Self::Score(_) | Self::NotFinite(_) | Self::NotANumber(_) | Self::Raised(_))
    }
}

/// The result of one test of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestVerdict {
    /// The test passed.
    Passed,
    /// The test failed: its message, empty if it has none.
    WrongAnswer(String),
    /// The program raised an exception, or ended with a non-zero exit code: its message.
    RuntimeError(String),
    /// No reply within this time.
    TimeLimit(Duration),
    /// The program ran out of memory.
    MemoryLimit,
    /// The reply or the output was longer than the limit.
    OutputLimit,
    /// The program's process ended: how.
    Crashed(String),
    /// The program's process broke the protocol, as an attempt to forge a verdict would: how.
    Forged(String),
    /// A value cannot be sent between program and test as plain data, so the test is undecided: which value.
    Unsupported(String),
}

impl TestVerdict {
    /// Whether the same test might give another verdict at another time or on another machine: a limit or a crash.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::TimeLimit(_) | Self::MemoryLimit | Self::OutputLimit | Self::Crashed(_))
    }
}
