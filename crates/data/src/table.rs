//! Writing tables of named columns as Parquet.

use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types;

/// The values of a column, one for each row.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Integers, one per row, none of them null.
    Whole(Vec<i64>),
    /// Floating-point numbers, one per row; `None` is null.
    Number(Vec<Option<f64>>),
    /// Texts, one per row, none of them null.
    Text(Vec<String>),
}

impl Column {
    /// The column's entry in the Parquet schema.
    fn field(&self, name: &str) -> Result<types::TypePtr, ParquetError> {
        let (physical, repetition, logical) = match self {
            Self::Whole(_) => (Type::INT64, Repetition::REQUIRED, None),
            Self::Number(_) => (Type::DOUBLE, Repetition::OPTIONAL, None),
            Self::Text(_) => (Type::BYTE_ARRAY, Repetition::REQUIRED, Some(LogicalType::String)),
        };
        let field = types::Type::primitive_type_builder(name, physical).with_repetition(repetition);
        field.with_logical_type(logical).build().map(Arc::new)
    }

    /// Writes the values as one column chunk.
    fn write(&self, writer: &mut SerializedColumnWriter) -> Result<(), ParquetError> {
        match self {
            Self::Whole(values) => writer.typed::<Int64Type>().write_batch(values, None, None)?,
            Self::Number(values) => {
                let known: Vec<f64> = values.iter().flatten().copied().collect();
                let levels: Vec<i16> = values.iter().map(|v| i16::from(v.is_some())).collect();
                writer.typed::<DoubleType>().write_batch(&known, Some(&levels), None)?
            }
            Self::Text(values) => {
                let values: Vec<ByteArray> = values.iter().map(|v| v.as_str().into()).collect();
                writer.typed::<ByteArrayType>().write_batch(&values, None, None)?
            }
        };
        Ok(())
    }
}

/// The bytes of a Parquet file with one row group, compressed with Snappy. All columns must have the same length.
pub fn parquet(columns: &[(String, Column)]) -> Result<Vec<u8>, ParquetError> {
    let fields = columns.iter().map(|(name, column)| column.field(name)).collect::<Result<_, _>>()?;
    let schema = Arc::new(types::Type::group_type_builder("schema").with_fields(fields).build()?);
    let properties = Arc::new(WriterProperties::builder().set_compression(Compression::SNAPPY).build());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties)?;
    let mut rows = writer.next_row_group()?;
    for (_, column) in columns {
        let Some(mut next) = rows.next_column()? else { break };
        column.write(&mut next)?;
        next.close()?;
    }
    rows.close()?;
    writer.into_inner()
}
