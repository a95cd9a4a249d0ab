//! The GGUF container format: header, metadata, and tensors, which are dequantised to `f32` or stay in their blocks.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rlar_quant::{BlockType, QuantisedMatrix, SharedBytes};

use crate::error::PolicyError;
use crate::gguf::tensor_type::TensorType;

/// A value of a GGUF file's metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum GgufValue {
    /// An integer, which the file stores in 8 to 64 bits.
    Int(i64),
    /// A float, which the file stores in 32 or 64 bits.
    Float(f64),
    /// A boolean value, true or false.
    Bool(bool),
    /// A text in UTF-8.
    Text(String),
    /// A list of metadata values.
    List(Vec<GgufValue>),
}

/// What the header says about a tensor.
struct TensorInfo {
    /// Shape of the tensor, with the slowest dimension first (row order).
    shape: Vec<usize>,
    /// ggml's number of the tensor's type, which [`TensorType::of`] looks up.
    kind: u32,
    /// Byte at which the tensor starts, counted from the start of the data section.
    offset: u64,
}

/// What the type and the shape of a tensor say about its bytes.
struct TensorExtent {
    tensor_type: TensorType,
    /// Number of bytes of the whole tensor.
    bytes: usize,
}

/// A GGUF file. Its header was read and checked against the file's size.
pub struct Gguf {
    path: PathBuf,
    metadata: BTreeMap<String, GgufValue>,
    tensors: BTreeMap<String, TensorInfo>,
    /// Byte of the file at which the data section starts.
    data: u64,
}

/// Reads the header of a file from front to back, and refuses lengths that the file cannot hold.
struct HeaderReader<'a> {
    path: &'a Path,
    file: BufReader<File>,
    /// Number of bytes read so far.
    at: u64,
    /// Size of the file in bytes.
    size: u64,
}

impl HeaderReader<'_> {
    fn bytes(&mut self, n: u64) -> Result<Vec<u8>, PolicyError> {
        if self.at.checked_add(n).is_none_or(|end| end > self.size) {
            return Err(PolicyError::file(self.path, "truncated in its header; fetch the file again"));
        }
        let mut buffer = vec![0; n as usize];
        self.file.read_exact(&mut buffer).map_err(PolicyError::io(self.path))?;
        self.at += n;
        Ok(buffer)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PolicyError> {
        let bytes = self.bytes(N as u64)?;
        let mut out = [0; N];
        out.copy_from_slice(&bytes);
        Ok(out)
    }

    fn u32(&mut self) -> Result<u32, PolicyError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, PolicyError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<String, PolicyError> {
        let n = self.u64()?;
        let bytes = self.bytes(n)?;
        String::from_utf8(bytes).map_err(|_| PolicyError::file(self.path, "its header has a text that is not UTF-8"))
    }

    fn value(&mut self, kind: u32, depth: u32) -> Result<GgufValue, PolicyError> {
        Ok(match kind {
            0 => GgufValue::Int(i64::from(self.array::<1>()?[0])),
            1 => GgufValue::Int(i64::from(self.array::<1>()?[0] as i8)),
            2 => GgufValue::Int(i64::from(u16::from_le_bytes(self.array()?))),
            3 => GgufValue::Int(i64::from(i16::from_le_bytes(self.array()?))),
            4 => GgufValue::Int(i64::from(self.u32()?)),
            5 => GgufValue::Int(i64::from(self.u32()? as i32)),
            6 => GgufValue::Float(f64::from(f32::from_le_bytes(self.array()?))),
            7 => GgufValue::Bool(self.array::<1>()?[0] != 0),
            8 => GgufValue::Text(self.text()?),
            9 if depth < 2 => {
                let (kind, n) = (self.u32()?, self.u64()?);
                if n > self.size {
                    return Err(PolicyError::file(
                        self.path,
                        "its header announces more values than the file can hold",
                    ));
                }
                GgufValue::List((0..n).map(|_| self.value(kind, depth + 1)).collect::<Result<_, _>>()?)
            }
            10 | 11 => GgufValue::Int(self.u64()? as i64),
            12 => GgufValue::Float(f64::from_le_bytes(self.array()?)),
            _ => return Err(PolicyError::file(self.path, format!("its header has a value of unknown type {kind}"))),
        })
    }
}

