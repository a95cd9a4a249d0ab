//! The protocol between rlar and a jailed process: frames of a four-byte little-endian length and JSON over a Unix
//! socket. Every wait has a deadline.

use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::Serialize;
use serde_json::Value;

/// Why a frame could not be sent or received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The deadline passed before the whole frame was sent or received.
    Deadline,
    /// The header of the frame announces more bytes than are allowed.
    TooLong,
    /// The other end of the connection is closed, or the socket failed.
    Closed,
    /// The bytes received are not a frame of JSON, or the frame is not the expected reply; the text says what is wrong.
    Malformed(&'static str),
}

/// rlar's end of a connection to a jailed process.
#[derive(Debug)]
pub struct Wire {
    stream: UnixStream,
    /// The time-out that is set on the socket now.
    timeout: Duration,
    /// Bytes that were received and have not been read as a frame yet.
    received: Vec<u8>,
    /// Length of the last frame received, in bytes, without the header.
    bytes: u64,
}

impl Wire {
    /// Makes a connection over this socket.
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, timeout: Duration::ZERO, received: Vec::new(), bytes: 0 }
    }

    /// Sets the socket's time-outs unless they have this value already, which saves two system calls for most frames.
    fn set_timeout(&mut self, wait: Duration) -> Result<(), WireError> {
        let wait = wait.max(Duration::from_micros(1));
        if self.timeout != wait {
            let set = self.stream.set_read_timeout(Some(wait)).and(self.stream.set_write_timeout(Some(wait)));
            set.map_err(|_| WireError::Closed)?;
            self.timeout = wait;
        }
        Ok(())
    }

    /// Sends one frame and waits for the reply of at most `longest` bytes, both within `wait`. Further bytes after the
    /// reply are an error.
    pub fn exchange(&mut self, message: &impl Serialize, wait: Duration, longest: usize) -> Result<Value, WireError> {
        let began = Instant::now();
        self.send(message, wait)?;
        let reply = self.receive(wait.checked_sub(began.elapsed()).ok_or(WireError::Deadline)?, wait, longest)?;
        if self.received.is_empty() { Ok(reply) } else { Err(WireError::Malformed("it wrote more than its reply")) }
    }

    /// Sends a file descriptor, with a single byte that belongs to no frame.
    pub fn send_descriptor(&mut self, descriptor: impl AsFd, wait: Duration) -> Result<(), WireError> {
        self.set_timeout(wait)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [descriptor.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        let sent = sendmsg(&self.stream, &[IoSlice::new(b".")], &mut ancillary, SendFlags::NOSIGNAL);
        sent.map(|_| ()).map_err(|_| WireError::Closed)
    }

    /// Sends one frame within `wait`.
    pub fn send(&mut self, message: &impl Serialize, wait: Duration) -> Result<(), WireError> {
        let began = Instant::now();
        let mut frame = vec![0; 4];
        serde_json::to_writer(&mut frame, message).map_err(|_| WireError::Malformed("the message is not JSON"))?;
        let length = (frame.len() - 4) as u32;
        frame[..4].copy_from_slice(&length.to_le_bytes());
        let mut sent = 0;
        self.set_timeout(wait)?;
        while sent < frame.len() {
            match self.stream.write(&frame[sent..]) {
                Ok(n) => sent += n,
                Err(e) => classify(&e)?,
            }
            if sent < frame.len() {
                self.set_timeout(wait.checked_sub(began.elapsed()).ok_or(WireError::Deadline)?)?;
            }
        }
        Ok(())
    }

    /// Waits for one frame of at most `longest` bytes during `remaining`, the part of `wait` that is left. Where the
    /// two are almost equal, the socket's time-out is `wait`: it may be set already, which saves system calls.
    fn receive(&mut self, remaining: Duration, wait: Duration, longest: usize) -> Result<Value, WireError> {
        let began = Instant::now();
        let mut buffer = [0; 16 << 10];
        self.bytes = 0;
        // A time-out that is at most a tenth too long is left as it is.
        let mut timeout = if remaining.saturating_mul(10) < wait.saturating_mul(9) { remaining } else { wait };
        loop {
            if let Some(header) = self.received.first_chunk::<4>() {
                let length = u32::from_le_bytes(*header) as usize;
                if length > longest {
                    return Err(WireError::TooLong);
                }
                if let Some(body) = self.received.get(4..4 + length) {
                    let reply = serde_json::from_slice(body).map_err(|_| WireError::Malformed("its reply is not JSON"));
                    self.received.drain(..4 + length);
                    self.bytes = length as u64;
                    return reply;
                }
            }
            self.set_timeout(timeout)?;
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(WireError::Closed),
                Ok(n) => self.received.extend_from_slice(&buffer[..n]),
                Err(e) => classify(&e)?,
            }
            timeout = remaining.checked_sub(began.elapsed()).ok_or(WireError::Deadline)?;
        }
    }

    /// Waits, for at most `wait`, for one frame of at most `longest` bytes.
    pub fn next(&mut self, wait: Duration, longest: usize) -> Result<Value, WireError> {
        self.receive(wait, wait, longest)
    }

    /// Length of the last frame received, in bytes, without the header.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// What an I/O error means for the connection; `Ok` means that the operation is to be tried again.
fn classify(error: &io::Error) -> Result<(), WireError> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Err(WireError::Deadline),
        _ => Err(WireError::Closed),
    }
}

/// Waits until a descriptor is readable or closed; returns false if that did not happen within `wait`.
pub fn readable(from: &impl AsFd, wait: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + wait;
    loop {
        let remaining = deadline.saturating_duration_since(Instant::now());
        let remaining = Timespec { tv_sec: remaining.as_secs() as i64, tv_nsec: i64::from(remaining.subsec_nanos()) };
        match poll(&mut [PollFd::new(from, PollFlags::IN)], Some(&remaining)) {
            Ok(n) => return Ok(n > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}
