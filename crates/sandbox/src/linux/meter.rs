//! What a living process has used so far.
#![allow(unsafe_code)]

use std::time::Duration;

use crate::linux::zygote::Process;

/// Reads one process's CPU clock and memory.
#[derive(Debug)]
pub struct Meter {
    pid: Option<i32>,
    last: Option<Duration>,
}

impl Meter {
    /// For this process.
    pub fn of(process: &Process) -> Self {
        let mut meter = Self { pid: process.number(), last: None };
        meter.lap();
        meter
    }

    /// CPU time since the last lap.
    pub fn lap(&mut self) -> Option<Duration> {
        let now = self.pid.and_then(cpu);
        let since = now.zip(self.last).map(|(now, last)| now.saturating_sub(last));
        self.last = now;
        since
    }

    /// CPU time at the last lap.
    pub fn last(&self) -> Option<Duration> {
        self.last
    }

    /// Largest resident memory so far, in bytes.
    pub fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid?)).ok()?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
    }
}

/// The CPU clock of a process (`clock_getcpuclockid(3)`: the number is made from the process's).
fn cpu(pid: i32) -> Option<Duration> {
    const SCHEDULED: libc::clockid_t = 2;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call.
    let r = unsafe { libc::clock_gettime((!pid << 3) | SCHEDULED, &raw mut time) };
    (r == 0).then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}
