//! CPU time and memory of a running process.
#![allow(unsafe_code)]

use std::time::Duration;

use crate::linux::zygote::Process;

/// Reads the CPU clock and the memory of one process.
#[derive(Debug)]
pub struct Meter {
    /// PID of the process; `None` if it had ended before the measurement began.
    pid: Option<i32>,
    /// The process's CPU clock when it was last read; `None` if it could not be read.
    last: Option<Duration>,
}

impl Meter {
    /// Starts to measure a process.
    pub fn new(process: &Process) -> Self {
        let mut meter = Self { pid: process.pid(), last: None };
        meter.lap();
        meter
    }

    /// CPU time of the process since the last call of this function, or since [`Meter::new`]; `None` if it could not be
    /// read.
    pub fn lap(&mut self) -> Option<Duration> {
        let now = self.pid.and_then(cpu);
        let since = now.zip(self.last).map(|(now, last)| now.saturating_sub(last));
        self.last = now;
        since
    }

    /// CPU time of the process, since its start, at the last call of [`Meter::lap`]; `None` if it could not be read.
    pub fn last(&self) -> Option<Duration> {
        self.last
    }

    /// Peak resident memory of the process so far, in bytes; `None` if it could not be read.
    pub fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid?)).ok()?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
    }
}

/// The CPU clock of a process; `None` if it cannot be read. The id of the clock is computed from the PID as
/// `clock_getcpuclockid(3)` does.
fn cpu(pid: i32) -> Option<Duration> {
    /// The kernel's `CPUCLOCK_SCHED`: the type of clock that counts all CPU time.
    const SCHEDULED: libc::clockid_t = 2;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call.
    let r = unsafe { libc::clock_gettime((!pid << 3) | SCHEDULED, &raw mut time) };
    (r == 0).then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}
