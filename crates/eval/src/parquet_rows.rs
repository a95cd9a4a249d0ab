//! Reads the rows of a Parquet file as JSON objects, without the library Arrow. Many data sets are published as
//! Parquet.

use std::panic::catch_unwind;
use std::path::Path;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use rlar_data::{DataError, NumberedRow};
use serde_json::{Map, Value};

use crate::EvalError;

const MAGIC: &[u8] = b"PAR1";

/// Whether a file's contents begin as those of Parquet files do.
pub fn is_parquet(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Reads the rows of a Parquet file, numbered from 1. Nested lists and groups become JSON lists and objects.
pub fn parquet_rows(path: &Path, bytes: &[u8]) -> Result<Vec<NumberedRow>, EvalError> {
    let file = |message: String| EvalError::File { path: path.to_owned(), message };
    if bytes.len() < 12 || !bytes.ends_with(MAGIC) {
        return Err(file("the Parquet file is cut short, fetch it again".into()));
    }
    // The decoder trusts the lengths in a page's header and panics where a damaged page has wrong ones.
    let decoded = catch_unwind(|| decode(bytes));
    let decoded = decoded.map_err(|_| file("the Parquet file is damaged, fetch it again".into()))?;
    let rows = decoded.map_err(|e| file(format!("not a Parquet file that can be read: {e}")))?;
    if rows.is_empty() {
        return Err(DataError::Empty { path: path.to_owned() }.into());
    }
    Ok(rows)
}

fn decode(bytes: &[u8]) -> Result<Vec<NumberedRow>, ParquetError> {
    let reader = SerializedFileReader::new(Bytes::copy_from_slice(bytes))?;
    let rows = reader.get_row_iter(None)?.enumerate();
    rows.map(|(i, row)| Ok(NumberedRow { line: i + 1, columns: object(row?.into_columns()) })).collect()
}

fn object(columns: Vec<(String, Field)>) -> Map<String, Value> {
    columns.into_iter().map(|(name, field)| (name, value(field))).collect()
}

fn value(field: Field) -> Value {
    match field {
        Field::Bool(b) => b.into(),
        Field::Byte(n) => n.into(),
        Field::Short(n) => n.into(),
        Field::Int(n) => n.into(),
        Field::Long(n) => n.into(),
        Field::UByte(n) => n.into(),
        Field::UShort(n) => n.into(),
        Field::UInt(n) => n.into(),
        Field::ULong(n) => n.into(),
        Field::Float(x) => x.into(),
        Field::Double(x) => x.into(),
        Field::Str(s) => s.into(),
        Field::Group(row) => Value::Object(object(row.into_columns())),
        Field::ListInternal(list) => list.elements().iter().cloned().map(value).collect(),
        // Other types do not occur in benchmarks. They become null, which counts as a missing column.
        _ => Value::Null,
    }
}
