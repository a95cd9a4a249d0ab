//! Parquet files as JSON objects, without the library Arrow. Many data sets are published as Parquet.

use std::cell::Cell;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::Path;
use std::sync::Once;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::schema::types::Type;
use serde_json::{Map, Value};

use crate::error::DataError;
use crate::rows::json::Numbered;

const MAGIC: &[u8] = b"PAR1";

/// Whether a file's contents begin as those of Parquet files do.
pub fn is_parquet(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Reads the rows of a Parquet file, numbered from 1. Nested lists and groups become JSON lists and objects; decimals,
/// dates and times become text.
pub fn read(path: &Path, bytes: &[u8]) -> Result<Vec<Numbered>, DataError> {
    let mut rows = Vec::new();
    read_blocks(path, Bytes::copy_from_slice(bytes), usize::MAX, |block| {
        rows = block;
        Ok(())
    })?;
    Ok(rows)
}

/// Reads the rows of a Parquet file as [`read`] does, and calls `each` with every `length` of them, so that few are in
/// memory.
pub fn read_blocks(
    path: &Path,
    bytes: Bytes,
    length: usize,
    mut each: impl FnMut(Vec<Numbered>) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let file = |message: String| DataError::File { path: path.to_owned(), message };
    if bytes.len() < 12 || !bytes.ends_with(MAGIC) {
        return Err(file("the Parquet file is cut short, fetch it again".into()));
    }
    let unreadable = |e: ParquetError| file(format!("not a Parquet file that can be read: {e}"));
    // The decoder trusts the lengths in a page's header and panics where a damaged page has wrong ones.
    let damaged = |_| file("the Parquet file is damaged, fetch it again".into());
    let opened = without_panic_text(|| catch_unwind(AssertUnwindSafe(|| SerializedFileReader::new(bytes))));
    let reader = opened.map_err(damaged)?.map_err(unreadable)?;
    let begun = without_panic_text(|| catch_unwind(AssertUnwindSafe(|| reader.get_row_iter(None))));
    let mut rows = begun.map_err(damaged)?.map_err(unreadable)?.enumerate();
    loop {
        let block = without_panic_text(|| {
            catch_unwind(AssertUnwindSafe(|| {
                let rows = rows.by_ref().take(length);
                rows.map(|(i, row)| Ok((i + 1, object(row?.into_columns())))).collect::<Result<Vec<Numbered>, _>>()
            }))
        });
        let block = block.map_err(damaged)?.map_err(unreadable)?;
        if block.is_empty() {
            return Ok(());
        }
        each(block)?;
    }
}

/// Runs a function whose panic is caught, without the panic's text on standard error.
fn without_panic_text<T>(run: impl FnOnce() -> T) -> T {
    thread_local!(static IS_QUIET: Cell<bool> = const { Cell::new(false) });
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let earlier = take_hook();
        set_hook(Box::new(move |info| {
            if !IS_QUIET.get() {
                earlier(info);
            }
        }));
    });
    IS_QUIET.set(true);
    let result = run();
    IS_QUIET.set(false);
    result
}

/// Reads some columns of a Parquet file on disk, one object per row; the other columns are not decoded. `is_wanted` gets the
/// names of the file's columns. Fails for a file that is not complete, as one that is being written, and for one whose rows
/// would take more than about `max_bytes` of memory, however small compression makes the file.
pub fn read_parquet_columns(
    path: &Path,
    max_bytes: usize,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Map<String, Value>>, DataError> {
    let wrong = |message: String| DataError::File { path: path.to_owned(), message };
    let file = File::open(path).map_err(|e| wrong(format!("cannot be opened: {e}")))?;
    // The decoder is not used after a panic.
    let decoded = without_panic_text(|| catch_unwind(AssertUnwindSafe(|| decode_columns(file, max_bytes, is_wanted))));
    let decoded = decoded.map_err(|_| wrong("the Parquet file is damaged".into()))?;
    let rows = decoded.map_err(|e| wrong(format!("not a Parquet file that can be read: {e}")))?;
    rows.ok_or_else(|| wrong(format!("its rows take more than {max_bytes} bytes of memory")))
}

/// The wanted columns of all rows; `None` if they take more than about `max_bytes` of memory.
fn decode_columns(
    file: File,
    max_bytes: usize,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Option<Vec<Map<String, Value>>>, ParquetError> {
    let reader = SerializedFileReader::new(file)?;
    let schema = reader.metadata().file_metadata().schema();
    let fields = schema.get_fields().iter().filter(|field| is_wanted(field.name())).cloned().collect();
    let wanted = Type::group_type_builder(schema.name()).with_fields(fields).build()?;
    let (mut rows, mut left) = (Vec::new(), max_bytes);
    for row in reader.get_row_iter(Some(wanted))? {
        let row = object(row?.into_columns());
        let Some(less) = left.checked_sub(memory_of(&row)) else { return Ok(None) };
        left = less;
        rows.push(row);
    }
    Ok(Some(rows))
}

/// About how many bytes of memory a row takes.
fn memory_of(row: &Map<String, Value>) -> usize {
    let text = |value: &Value| match value {
        Value::String(text) => text.len(),
        Value::Array(_) | Value::Object(_) => value.to_string().len(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    let columns = row.iter().map(|(name, value)| name.len() + size_of::<Value>() + text(value));
    size_of::<Map<String, Value>>() + columns.sum::<usize>()
}

fn object(columns: Vec<(String, Field)>) -> Map<String, Value> {
    columns.into_iter().map(|(name, field)| (name, value(field))).collect()
}

fn value(field: Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(b) => b.into(),
        Field::Byte(n) => n.into(),
        Field::Short(n) => n.into(),
        Field::Int(n) => n.into(),
        Field::Long(n) => n.into(),
        Field::UByte(n) => n.into(),
        Field::UShort(n) => n.into(),
        Field::UInt(n) => n.into(),
        Field::ULong(n) => n.into(),
        // Through the text, so that 0.1 stays 0.1 and does not become 0.10000000149011612.
        Field::Float(x) => x.to_string().parse::<f64>().map_or(Value::Null, Value::from),
        Field::Double(x) => x.into(),
        Field::Str(s) => s.into(),
        Field::Bytes(bytes) => String::from_utf8_lossy(bytes.data()).into(),
        Field::Group(row) => Value::Object(object(row.into_columns())),
        Field::ListInternal(list) => list.elements().iter().cloned().map(value).collect(),
        Field::MapInternal(map) => {
            let entries = map.entries().iter().cloned();
            Value::Object(entries.map(|(key, field)| (key_text(key), value(field))).collect())
        }
        // Decimals, dates, times and half-precision numbers.
        other => other.to_string().into(),
    }
}

/// The key of a Parquet map as a text, because the keys of a JSON object are texts.
fn key_text(key: Field) -> String {
    match value(key) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}
