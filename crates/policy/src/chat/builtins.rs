//! Functions, filters and tests of Jinja that `minijinja` lacks or defines otherwise.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use minijinja::value::{Kwargs, Object, ObjectRepr, Rest, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::arguments::{Arguments, wrong};
use super::{json, methods, percent, python, text};

/// Adds those functions, filters, tests and methods of Jinja to a `minijinja` environment that it lacks or defines
/// otherwise.
pub(super) fn add(env: &mut Environment) {
    env.set_unknown_method_callback(methods::call);
    env.add_filter("tojson", json::to_json);
    env.add_filter("rlar_percent", percent::percent);
    env.add_filter("string", |value: &Value| match value.kind() {
        ValueKind::String => value.clone(),
        _ => Value::from(python::to_str(value)),
    });
    env.add_filter("forceescape", |value: &Value| escaped(&python::to_str(value)));
    env.add_filter("escape", |value: &Value| escaped(&python::to_str(value)));
    env.add_filter("e", |value: &Value| escaped(&python::to_str(value)));
    env.add_filter("int", |value: &Value, default: Option<Value>, base: Option<u32>| {
        whole(value, base.unwrap_or(10)).unwrap_or_else(|| default.unwrap_or_else(|| 0.into()))
    });
    env.add_filter("float", |value: &Value, default: Option<Value>| match number(value) {
        Some(number) => Value::from(number),
        None => default.unwrap_or_else(|| 0.0.into()),
    });
    env.add_filter("wordcount", |text: &str| {
        text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).count()
    });
    env.add_filter("center", |value: &Value, width: Option<usize>| {
        let (text, width) = (python::to_str(value), width.unwrap_or(80).min(1 << 16));
        let missing = width.saturating_sub(text.chars().count());
        let left = missing / 2 + (missing & width & 1);
        format!("{}{text}{}", " ".repeat(left), " ".repeat(missing - left))
    });
    env.add_filter("striptags", minijinja_contrib::filters::striptags);
    env.add_filter("truncate", |text: &str, arguments: Rest<Value>, named: Kwargs| -> Result<String, Error> {
        let mut arguments = Arguments::of_filter(arguments.0, named);
        text::truncate(text, &mut arguments).and_then(|text| arguments.end().map(|()| text))
    });
    env.add_filter("indent", |text: &str, arguments: Rest<Value>, named: Kwargs| -> Result<String, Error> {
        let mut arguments = Arguments::of_filter(arguments.0, named);
        text::indent(text, &mut arguments).and_then(|text| arguments.end().map(|()| text))
    });
    env.add_filter("filesizeformat", minijinja_contrib::filters::filesizeformat);
    // In Jinja, a sequence is what has a length and items: texts and mappings, too.
    env.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::String | ValueKind::Undefined)
            || (value.kind() == ValueKind::Iterable && value.len().is_some())
    });
    env.add_test("iterable", |value: &Value| value.kind() != ValueKind::None && value.try_iter().is_ok());
    env.add_test("callable", |value: &Value| {
        value.as_object().is_some_and(|object| object.repr() == ObjectRepr::Plain)
    });
    env.add_function("cycler", |items: Rest<Value>| -> Result<Value, Error> {
        if items.is_empty() {
            return Err(wrong("cycler needs at least one item"));
        }
        Ok(Value::from_object(Cycler { items: items.to_vec(), at: AtomicUsize::new(0) }))
    });
    env.add_function("joiner", |separator: Option<Value>| {
        Value::from_object(Joiner {
            separator: separator.unwrap_or_else(|| ", ".into()),
            is_used: AtomicBool::new(false),
        })
    });
}

/// Converts a number, or a text that holds a number, to floating point; `None` for any other value.
fn number(value: &Value) -> Option<f64> {
    match value.as_str() {
        Some(text) => text.trim().replace('_', "").parse().ok(),
        None => f64::try_from(value.clone()).ok(),
    }
}

/// Converts a number, or a text that holds a number in this base, to an integer, without its fraction; `None` for any
/// other value.
fn whole(value: &Value, base: u32) -> Option<Value> {
    if value.is_integer() {
        return Some(value.clone());
    }
    let text = value.as_str().map(|text| text.trim().to_lowercase().replace('_', ""));
    let digits = text.as_deref().map(|text| match base {
        16 => text.strip_prefix("0x").unwrap_or(text),
        8 => text.strip_prefix("0o").unwrap_or(text),
        2 => text.strip_prefix("0b").unwrap_or(text),
        _ => text,
    });
    let parsed = digits.filter(|_| (2..=36).contains(&base)).and_then(|text| i128::from_str_radix(text, base).ok());
    parsed.or_else(|| number(value).filter(|n| n.is_finite()).map(|n| n as i128)).map(Value::from)
}

fn escaped(text: &str) -> String {
    let pairs = [('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('\'', "&#39;"), ('"', "&#34;")];
    text.chars().map(|c| pairs.iter().find(|p| p.0 == c).map_or_else(|| c.to_string(), |p| p.1.to_owned())).collect()
}

/// Jinja's `cycler`: gives its items in turn, again and again.
#[derive(Debug)]
struct Cycler {
    items: Vec<Value>,
    /// Index of the current item.
    at: AtomicUsize,
}

impl Object for Cycler {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        (key.as_str() == Some("current")).then(|| self.items[self.at.load(Ordering::Relaxed)].clone())
    }

    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        let () = from_args(args)?;
        let at = self.at.load(Ordering::Relaxed);
        match method {
            "next" => {
                self.at.store((at + 1) % self.items.len(), Ordering::Relaxed);
                Ok(self.items[at].clone())
            }
            "reset" => {
                self.at.store(0, Ordering::Relaxed);
                Ok(Value::from(()))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}

/// Jinja's `joiner`: gives nothing when it is called first, and then the separator.
#[derive(Debug)]
struct Joiner {
    separator: Value,
    is_used: AtomicBool,
}

impl Object for Joiner {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        let () = from_args(args)?;
        Ok(if self.is_used.swap(true, Ordering::Relaxed) { self.separator.clone() } else { "".into() })
    }
}
