//! Running trusted programs of the machine (Python, pip) with a deadline.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::linux::wire::readable;

/// Waits until a program ends, and returns its exit status and what it wrote to `output`. If the program does not end
/// within `patience`, kills it and returns `None`.
pub fn finish(
    mut child: Child,
    mut output: impl Read + AsFd,
    patience: Duration,
) -> io::Result<Option<(ExitStatus, String)>> {
    let deadline = Instant::now() + patience;
    let remaining = || deadline.saturating_duration_since(Instant::now());
    let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    let mut written = Vec::new();
    let mut buffer = [0; 4096];
    let mut in_time = true;
    while in_time {
        in_time = readable(&output, remaining())?;
        if in_time {
            match output.read(&mut buffer)? {
                0 => break,
                n => written.extend_from_slice(&buffer[..n]),
            }
        }
    }
    // A program can close its output without ending.
    in_time = in_time && readable(&pidfd, remaining())?;
    if !in_time {
        child.kill()?;
    }
    let status = child.wait()?;
    Ok(in_time.then(|| (status, String::from_utf8_lossy(&written).into_owned())))
}
