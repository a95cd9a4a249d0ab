//! CPU time and memory of a running process.
#![allow(unsafe_code)]

use std::time::Duration;

use crate::linux::zygote::Process;

/// Reads the CPU clock and the memory of one process.
#[derive(Debug)]
pub struct Meter {
    /// `None` if the process has ended already.
    pid: Option<i32>,
    /// The CPU clock at the last lap; `None` if it could not be read.
    last: Option<Duration>,
}

impl Meter {
    /// Starts measuring a process.
    pub fn new(process: &Process) -> Self {
        let mut meter = Self { pid: process.pid(), last: None };
        meter.lap();
        meter
    }

    /// CPU time since the last lap, or since [`Meter::new`]; `None` if it could not be read.
    pub fn lap(&mut self) -> Option<Duration> {
        let now = self.pid.and_then(cpu);
        let since = now.zip(self.last).map(|(now, last)| now.saturating_sub(last));
        self.last = now;
        since
    }

    /// CPU time of the process at the last lap.
    pub fn last(&self) -> Option<Duration> {
        self.last
    }

    /// Peak resident memory so far, in bytes; `None` if it could not be read.
    pub fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid?)).ok()?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
    }
}

/// The CPU clock of a process. Its clock id is computed from the PID as `clock_getcpuclockid(3)` does.
fn cpu(pid: i32) -> Option<Duration> {
    /// The kernel's `CPUCLOCK_SCHED`.
    const SCHEDULED: libc::clockid_t = 2;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call.
    let r = unsafe { libc::clock_gettime((!pid << 3) | SCHEDULED, &raw mut time) };
    (r == 0).then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}
