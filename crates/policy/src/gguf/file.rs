//! The GGUF container format: header, metadata, and tensors, which are dequantised to `f32` or stay in their blocks.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use rlar_quant::{BlockType, QuantisedMatrix, SharedBytes};

use crate::error::PolicyError;
use crate::gguf::header::HeaderReader;
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

/// Number of bytes that the header's entry of a tensor takes at least: the length of its name, its number of dimensions, its
/// type and its offset.
const LEAST_TENSOR_INFO: u64 = 8 + 4 + 4 + 8;
/// Number of bytes that a metadata value takes at least: the length of its key, its type, and the value.
const LEAST_METADATA: u64 = 8 + 4 + 1;
/// Largest number of dimensions of a tensor.
const MOST_DIMENSIONS: u32 = 4;

impl TensorInfo {
    /// Reads what the header says about the tensor `name`, which is read already.
    fn read(h: &mut HeaderReader, path: &Path, name: &str) -> Result<Self, PolicyError> {
        let rank = h.u32()?;
        if rank > MOST_DIMENSIONS {
            let message = format!("has {rank} dimensions; at most {MOST_DIMENSIONS} are possible");
            return Err(PolicyError::tensor(path, name, message));
        }
        // The file lists the fastest dimension first.
        let mut shape = (0..rank).map(|_| Ok(h.u64()? as usize)).collect::<Result<Vec<_>, PolicyError>>()?;
        shape.reverse();
        Ok(Self { shape, kind: h.u32()?, offset: h.u64()? })
    }
}

/// What the type and the shape of a tensor say about its bytes.
struct TensorExtent {
    tensor_type: TensorType,
    /// Number of bytes of the whole tensor.
    bytes: usize,
}

/// Where a tensor lies in the data section: its first byte, and the byte behind its last.
struct Place<'a> {
    start: u64,
    end: u64,
    name: &'a str,
}

/// A GGUF file. Its header was read and checked against the file's size.
pub struct Gguf {
    path: PathBuf,
    metadata: BTreeMap<String, GgufValue>,
    tensors: BTreeMap<String, TensorInfo>,
    /// Byte of the file at which the data section starts.
    data: u64,
}

impl Gguf {
    /// Opens a file: reads its header and checks it against the file's size. No tensor is read.
    pub fn open(path: &Path) -> Result<Self, PolicyError> {
        let mut h = HeaderReader::open(path)?;
        if h.array()? != *b"GGUF" {
            return Err(PolicyError::file(path, "not a GGUF file (its first four bytes are not `GGUF`)"));
        }
        let version = h.u32()?;
        if !(2..=3).contains(&version) {
            return Err(PolicyError::file(path, format!("GGUF version {version} is not supported; supported: 2, 3")));
        }
        let (tensor_count, value_count) = (h.u64()?, h.u64()?);
        h.announced("tensors", tensor_count, LEAST_TENSOR_INFO)?;
        h.announced("metadata values", value_count, LEAST_METADATA)?;
        let mut metadata = BTreeMap::new();
        for _ in 0..value_count {
            let key = h.text()?;
            let kind = h.value_type()?;
            let value = h.value(kind)?;
            if metadata.contains_key(&key) {
                return Err(PolicyError::file(path, format!("metadata `{key}` is in the header twice")));
            }
            metadata.insert(key, value);
        }
        let mut tensors = BTreeMap::new();
        for _ in 0..tensor_count {
            let name = h.text()?;
            let info = TensorInfo::read(&mut h, path, &name)?;
            if tensors.contains_key(&name) {
                return Err(PolicyError::tensor(path, &name, "is in the header twice"));
            }
            tensors.insert(name, info);
        }
        let align = match metadata.get("general.alignment") {
            None => 32,
            Some(GgufValue::Int(n)) if *n > 0 && (*n as u64).is_power_of_two() => *n as u64,
            Some(_) => {
                let message =
                    "metadata `general.alignment` is not a power of two: the header is damaged; fetch the file again";
                return Err(PolicyError::file(path, message));
            }
        };
        let gguf = Self { path: path.to_owned(), metadata, tensors, data: h.at().next_multiple_of(align) };
        gguf.check_extents(h.size(), align)?;
        Ok(gguf)
    }

    /// Checks the place of every tensor: it is aligned to `align` bytes, lies within the file's `size` bytes, and shares
    /// no byte with another.
    fn check_extents(&self, size: u64, align: u64) -> Result<(), PolicyError> {
        let mut places = Vec::with_capacity(self.tensors.len());
        for (name, entry) in &self.tensors {
            let wrong = |message: String| PolicyError::tensor(&self.path, name, message);
            let bytes = self.extent(name, entry)?.bytes as u64;
            if !entry.offset.is_multiple_of(align) {
                return Err(wrong(format!("starts at byte {}, no multiple of the alignment {align}", entry.offset)));
            }
            let end = entry.offset.checked_add(bytes);
            if end.and_then(|end| end.checked_add(self.data)).is_none_or(|end| end > size) {
                return Err(wrong(format!(
                    "ends beyond the file's {size} bytes: the file is truncated; fetch it again"
                )));
            }
            places.push(Place { start: entry.offset, end: entry.offset + bytes, name });
        }
        places.sort_unstable_by_key(|place| (place.start, place.end));
        match places.windows(2).find(|pair| pair[1].start < pair[0].end) {
            Some(pair) => {
                let message =
                    format!("shares bytes with tensor `{}`: the header is damaged; fetch the file again", pair[0].name);
                Err(PolicyError::tensor(&self.path, pair[1].name, message))
            }
            None => Ok(()),
        }
    }

    /// The type of a tensor, and its number of bytes in the file. A type that rlar does not read, rows that are not whole
    /// blocks of the type, and a size that overflows are errors.
    fn extent(&self, name: &str, entry: &TensorInfo) -> Result<TensorExtent, PolicyError> {
        let wrong = |message: String| PolicyError::tensor(&self.path, name, message);
        let Some(tensor_type) = TensorType::of(entry.kind) else {
            return Err(wrong(format!(
                "has type {}; supported: {}; take another file of this model, such as the one in Q4_K_M",
                TensorType::name_of(entry.kind),
                TensorType::names()
            )));
        };
        let columns = entry.shape.last().copied().unwrap_or(1);
        if !columns.is_multiple_of(tensor_type.block_values()) {
            return Err(wrong(format!(
                "has rows of {columns} values, but its type {} stores blocks of {} values: the header is damaged; \
                 fetch the file again",
                TensorType::name_of(entry.kind),
                tensor_type.block_values()
            )));
        }
        let values = entry.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let blocks = values.map(|n| n / tensor_type.block_values());
        match blocks.and_then(|n| n.checked_mul(tensor_type.block_bytes())) {
            Some(bytes) => Ok(TensorExtent { tensor_type, bytes }),
            None => {
                Err(wrong(format!("has impossible shape {:?}: its size overflows; fetch the file again", entry.shape)))
            }
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
