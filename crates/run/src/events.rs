//! TensorBoard's event files, for scalars by step.
//!
//! A file is a sequence of `TFRecord`s (length, masked CRC-32C of the length, data, masked CRC-32C of the data), each
//! an `Event` of TensorFlow's `event.proto` in protocol buffers.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::RunError;
use crate::disk::Disk;
use crate::journal::{append, append_whole};

/// A TensorBoard event file that is open for appending.
#[derive(Debug)]
pub struct Events {
    path: PathBuf,
    file: File,
    disk: Disk,
}

impl Events {
    /// Creates an event file, replacing an existing one. `time`, in seconds since 1970, is the time of its first event.
    pub(crate) fn create(path: &Path, time: f64, disk: Disk) -> Result<Self, RunError> {
        File::create(path).map_err(RunError::io(path, "cannot create"))?;
        // Opened to append: after a failed write the file is cut back, and the next write must start at its new end.
        let mut events = Self { path: path.to_owned(), file: append(path)?, disk };
        events.append(&event(time, 0, &bytes_field(3, b"brain.Event:2")))?;
        Ok(events)
    }

    /// Writes the scalars of a step, each with its tag. `time` is in seconds since 1970.
    pub fn scalars(&mut self, step: u64, time: f64, scalars: &[(String, f64)]) -> Result<(), RunError> {
        let values = scalars.iter().flat_map(|(tag, x)| {
            let mut value = bytes_field(1, tag.as_bytes());
            value.push(2 << 3 | 5);
            value.extend((*x as f32).to_le_bytes());
            bytes_field(1, &value)
        });
        let summary: Vec<u8> = values.collect();
        self.append(&event(time, step, &bytes_field(5, &summary)))
    }

    /// Appends one `TFRecord` with these bytes as its data.
    fn append(&mut self, data: &[u8]) -> Result<(), RunError> {
        let length = (data.len() as u64).to_le_bytes();
        let parts = [length.as_slice(), &masked_crc(&length), data, &masked_crc(data)];
        append_whole(&mut self.file, &self.path, self.disk, &parts.concat())?;
        self.file.flush().map_err(RunError::io(&self.path, "cannot write"))
    }
}

/// An `Event` message: `wall_time` (field 1), `step` (field 2) and one more encoded field.
fn event(time: f64, step: u64, field: &[u8]) -> Vec<u8> {
    let mut event = vec![1 << 3 | 1];
    event.extend(time.to_le_bytes());
    event.push(2 << 3);
    event.extend(varint(step));
    event.extend(field);
    event
}

/// Encodes bytes as a length-delimited field of protocol buffers.
fn bytes_field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    field.extend(varint(bytes.len() as u64));
    field.extend(bytes);
    field
}

/// Encodes a number as a base-128 varint of protocol buffers.
fn varint(mut x: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while x >= 0x80 {
        bytes.push(x as u8 | 0x80);
        x >>= 7;
    }
    bytes.push(x as u8);
    bytes
}

/// The masked CRC-32C of TensorFlow's record format.
fn masked_crc(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}
