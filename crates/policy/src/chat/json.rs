//! The template filter `tojson`, as `transformers` defines it.

use std::fmt::Write;

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Error, Value};

use super::arguments::{Arguments, wrong};
use super::{PARTS, bounded, python};

/// Largest number of characters by which the filter `tojson` may indent one level.
const WIDEST: usize = 16;

/// How the filter `tojson` writes a value as JSON.
struct Style {
    is_ascii: bool,
    /// The text of one level of indentation; `None` writes everything on one line.
    indent: Option<String>,
    between_items: String,
    behind_key: String,
    is_sorted: bool,
}

/// The template filter `tojson`: writes a value as Python's `json.dumps` does with `ensure_ascii=False`, without HTML
/// escapes.
#[allow(clippy::needless_pass_by_value)] // minijinja prescribes the signature of a filter
pub(super) fn to_json(value: &Value, arguments: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let mut arguments = Arguments::of_filter(arguments.0, named);
    let is_ascii = arguments.next("ensure_ascii")?.is_some_and(|v| v.is_true());
    let indent = arguments.next("indent")?.map(|indent| indentation(&indent)).transpose()?;
    let separators = arguments.next("separators")?.map(|pair| texts(&pair)).transpose()?;
    let is_sorted = arguments.next("sort_keys")?.is_some_and(|v| v.is_true());
    arguments.end()?;
    let between = if indent.is_some() { "," } else { ", " };
    let [between_items, behind_key] = separators.unwrap_or_else(|| [between.to_owned(), ": ".to_owned()]);
    bounded(value, 0, &mut PARTS.clone())?;
    let mut out = String::new();
    Style { is_ascii, indent, between_items, behind_key, is_sorted }.write(value, 0, &mut out)?;
    Ok(Value::from(out))
}

/// The text of one level of indentation, from the argument `indent` of `tojson`: a number of spaces, or the text
/// itself.
fn indentation(indent: &Value) -> Result<String, Error> {
    let text = match indent.as_str() {
        Some(text) => text.to_owned(),
        None => " ".repeat(usize::try_from(i64::try_from(indent.clone())?.max(0)).unwrap_or(0).min(WIDEST + 1)),
    };
    if text.chars().count() > WIDEST {
        return Err(wrong("`indent` of tojson is more than 16 characters"));
    }
    Ok(text)
}

fn texts(pair: &Value) -> Result<[String; 2], Error> {
    let items: Vec<Value> = pair.try_iter()?.collect();
    match &items[..] {
        [a, b] => match (a.as_str(), b.as_str()) {
            (Some(a), Some(b)) => Ok([a.to_owned(), b.to_owned()]),
            _ => Err(wrong("tojson: `separators` must be two texts")),
        },
        _ => Err(wrong("tojson: `separators` must be two texts")),
    }
}

impl Style {
    fn write(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        match value.kind() {
            ValueKind::String => self.text(value.as_str().unwrap_or_default(), out),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.enclosed(['[', ']'], depth, out, &items, |item, out| self.write(item, depth + 1, out))?;
            }
            ValueKind::Map => {
                let mut entries = Vec::new();
                for key in value.try_iter()? {
                    entries.push((key_text(&key)?, value.get_item(&key)?));
                }
                if self.is_sorted {
                    entries.sort_by(|a, b| a.0.cmp(&b.0));
                }
                self.enclosed(['{', '}'], depth, out, &entries, |(key, item), out| {
                    self.text(key, out);
                    out.push_str(&self.behind_key);
                    self.write(item, depth + 1, out)
                })?;
            }
            _ => out.push_str(&scalar(value)?),
        }
        Ok(())
    }

    /// Writes items between brackets, each on a line of its own if there is an indentation.
    fn enclosed<T>(
        &self,
        brackets: [char; 2],
        depth: usize,
        out: &mut String,
        items: &[T],
        write: impl Fn(&T, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let line = |out: &mut String, depth: usize| {
            if let Some(indent) = self.indent.as_ref().filter(|_| !items.is_empty()) {
                out.push('\n');
                out.push_str(&indent.repeat(depth));
            }
        };
        out.push(brackets[0]);
        for (i, item) in items.iter().enumerate() {
            out.push_str(if i > 0 { &self.between_items } else { "" });
            line(out, depth + 1);
            write(item, out)?;
        }
        line(out, depth);
        out.push(brackets[1]);
        Ok(())
    }

    fn text(&self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            // Writing to a string cannot fail.
            let _ = match c {
                '"' => write!(out, "\\\""),
                '\\' => write!(out, "\\\\"),
                '\n' => write!(out, "\\n"),
                '\r' => write!(out, "\\r"),
                '\t' => write!(out, "\\t"),
                '\u{8}' => write!(out, "\\b"),
                '\u{c}' => write!(out, "\\f"),
                c if c < ' ' || (self.is_ascii && c > '~') => {
                    c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))
                }
                c => write!(out, "{c}"),
            };
        }
        out.push('"');
    }
}

/// Converts the key of an object to the text that JSON requires: numbers, truth values and `None` become texts, as in
/// Python's `json.dumps`.
fn key_text(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.as_str().unwrap_or_default().to_owned()),
        ValueKind::Number | ValueKind::Bool | ValueKind::None => scalar(key),
        _ => Err(wrong("tojson: keys must be texts, numbers, truth values or none")),
    }
}

fn scalar(value: &Value) -> Result<String, Error> {
    Ok(match value.kind() {
        ValueKind::None | ValueKind::Undefined => "null".into(),
        ValueKind::Bool => if value.is_true() { "true" } else { "false" }.into(),
        ValueKind::Number => match python::to_str(value).as_str() {
            "nan" => "NaN".into(),
            "inf" => "Infinity".into(),
            "-inf" => "-Infinity".into(),
            number => number.into(),
        },
        kind => return Err(wrong(&format!("tojson cannot write a value of the kind {kind}"))),
    })
}
