//! The tester: a trusted process that runs the tests of many programs, one program after the other.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use crate::SandboxError;
use crate::error::refused;
use crate::linux::meter::Meter;
use crate::linux::wire::Wire;
use crate::linux::zygote::Process;

/// Number of programs that a tester serves before it is replaced.
const PROGRAMS: usize = 1000;

/// A running tester (the trusted process that runs function tests) and rlar's connection to it.
#[derive(Debug)]
pub struct Tester {
    pub process: Process,
    pub wire: Wire,
    pub meter: Meter,
    programs: usize,
}

impl Tester {
    /// Starts a tester. `fork` gets the other end of the connection, and must fork the tester's process with this
    /// descriptor.
    pub fn start(fork: impl FnOnce(BorrowedFd) -> Result<Process, SandboxError>) -> Result<Self, SandboxError> {
        let (ours, theirs) = UnixStream::pair().map_err(refused)?;
        let process = fork(theirs.as_fd())?;
        let meter = Meter::new(&process);
        Ok(Self { process, wire: Wire::new(ours), meter, programs: 0 })
    }

    /// Counts a program whose tests the tester ran without incident. `None` if the tester has served [`PROGRAMS`]
    /// programs and is to be replaced.
    pub fn served(mut self) -> Option<Self> {
        self.programs += 1;
        (self.programs < PROGRAMS).then_some(self)
    }
}
