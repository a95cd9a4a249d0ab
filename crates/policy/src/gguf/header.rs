//! Reading the header of a GGUF file from front to back. Sizes and numbers that it announces are checked before memory
//! is taken for them.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use crate::error::PolicyError;
use crate::gguf::GgufValue;

/// Largest header, in bytes. Those of the largest vocabularies have some 20 million.
const LONGEST: u64 = 1 << 28;

/// Largest number of metadata values, elements of lists included, and tensors of a header. The largest vocabularies need
/// some 1.5 million. A value takes up to 32 bytes of memory, also where it takes a single one in the file.
const MOST_VALUES: u64 = 1 << 22;

/// Deepest nesting of lists.
const DEEPEST: u32 = 2;

/// Reads a header.
pub(super) struct HeaderReader<'a> {
    path: &'a Path,
    file: BufReader<File>,
    /// Number of bytes read so far.
    at: u64,
    /// Size of the file in bytes.
    size: u64,
    /// Number of values and tensors that the header may still announce.
    left: u64,
}

/// The type of a metadata value, by the number that the file gives it.
#[derive(Clone, Copy)]
pub(super) struct ValueType(u32);

impl ValueType {
    /// Number of bytes that a value of the type takes in the file at least; `None` for a number that is no type.
    fn least_bytes(self) -> Option<u64> {
        match self.0 {
            0 | 1 | 7 => Some(1),
            2 | 3 => Some(2),
            4..=6 => Some(4),
            // A text begins with its length.
            8 | 10..=12 => Some(8),
            // A list begins with the type and the number of its elements.
            9 => Some(12),
            _ => None,
        }
    }
}

impl<'a> HeaderReader<'a> {
    /// Opens a file, to read its header from the first byte.
    pub fn open(path: &'a Path) -> Result<Self, PolicyError> {
        let file = File::open(path).map_err(PolicyError::io(path))?;
        let size = file.metadata().map_err(PolicyError::io(path))?.len();
        Ok(Self { path, file: BufReader::new(file), at: 0, size, left: MOST_VALUES })
    }

    /// Number of bytes read so far.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Size of the file in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn wrong(&self, message: String) -> PolicyError {
        PolicyError::file(self.path, message)
    }

    /// Checks that the file has `n` more bytes, and counts them as read.
    fn advance(&mut self, n: u64) -> Result<(), PolicyError> {
        match self.at.checked_add(n) {
            Some(end) if end <= self.size.min(LONGEST) => {
                self.at = end;
                Ok(())
            }
            Some(end) if end <= self.size => {
                Err(self
                    .wrong(format!("its header has more than {LONGEST} bytes: it is damaged; fetch the file again")))
            }
            _ => Err(self.wrong("truncated in its header; fetch the file again".into())),
        }
    }

    /// Reads an array of bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], PolicyError> {
        self.advance(N as u64)?;
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes).map_err(PolicyError::io(self.path))?;
        Ok(bytes)
    }

    /// Reads an integer of 32 bits.
    pub fn u32(&mut self) -> Result<u32, PolicyError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Reads an integer of 64 bits.
    pub fn u64(&mut self) -> Result<u64, PolicyError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Reads a text: its length in bytes, and the text in UTF-8.
    pub fn text(&mut self) -> Result<String, PolicyError> {
        let n = self.u64()?;
        self.advance(n)?;
        let mut bytes = vec![0; n as usize];
        self.file.read_exact(&mut bytes).map_err(PolicyError::io(self.path))?;
        String::from_utf8(bytes).map_err(|_| self.wrong("its header has a text that is not UTF-8".into()))
    }

    /// Checks a number of values or tensors that the header announces: the rest of the file holds `n` of them, each of
    /// at least `least_bytes` bytes, and the header has not too many of them. `what` names them in errors.
    pub fn announced(&mut self, what: &str, n: u64, least_bytes: u64) -> Result<(), PolicyError> {
        if n.checked_mul(least_bytes).is_none_or(|bytes| bytes > self.size - self.at) {
            return Err(self.wrong(format!(
                "its header announces {n} {what}, more than the file can hold: it is damaged or truncated; fetch it again"
            )));
        }
        self.left = self.left.checked_sub(n).ok_or_else(|| {
            self.wrong(format!(
                "its header announces more than {MOST_VALUES} values and tensors: it is damaged; fetch it again"
            ))
        })?;
        Ok(())
    }

    /// Reads the type of a value.
    pub fn value_type(&mut self) -> Result<ValueType, PolicyError> {
        let kind = ValueType(self.u32()?);
        if kind.least_bytes().is_none() {
            return Err(self.wrong(format!("its header has a value of unknown type {}", kind.0)));
        }
        Ok(kind)
    }

    /// Reads a metadata value of a type.
    pub fn value(&mut self, kind: ValueType) -> Result<GgufValue, PolicyError> {
        self.nested_value(kind, 0)
    }

    /// Reads a value that lies in `depth` lists.
    fn nested_value(&mut self, kind: ValueType, depth: u32) -> Result<GgufValue, PolicyError> {
        Ok(match kind.0 {
            0 => GgufValue::Int(i64::from(self.array::<1>()?[0])),
            1 => GgufValue::Int(i64::from(self.array::<1>()?[0] as i8)),
            2 => GgufValue::Int(i64::from(u16::from_le_bytes(self.array()?))),
            3 => GgufValue::Int(i64::from(i16::from_le_bytes(self.array()?))),
            4 => GgufValue::Int(i64::from(self.u32()?)),
            5 => GgufValue::Int(i64::from(self.u32()? as i32)),
            6 => GgufValue::Float(f64::from(f32::from_le_bytes(self.array()?))),
            7 => GgufValue::Bool(self.array::<1>()?[0] != 0),
            8 => GgufValue::Text(self.text()?),
            9 if depth == DEEPEST => {
                return Err(self.wrong(format!("its header has lists that are nested more than {DEEPEST} deep")));
            }
            9 => {
                let (kind, n) = (self.value_type()?, self.u64()?);
                self.announced("values of a list", n, kind.least_bytes().unwrap_or(1))?;
                GgufValue::List((0..n).map(|_| self.nested_value(kind, depth + 1)).collect::<Result<_, _>>()?)
            }
            10 | 11 => GgufValue::Int(self.u64()? as i64),
            12 => GgufValue::Float(f64::from_le_bytes(self.array()?)),
            unknown => return Err(self.wrong(format!("its header has a value of unknown type {unknown}"))),
        })
    }
}