impl Gguf {
    /// Opens a file: reads its header and checks it against the file's size.
    pub fn open(path: &Path) -> Result<Self, PolicyError> {
        let file = File::open(path).map_err(PolicyError::io(path))?;
        let size = file.metadata().map_err(PolicyError::io(path))?.len();
        let mut h = HeaderReader { path, file: BufReader::new(file), at: 0, size };
        if h.bytes(4)? != b"GGUF" {
            return Err(PolicyError::file(path, "not a GGUF file (its first four bytes are not `GGUF`)"));
        }
        let version = h.u32()?;
        if !(2..=3).contains(&version) {
            return Err(PolicyError::file(path, format!("GGUF version {version} is not supported; supported: 2, 3")));
        }
        let (tensor_count, value_count) = (h.u64()?, h.u64()?);
        let mut metadata = BTreeMap::new();
        for _ in 0..value_count {
            let key = h.text()?;
            let kind = h.u32()?;
            let value = h.value(kind, 0)?;
            metadata.insert(key, value);
        }
        let mut tensors = BTreeMap::new();
        for _ in 0..tensor_count {
            let name = h.text()?;
            let rank = h.u32()?;
            if rank > 4 {
                return Err(PolicyError::tensor(path, &name, format!("has {rank} dimensions; at most 4 are possible")));
            }
            // The file lists the fastest dimension first.
            let mut shape = (0..rank).map(|_| Ok(h.u64()? as usize)).collect::<Result<Vec<_>, PolicyError>>()?;
            shape.reverse();
            let (kind, offset) = (h.u32()?, h.u64()?);
            tensors.insert(name, TensorInfo { shape, kind, offset });
        }
        let align = match metadata.get("general.alignment") {
            Some(GgufValue::Int(n)) if *n > 0 => *n as u64,
            _ => 32,
        };
        let gguf = Self { path: path.to_owned(), metadata, tensors, data: h.at.div_ceil(align) * align };
        for (name, entry) in &gguf.tensors {
            let bytes = gguf.extent(name, entry)?.bytes;
            let end = gguf.data.checked_add(entry.offset).and_then(|at| at.checked_add(bytes as u64));
            if end.is_none_or(|end| end > size) {
                let message = format!("ends beyond the file's {size} bytes: the file is truncated; fetch it again");
                return Err(PolicyError::tensor(path, name, message));
            }
        }
        Ok(gguf)
    }

    /// The type of a tensor, and its number of bytes.
    fn extent(&self, name: &str, entry: &TensorInfo) -> Result<TensorExtent, PolicyError> {
        let wrong = |message: String| PolicyError::tensor(&self.path, name, message);
        let Some(tensor_type) = TensorType::of(entry.kind) else {
            return Err(wrong(format!("has type {}; supported: {}", entry.kind, TensorType::names())));
        };
        let values = entry.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let blocks = values.filter(|n| n.is_multiple_of(tensor_type.block_values()));
        let bytes = blocks.and_then(|n| (n / tensor_type.block_values()).checked_mul(tensor_type.block_bytes()));
        match bytes {
            Some(bytes) => Ok(TensorExtent { tensor_type, bytes }),
            None => Err(wrong(format!("has impossible shape {:?}", entry.shape))),
        }
    }

    /// The names of all tensors of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Reads a tensor: its values in the order of the file, and its shape with the slowest dimension first.
    pub fn tensor(&self, name: &str) -> Result<(Vec<f32>, Vec<usize>), PolicyError> {
        let entry = self.entry(name)?;
        let tensor_type = self.extent(name, entry)?.tensor_type;
        let values = tensor_type.values(&self.bytes(name, entry)?);
        let values = values.map_err(|e| PolicyError::tensor(&self.path, name, e.to_string()))?;
        Ok((values, entry.shape.clone()))
    }

