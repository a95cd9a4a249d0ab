//! Frames between rlar and a jailed process: a length of four bytes, then JSON. Every wait has a deadline.

use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::Serialize;
use serde_json::Value;

/// Why there is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The time is over.
    Deadline,
    /// The frame says that it is longer than allowed.
    TooLong,
    /// The other end is gone.
    Closed,
    /// What came is not a frame.
    Garbled(&'static str),
}

/// One end of a connection.
#[derive(Debug)]
pub struct Wire {
    stream: UnixStream,
    /// The time-out that the socket has now.
    armed: Duration,
    /// What came and is not used yet.
    came: Vec<u8>,
    /// Length of the last frame.
    bytes: u64,
}

impl Wire {
    /// A connection over this socket.
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, armed: Duration::ZERO, came: Vec::new(), bytes: 0 }
    }

    /// The socket's time-outs are set anew only when they change: most frames come and go whole.
    fn arm(&mut self, wait: Duration) -> Result<(), Broken> {
        let wait = wait.max(Duration::from_micros(1));
        if self.armed != wait {
            let set = self.stream.set_read_timeout(Some(wait)).and(self.stream.set_write_timeout(Some(wait)));
            set.map_err(|_| Broken::Closed)?;
            self.armed = wait;
        }
        Ok(())
    }

    /// Sends one frame and waits for one, both within `wait`. More than one is not an answer.
    pub fn exchange(&mut self, message: &impl Serialize, wait: Duration, longest: usize) -> Result<Value, Broken> {
        let began = Instant::now();
        self.send(message, wait)?;
        let reply = self.receive(wait.checked_sub(began.elapsed()).ok_or(Broken::Deadline)?, wait, longest)?;
        if self.came.is_empty() { Ok(reply) } else { Err(Broken::Garbled("it wrote more than its reply")) }
    }

    /// Hands over a descriptor, with one byte that is no frame.
    pub fn hand_over(&mut self, descriptor: impl AsFd, wait: Duration) -> Result<(), Broken> {
        self.arm(wait)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [descriptor.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        let sent = sendmsg(&self.stream, &[IoSlice::new(b".")], &mut ancillary, SendFlags::NOSIGNAL);
        sent.map(|_| ()).map_err(|_| Broken::Closed)
    }

    /// Sends one frame.
    pub fn send(&mut self, message: &impl Serialize, wait: Duration) -> Result<(), Broken> {
        let began = Instant::now();
        let mut frame = vec![0; 4];
        serde_json::to_writer(&mut frame, message).map_err(|_| Broken::Garbled("the message is not JSON"))?;
        let length = (frame.len() - 4) as u32;
        frame[..4].copy_from_slice(&length.to_le_bytes());
        let mut sent = 0;
        self.arm(wait)?;
        while sent < frame.len() {
            match self.stream.write(&frame[sent..]) {
                Ok(n) => sent += n,
                Err(e) => ended(&e)?,
            }
            if sent < frame.len() {
                self.arm(wait.checked_sub(began.elapsed()).ok_or(Broken::Deadline)?)?;
            }
        }
        Ok(())
    }

    /// Waits for one frame, for `left` of the `wait` that the socket may be armed with already.
    fn receive(&mut self, left: Duration, wait: Duration, longest: usize) -> Result<Value, Broken> {
        let began = Instant::now();
        let mut buffer = [0; 16 << 10];
        self.bytes = 0;
        // A little less than what the socket has is not worth setting anew.
        let mut next = if left.saturating_mul(10) < wait.saturating_mul(9) { left } else { wait };
        loop {
            if let Some(header) = self.came.first_chunk::<4>() {
                let length = u32::from_le_bytes(*header) as usize;
                if length > longest {
                    return Err(Broken::TooLong);
                }
                if let Some(body) = self.came.get(4..4 + length) {
                    let reply = serde_json::from_slice(body).map_err(|_| Broken::Garbled("its reply is not JSON"));
                    self.came.drain(..4 + length);
                    self.bytes = length as u64;
                    return reply;
                }
            }
            self.arm(next)?;
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(Broken::Closed),
                Ok(n) => self.came.extend_from_slice(&buffer[..n]),
                Err(e) => ended(&e)?,
            }
            next = left.checked_sub(began.elapsed()).ok_or(Broken::Deadline)?;
        }
    }

    /// Waits for one frame that nothing was sent for.
    pub fn next(&mut self, wait: Duration, longest: usize) -> Result<Value, Broken> {
        self.receive(wait, wait, longest)
    }

    /// Bytes of the last frame.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn ended(error: &io::Error) -> Result<(), Broken> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Err(Broken::Deadline),
        _ => Err(Broken::Closed),
    }
}

/// Waits until something can be read, or its end; false when the time is over.
pub fn readable(from: &impl AsFd, wait: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + wait;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(from, PollFlags::IN)], Some(&left)) {
            Ok(n) => return Ok(n > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}
