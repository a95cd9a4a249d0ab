//! What came of running untrusted code.

use std::fmt;
use std::time::Duration;

/// Says when no more verdicts are wanted.
pub type Over<'a> = &'a (dyn Fn() -> bool + Sync);

/// How untrusted code is confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// Namespaces with a root of their own, Landlock, seccomp, limits.
    A,
    /// Landlock, seccomp, limits: for containers that forbid namespaces.
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

/// What a run used, as the kernel and rlar's clock saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// From the question to the answer.
    pub wall: Duration,
    /// CPU time, of all processes that took part; `None` where it could not be read.
    pub cpu: Option<Duration>,
    /// Largest resident memory of the process so far, in bytes; `None` where it could not be read.
    pub peak_memory: Option<u64>,
    /// Bytes of the reply.
    pub bytes: u64,
}

/// A verdict, what it took, and what confined the code.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured<V> {
    /// What came of it.
    pub verdict: V,
    /// What it took.
    pub usage: Usage,
    /// What confined it.
    pub tier: Tier,
}

/// What came of one call of a verifier.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// A finite number.
    Score(f64),
    /// NaN, an infinity, or an integer beyond what a float holds exactly.
    NotFinite(String),
    /// Something else than a `float` or an `int`: the name of its type (a `bool` is not a number).
    NotANumber(String),
    /// An exception: its type and text.
    Raised(String),
    /// Not asked: the caller wanted no more verdicts by then.
    NotAsked,
    /// No answer before the deadline.
    TimeLimit(Duration),
    /// Out of memory.
    MemoryLimit,
    /// A reply beyond the limit.
    OutputLimit,
    /// The process ended by itself, or its reply was not one.
    Crashed(String),
    /// The same call in a fresh process gave something else: the verifier is not a function of its arguments.
    Unrepeatable {
        /// In the process that serves many calls.
        first: Box<Verdict>,
        /// In the fresh one.
        again: Box<Verdict>,
    },
}

impl Verdict {
    /// Whether two answers to the same call are the same, as far as a function can promise.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        // Limits and crashes depend on the moment, too.
        if !(self.is_an_answer() && other.is_an_answer()) {
            return true;
        }
        match (self, other) {
            (Self::Score(a), Self::Score(b)) => a.total_cmp(b).is_eq(),
            // Texts of exceptions may hold addresses.
            (Self::Raised(_), Self::Raised(_)) => true,
            _ => self == other,
        }
    }

    /// Whether another moment or another machine might have given another verdict: a limit or a crash.
    pub fn depends_on_the_moment(&self) -> bool {
        !self.is_an_answer()
    }

    pub(crate) fn is_an_answer(&self) -> bool {
        matches!(self, Self::Score(_) | Self::NotFinite(_) | Self::NotANumber(_) | Self::Raised(_))
    }
}

/// What came of one test of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestVerdict {
    /// It holds.
    Passed,
    /// It does not hold; why, where the test says so.
    WrongAnswer(String),
    /// The program raised an exception, or ended with a failure: its text.
    RuntimeError(String),
    /// No answer before the deadline.
    TimeLimit(Duration),
    /// Out of memory.
    MemoryLimit,
    /// Output beyond the limit.
    OutputLimit,
    /// The process ended by itself: how.
    Crashed(String),
    /// The program's process tried to speak for the test.
    Forged(String),
    /// A value cannot cross between program and test as plain data, so there is no verdict: which.
    Unsupported(String),
}

impl TestVerdict {
    /// Whether another moment or another machine might have given another verdict: a limit or a crash.
    pub fn depends_on_the_moment(&self) -> bool {
        matches!(self, Self::TimeLimit(_) | Self::MemoryLimit | Self::OutputLimit | Self::Crashed(_))
    }
}