    /// Reads a matrix as the quantised blocks that the file stores, with the rows in the order of the file; `None` for
    /// a tensor that is no matrix of such blocks.
    pub fn quantised(&self, name: &str) -> Result<Option<QuantisedMatrix>, PolicyError> {
        let entry = self.entry(name)?;
        let (Ok(block_type), &[rows, columns]) = (BlockType::from_number(entry.kind), entry.shape.as_slice()) else {
            return Ok(None);
        };
        if block_type.row_bytes(columns).is_err() {
            return Ok(None);
        }
        let bytes = SharedBytes::from(self.bytes(name, entry)?);
        let matrix = QuantisedMatrix::new(block_type, rows, columns, bytes);
        matrix.map(Some).map_err(|e| PolicyError::tensor(&self.path, name, e.to_string()))
    }

    fn entry(&self, name: &str) -> Result<&TensorInfo, PolicyError> {
        self.tensors.get(name).ok_or_else(|| PolicyError::tensor(&self.path, name, "is missing from the file"))
    }

    /// Reads the bytes of a tensor.
    fn bytes(&self, name: &str, entry: &TensorInfo) -> Result<Vec<u8>, PolicyError> {
        let n = self.extent(name, entry)?.bytes;
        let mut file = File::open(&self.path).map_err(PolicyError::io(&self.path))?;
        let mut bytes = vec![0; n];
        file.seek(SeekFrom::Start(self.data + entry.offset)).map_err(PolicyError::io(&self.path))?;
        file.read_exact(&mut bytes).map_err(PolicyError::io(&self.path))?;
        Ok(bytes)
    }

    /// Whether the file holds a tensor with this name.
    pub(crate) fn has_tensor(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Shape of a tensor with the slowest dimension first; `None` where the file has no such tensor.
    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|t| t.shape.as_slice())
    }

    /// Path of the GGUF file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a metadata value; `None` where the file has no such key.
    pub fn get(&self, key: &str) -> Option<&GgufValue> {
        self.metadata.get(key)
    }

    fn missing(&self, key: &str) -> PolicyError {
        PolicyError::file(&self.path, format!("metadata `{key}` is missing or of another type"))
    }

    /// Reads a metadata value that is an integer from 0 up. A missing key or a value of another type is an error.
    pub(super) fn size(&self, key: &str) -> Result<usize, PolicyError> {
        match self.get(key) {
            Some(GgufValue::Int(n)) if *n >= 0 => Ok(*n as usize),
            _ => Err(self.missing(key)),
        }
    }

    /// Reads a metadata value with `read`; `None` where the key is missing. A value of another type is an error.
    pub(super) fn optional<T>(
        &self,
        key: &str,
        read: impl Fn(&Self, &str) -> Result<T, PolicyError>,
    ) -> Result<Option<T>, PolicyError> {
        self.get(key).map(|_| read(self, key)).transpose()
    }

    /// Reads a metadata value that is a finite float. A missing key or a value of another type is an error.
    pub(super) fn float(&self, key: &str) -> Result<f64, PolicyError> {
        match self.get(key) {
            Some(GgufValue::Float(x)) if x.is_finite() => Ok(*x),
            _ => Err(self.missing(key)),
        }
    }

    /// Reads a metadata value that is a text. A missing key or a value of another type is an error.
    pub fn text(&self, key: &str) -> Result<&str, PolicyError> {
        match self.get(key) {
            Some(GgufValue::Text(s)) => Ok(s),
            _ => Err(self.missing(key)),
        }
    }

    /// Reads a metadata value that is a list of texts. A missing key or a value of another type is an error.
    pub fn texts(&self, key: &str) -> Result<Vec<&str>, PolicyError> {
        let Some(GgufValue::List(list)) = self.get(key) else { return Err(self.missing(key)) };
        list.iter()
            .map(|v| match v {
                GgufValue::Text(s) => Ok(s.as_str()),
                _ => Err(self.missing(key)),
            })
            .collect()
    }
}
