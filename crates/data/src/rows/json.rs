//! Reads the rows in JSON lines and JSON lists, without rounding long numbers.

use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use crate::error::DataError;

/// Number of digits up to which a decimal number is the same again after it was stored as a 64-bit float.
const EXACT_DIGITS: usize = 15;
/// Largest exponent, in absolute value, of a number that is written with zeros instead of with the exponent.
const MAX_ZEROS: i64 = 40;

/// A row as a pair: its line in the file, from 1 (in a Parquet file, its number), and its values by column name.
pub type Numbered = (usize, Map<String, Value>);

/// Reads one JSON object per line; blank lines are skipped.
pub fn read_lines(path: &Path, text: &str) -> Result<Vec<Numbered>, DataError> {
    lines(text).map(|(number, line)| Ok((number, read_line(path, number, line)?))).collect()
}

/// The lines of a text with their numbers, from 1, without blank ones.
pub fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(|(i, line)| (i + 1, line))
}

/// Reads the JSON object in the line with this number.
pub fn read_line(path: &Path, number: usize, line: &str) -> Result<Map<String, Value>, DataError> {
    let wrong = |message: String| DataError::Row { path: path.to_owned(), line: number, message };
    match parse(line) {
        Ok(Value::Object(columns)) => Ok(columns),
        Ok(other) => Err(wrong(format!("a row must be a JSON object, not {}", json_type_name(&other)))),
        Err(e) => {
            // The parser sees one line at a time, so its own line number is always 1.
            let message = e.to_string().replace(" at line 1 column", ", column");
            Err(wrong(format!("not JSON: {message}")))
        }
    }
}

/// Reads the objects of a JSON list. Each gets the number of the line on which it begins, or where two begin on the same
/// line, as in a file without line ends, its number in the list.
pub fn read_list(path: &Path, text: &str) -> Result<Vec<Numbered>, DataError> {
    let wrong = |line, message| DataError::Row { path: path.to_owned(), line, message };
    let list: Vec<&RawValue> = serde_json::from_str(text).map_err(|e| not_json(path, text, &e))?;
    let (mut line, mut position) = (1, 0);
    let mut rows = Vec::with_capacity(list.len());
    for raw in list {
        let begin = raw.get().as_ptr() as usize - text.as_ptr() as usize;
        line += text[position..begin].matches('\n').count();
        position = begin;
        match parse(raw.get()) {
            Ok(Value::Object(row)) => rows.push((line, row)),
            Ok(other) => {
                return Err(wrong(line, format!("a row must be a JSON object, not {}", json_type_name(&other))));
            }
            Err(e) => return Err(wrong(line, format!("not JSON: {e}"))),
        }
    }
    if rows.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        rows.iter_mut().enumerate().for_each(|(i, row)| row.0 = i + 1);
    }
    Ok(rows)
}

/// The error for a file that is not JSON. The message names the cause where it is a usual one: a file that was cut
/// short, or Python's `NaN` and `Infinity`.
pub fn not_json(path: &Path, text: &str, error: &serde_json::Error) -> DataError {
    let hint = if error.is_eof() {
        "; the file is cut short, fetch or write it again"
    } else if stopped_at_nan(text, error) {
        "; NaN and Infinity are not valid JSON: write null for a missing value"
    } else {
        ""
    };
    DataError::Row { path: path.to_owned(), line: error.line(), message: format!("not JSON: {error}{hint}") }
}

/// Whether the JSON error is at Python's `NaN` or `Infinity`, which JSON does not allow.
fn stopped_at_nan(text: &str, error: &serde_json::Error) -> bool {
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default().as_bytes();
    let begin = error.column().saturating_sub(3).min(line.len());
    let near = &line[begin..line.len().min(begin + 12)];
    ["NaN", "Infinity"].iter().any(|word| near.windows(word.len()).any(|w| w == word.as_bytes()))
}

/// Parses JSON. A number that a 64-bit integer or float cannot hold to the last digit becomes its text.
fn parse(text: &str) -> serde_json::Result<Value> {
    let is_number_byte = |b: &u8| b.is_ascii_digit() || *b == b'.';
    let has_long_number = text.as_bytes().split(|b| !is_number_byte(b)).any(|run| run.len() > EXACT_DIGITS);
    if has_long_number { exact(serde_json::from_str(text)?) } else { serde_json::from_str(text) }
}

/// Converts JSON text to a value. As in [`parse`], a number that would lose digits becomes its text.
fn exact(raw: &RawValue) -> serde_json::Result<Value> {
    match raw.get().as_bytes().first() {
        Some(b'{') => {
            let Entries(entries) = serde_json::from_str(raw.get())?;
            let entries = entries.into_iter().map(|(key, raw)| Ok((key, exact(raw)?)));
            Ok(Value::Object(entries.collect::<serde_json::Result<_>>()?))
        }
        Some(b'[') => {
            let list: Vec<&RawValue> = serde_json::from_str(raw.get())?;
            list.into_iter().map(exact).collect::<serde_json::Result<_>>().map(Value::Array)
        }
        _ => match serde_json::from_str(raw.get())? {
            Value::Number(n) if digits(&n.to_string()) != digits(raw.get()) => Ok(raw.get().into()),
            value => Ok(value),
        },
    }
}

/// The digits in the text of a number, without sign, decimal point, exponent, and zeros at either end.
fn digits(number: &str) -> String {
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    digits.trim_matches('0').to_owned()
}

/// The entries of a JSON object in order, with values that are not parsed yet.
struct Entries<'de>(Vec<(String, &'de RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;
        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(EntriesVisitor)
    }
}

/// A number as people write it: without an exponent unless there would be very many zeros.
pub fn number_text(number: &Number) -> String {
    let text = number.to_string();
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let Some(exponent) = exponent.parse::<i64>().ok().filter(|e| e.abs() <= MAX_ZEROS) else { return text };
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{}", decimals.trim_end_matches('0'));
    // Position of the decimal point among the digits.
    let point = whole.len() as i64 + exponent;
    if point <= 0 {
        return format!("{sign}0.{}{digits}", "0".repeat(-point as usize));
    }
    let point = point as usize;
    if point >= digits.len() {
        return format!("{sign}{digits}{}", "0".repeat(point - digits.len()));
    }
    format!("{sign}{}.{}", &digits[..point], &digits[point..])
}

/// The name of a JSON value's type with its article, for messages: `a number`, `text`.
pub fn json_type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
