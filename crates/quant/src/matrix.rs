//! Weight matrices over shared bytes in a block format.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use crate::block_type::BlockType;
use crate::error::QuantError;
use crate::kernels::dequantise;

/// A part of bytes that several owners share, such as the bytes of one tensor in a file that is mapped into memory.
#[derive(Clone)]
pub struct SharedBytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    part: Range<usize>,
}

impl SharedBytes {
    /// A part of the owner's bytes. The owner must return the same slice at every call.
    pub fn part(owner: Arc<dyn AsRef<[u8]> + Send + Sync>, part: Range<usize>) -> Result<Self, QuantError> {
        let found = (*owner).as_ref().len();
        if part.start > part.end || part.end > found {
            return Err(QuantError::Range { start: part.start, end: part.end, found });
        }
        Ok(Self { owner, part })
    }

    /// The bytes. Empty if the owner returns fewer bytes than it did at first.
    pub fn bytes(&self) -> &[u8] {
        (*self.owner).as_ref().get(self.part.clone()).unwrap_or_default()
    }
}

impl From<Vec<u8>> for SharedBytes {
    fn from(bytes: Vec<u8>) -> Self {
        let part = 0..bytes.len();
        Self { owner: Arc::new(bytes), part }
    }
}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.part.len())
    }
}

/// A weight matrix `[rows, columns]` in a block format, row by row, such as the `[out, in]` weights of a linear layer.
/// Copies share the bytes.
#[derive(Clone, Debug)]
pub struct QuantisedMatrix {
    block_type: BlockType,
    rows: usize,
    columns: usize,
    row_bytes: usize,
    bytes: SharedBytes,
}

impl QuantisedMatrix {
    /// Makes a matrix of bytes. Fails if rows are not whole blocks, if the number of bytes is not that of the shape, or
    /// if a scale or minimum is not finite, for which every block is read.
    pub fn new(block_type: BlockType, rows: usize, columns: usize, bytes: SharedBytes) -> Result<Self, QuantError> {
        let row_bytes = block_type.row_bytes(columns)?;
        let expected =
            rows.checked_mul(row_bytes).filter(|n| rows.checked_mul(columns).is_some() && *n < isize::MAX as usize);
        let expected = expected.ok_or(QuantError::TooLarge { rows, columns })?;
        let found = bytes.bytes().len();
        if found != expected {
            return Err(QuantError::Length { block_type, rows, columns, expected, found });
        }
        let wrong = |bytes: &[u8]| {
            let infinite = |block: &[u8]| block_type.halves().iter().any(|at| block[at + 1] & 0x7c == 0x7c);
            bytes.chunks_exact(block_type.bytes()).position(infinite)
        };
        let found = bytes.bytes().par_chunks_exact(row_bytes).enumerate().find_map_first(|(row, bytes)| {
            let block = wrong(bytes)?;
            Some(QuantError::Scale { row, block })
        });
        match found {
            Some(error) => Err(error),
            None => Ok(Self { block_type, rows, columns, row_bytes, bytes }),
        }
    }

    /// The type of the blocks.
    pub fn block_type(&self) -> BlockType {
        self.block_type
    }

    /// Number of rows: outputs of the linear layer.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of values per row: inputs of the linear layer.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Number of values per block in which activations are rounded for [`Self::product`]: 32 or 256.
    pub fn activation_block(&self) -> usize {
        self.block_type.values()
    }

    /// Number of bytes of the matrix.
    pub fn size(&self) -> usize {
        self.rows * self.row_bytes
    }

    /// The bytes of all rows.
    pub(crate) fn data(&self) -> Result<&[u8], QuantError> {
        let bytes = self.bytes.bytes();
        let Self { block_type, rows, columns, .. } = *self;
        if bytes.len() == self.size() {
            Ok(bytes)
        } else {
            Err(QuantError::Length { block_type, rows, columns, expected: self.size(), found: bytes.len() })
        }
    }

    /// Number of bytes of a row.
    pub(crate) fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Writes the values of a row to `out` `[columns]`, such as the embedding of a token.
    pub fn dequantise_row(&self, row: usize, out: &mut [f32]) -> Result<(), QuantError> {
        if row >= self.rows {
            return Err(QuantError::Row { row, rows: self.rows });
        }
        check("the row", self.columns, out.len())?;
        dequantise(self.block_type, &self.data()?[row * self.row_bytes..][..self.row_bytes], out);
        Ok(())
    }

    /// A range of rows as a matrix that shares the bytes, such as a part of a vocabulary.
    pub fn part(&self, rows: Range<usize>) -> Result<Self, QuantError> {
        if rows.start > rows.end || rows.end > self.rows {
            return Err(QuantError::Row { row: rows.end, rows: self.rows });
        }
        let start = self.bytes.part.start + rows.start * self.row_bytes;
        let part = start..start + rows.len() * self.row_bytes;
        let bytes = SharedBytes { owner: self.bytes.owner.clone(), part };
        Ok(Self { rows: rows.len(), bytes, ..*self })
    }

    /// A copy with the rows in another order: row `i` is row `order[i]` of this matrix.
    pub fn reordered(&self, order: &[usize]) -> Result<Self, QuantError> {
        let data = self.data()?;
        let mut bytes = Vec::with_capacity(order.len() * self.row_bytes);
        for &row in order {
            if row >= self.rows {
                return Err(QuantError::Row { row, rows: self.rows });
            }
            bytes.extend_from_slice(&data[row * self.row_bytes..][..self.row_bytes]);
        }
        Ok(Self { rows: order.len(), bytes: bytes.into(), ..*self })
    }

    /// All values, `[rows, columns]`.
    pub fn dequantise(&self) -> Result<Vec<f32>, QuantError> {
        let mut out = vec![0.0; self.rows * self.columns];
        let rows = self.data()?.par_chunks_exact(self.row_bytes);
        rows.zip(out.par_chunks_exact_mut(self.columns)).for_each(|(row, out)| dequantise(self.block_type, row, out));
        Ok(out)
    }
}

/// Checks the number of elements of an operand.
pub fn check(operand: &'static str, expected: usize, found: usize) -> Result<(), QuantError> {
    if found == expected { Ok(()) } else { Err(QuantError::Operand { operand, expected, found }) }
}
