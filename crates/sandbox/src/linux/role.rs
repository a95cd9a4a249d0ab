//! The roles of jailed processes.

/// What a jailed process does; decides which system calls it may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessRole {
    /// Scores calls of a verifier. Untrusted.
    Verifier,
    /// Runs a whole program. Untrusted.
    Script,
    /// Holds the functions that tests call. Untrusted.
    Candidate,
    /// Runs the tests of programs. Trusted.
    Tester,
}

impl ProcessRole {
    /// All roles.
    pub const ALL: [Self; 4] = [Self::Verifier, Self::Script, Self::Candidate, Self::Tester];

    /// The role's name in the fork server's protocol.
    pub fn name(self) -> &'static str {
        match self {
            Self::Verifier => "verifier",
            Self::Script => "script",
            Self::Candidate => "candidate",
            Self::Tester => "tester",
        }
    }
}
