//! What jailed processes are for.

/// What a process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Verifier,
    Script,
    Candidate,
    Tester,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Verifier, Self::Script, Self::Candidate, Self::Tester];

    /// Its name in the fork server.
    pub fn name(self) -> &'static str {
        match self {
            Self::Verifier => "verifier",
            Self::Script => "script",
            Self::Candidate => "candidate",
            Self::Tester => "tester",
        }
    }
}
