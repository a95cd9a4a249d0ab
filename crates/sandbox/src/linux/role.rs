//! The roles of jailed processes.

/// What a jailed process does, which decides the system calls that it may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessRole {
    /// The process runs a verifier, an untrusted scoring function.
    Verifier,
    /// The process runs a whole program, which is untrusted.
    Script,
    /// The process holds a program's untrusted functions, which the tests call.
    Candidate,
    /// The process runs the tests of programs; the tests are trusted.
    Tester,
}

impl ProcessRole {
    /// All roles of jailed processes.
    pub const ALL: [Self; 4] = [Self::Verifier, Self::Script, Self::Candidate, Self::Tester];

    /// Name of the role in messages to the fork server.
    pub fn name(self) -> &'static str {
        match self {
            Self::Verifier => "verifier",
            Self::Script => "script",
            Self::Candidate => "candidate",
            Self::Tester => "tester",
        }
    }
}
