//! The results of running untrusted code.

use std::fmt;
use std::time::Duration;

/// A callback that returns true once the caller wants no more verdicts; it is called from several threads.
pub type ShouldStop<'a> = &'a (dyn Fn() -> bool + Sync);

/// How strongly untrusted code is confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// Code is confined by namespaces with a private root, Landlock, seccomp and resource limits.
    A,
    /// Code is confined by Landlock, seccomp and resource limits only; for containers that forbid namespaces.
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
    /// Wall time of the call, of the test, or of the run of a whole program.
    pub wall: Duration,
    /// CPU time of all processes that took part; `None` if it could not be read.
    pub cpu: Option<Duration>,
    /// Peak resident memory of the process that ran the code, over all its calls so far, in bytes; `None` if it could
    /// not be read.
    pub peak_memory: Option<u64>,
    /// Size of the message in which the process sent the results, or of what the program printed, in bytes.
    pub bytes: u64,
}

/// One execution of untrusted code: its verdict, the resources that it used, and its confinement.
#[derive(Clone, Debug, PartialEq)]
pub struct Execution<V> {
    /// The result: [`Verdict`], [`TestVerdict`] or, for a whole program, its `Run`.
    pub verdict: V,
    /// The beginning of what a verifier's function printed in the call; empty for programs, whose `Run` has their
    /// output. It is the text of untrusted code.
    pub printed: String,
    /// Resources that the execution used.
    pub usage: Usage,
    /// Tier of the sandbox in which the code ran.
    pub tier: Tier,
}

impl<V> Execution<V> {
    /// An execution whose field `printed` is empty.
    pub(crate) fn new(verdict: V, usage: Usage, tier: Tier) -> Self {
        Self { verdict, printed: String::new(), usage, tier }
    }
}

/// The result of one call of a verifier.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The function returned this finite number.
    Score(f64),
    /// The function returned NaN, an infinity, or an integer of magnitude 2⁵³ or more; the text says which.
    NotFinite(String),
    /// The function returned neither a `float` nor an `int` (a `bool` is not a number); the text is the name of the
    /// value's type.
    NotANumber(String),
    /// The function raised an exception; the text holds its type and message.
    Raised(String),
    /// The function was not called, because [`ShouldStop`] had returned true before.
    Skipped,
    /// The function did not return a result within this time.
    TimeLimit(Duration),
    /// The process that ran the function ran out of memory.
    MemoryLimit,
    /// The reply was longer than [`SandboxLimits::output`](crate::SandboxLimits::output).
    OutputLimit,
    /// The process that ran the function ended, or the message with its result was malformed; the text says how.
    Crashed(String),
    /// The same call gave another result in a fresh process: the verifier is not a function of its arguments alone.
    Unrepeatable {
        /// The verdict in the process that serves many calls.
        first: Box<Verdict>,
        /// The verdict in the fresh process.
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

    /// Whether the same call might give another verdict at another time or on another machine, as after a limit or a
    /// crash.
    pub fn is_transient(&self) -> bool {
        !self.ran_to_completion()
    }

    /// Whether the function returned a value or raised an exception.
    pub(crate) fn ran_to_completion(&self) -> bool {
        matches!(self, Self::Score(_) | Self::NotFinite(_) | Self::NotANumber(_) | Self::Raised(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Score(score) => write!(f, "{score}"),
            Self::NotFinite(value) => write!(f, "{value}"),
            Self::NotANumber(kind) => write!(f, "a value of type {kind}"),
            Self::Raised(error) => write!(f, "the exception {error}"),
            Self::Skipped => write!(f, "no call"),
            Self::TimeLimit(limit) => write!(f, "no answer within {limit:?}"),
            Self::MemoryLimit => write!(f, "no answer for want of memory"),
            Self::OutputLimit => write!(f, "an answer that was too long"),
            Self::Crashed(how) => write!(f, "a crash: {how}"),
            Self::Unrepeatable { first, again } => {
                write!(f, "{first} at first and {again} for the same call in a fresh process")
            }
        }
    }
}

/// The result of one test of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestVerdict {
    /// The program passed the test.
    Passed,
    /// The program failed the test. For a test of input and output, the text is the first difference between the
    /// outputs. For a function test, it is the exception of the test with its message; if an assertion has no message,
    /// it is the assertion (unless this is the whole test) and the last call of the program with its result; empty if
    /// nothing is known.
    WrongAnswer(String),
    /// The program raised an exception, or ended with a non-zero exit code; the text says which.
    RuntimeError(String),
    /// The program needs what the sandbox refuses, and an exception because of it ended the test; the text says what,
    /// such as `threads are not allowed`.
    NotAllowed(String),
    /// The test used up this time: the wall time of one test or of all tests together, or the CPU time.
    TimeLimit(Duration),
    /// The program ran out of memory during the test.
    MemoryLimit,
    /// The reply or the output was longer than [`SandboxLimits::output`](crate::SandboxLimits::output).
    OutputLimit,
    /// The program's process ended during the test; the text says how.
    Crashed(String),
    /// The program's process broke the protocol, as an attempt to forge a verdict would; the text says how.
    Forged(String),
    /// A value cannot be sent between program and test as plain data, so the test is undecided; the text says which
    /// value.
    Unsupported(String),
}

impl fmt::Display for TestVerdict {
    /// Writes what happened in the test: "word 1 is `7`, not `8`", "failed with `ValueError: negative`".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::WrongAnswer(why) if why.is_empty() => f.write_str("failed"),
            Self::WrongAnswer(why) => f.write_str(why),
            Self::RuntimeError(what) => write!(f, "failed with {what}"),
            Self::NotAllowed(what) => write!(f, "ended because {what} in the sandbox"),
            Self::TimeLimit(limit) => write!(f, "no result within {limit:?}"),
            Self::MemoryLimit => f.write_str("ran out of memory"),
            Self::OutputLimit => f.write_str("wrote too much"),
            Self::Crashed(how) => write!(f, "crashed: {how}"),
            Self::Forged(how) => write!(f, "broke the protocol of the tests: {how}"),
            Self::Unsupported(what) => {
                write!(f, "cannot be decided, because {what} cannot be sent between the program and its tests")
            }
        }
    }
}

impl TestVerdict {
    /// Whether the same test might give another verdict at another time or on another machine: a limit or a crash.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::TimeLimit(_) | Self::MemoryLimit | Self::OutputLimit | Self::Crashed(_))
    }
}
