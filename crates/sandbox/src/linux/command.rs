//! Trusted programs of the machine, run within a deadline.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::linux::wire::readable;

/// What a program writes to `output`, and how it ended; `None` when it did not end in time and was killed.
pub fn finish(
    mut child: Child,
    mut output: impl Read + AsFd,
    patience: Duration,
) -> io::Result<Option<(ExitStatus, String)>> {
    let deadline = Instant::now() + patience;
    let left = || deadline.saturating_duration_since(Instant::now());
    let handle = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    let mut in_time = true;
    while in_time {
        in_time = readable(&output, left())?;
        if in_time {
            match output.read(&mut buffer)? {
                0 => break,
                n => said.extend_from_slice(&buffer[..n]),
            }
        }
    }
    // One that closes its output need not end.
    in_time = in_time && readable(&handle, left())?;
    if !in_time {
        child.kill()?;
    }
    let status = child.wait()?;
    Ok(in_time.then(|| (status, String::from_utf8_lossy(&said).into_owned())))
}
