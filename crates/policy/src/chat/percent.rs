//! Python's operator `%`, which formats a text or computes a remainder.

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, ErrorKind, Value};

use super::arguments::wrong;
use super::python;

/// The filter that computes `left % right` as Python does. If `left` is a text, it is formatted with the value or the
/// tuple `right`. If both are numbers, the result is the remainder, with the sign of `right`.
pub(super) fn percent(left: &Value, right: &Value) -> Result<Value, Error> {
    if let Some(text) = left.as_str() {
        return formatted(text, right).map(Value::from);
    }
    let zero = || wrong("the remainder of a division by zero");
    if let (Ok(a), Ok(b)) = (i128::try_from(left.clone()), i128::try_from(right.clone()))
        && is_whole(left)
        && is_whole(right)
    {
        let rest = a.checked_rem(b).ok_or_else(zero)?;
        return Ok(Value::from(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }));
    }
    match (f64::try_from(left.clone()), f64::try_from(right.clone())) {
        (Ok(_), Ok(0.0)) => Err(zero()),
        (Ok(a), Ok(b)) => {
            let rest = a % b;
            Ok(Value::from(if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }))
        }
        _ => {
            let why = format!("tried to use % operator on unsupported types {} and {}", left.kind(), right.kind());
            Err(Error::new(ErrorKind::InvalidOperation, why))
        }
    }
}

fn is_whole(value: &Value) -> bool {
    value.is_integer() || value.kind() == ValueKind::Bool
}

fn formatted(text: &str, right: &Value) -> Result<String, Error> {
    let named = text.replace("%%", "").contains("%(");
    if named {
        return format(FormatStyle::Printf, text, std::slice::from_ref(right));
    }
    let arguments = match right.downcast_object_ref::<Tuple>() {
        Some(items) => items.to_vec(),
        None => vec![right.clone()],
    };
    let wanted = text.replace("%%", "").matches('%').count();
    let is_mapping = right.kind() == ValueKind::Map && wanted == 0;
    if arguments.len() > wanted && !is_mapping {
        return Err(wrong("not all arguments converted during string formatting"));
    }
    let (text, arguments) = as_texts(text, arguments);
    format(FormatStyle::Printf, &text, &arguments)
}

/// Replaces the arguments of `%s` and `%r` in a format by the texts that Python's `str` and `repr` make of them, and
/// each `%r` by `%s`. Returns the new format and all arguments.
fn as_texts(format: &str, mut arguments: Vec<Value>) -> (String, Vec<Value>) {
    let (mut out, mut rest, mut next) = (String::new(), format, 0);
    while let Some(start) = rest.find('%') {
        let length = rest[start + 1..].find(|c: char| !"#0- +.123456789*".contains(c));
        let Some(at) = length.map(|n| start + 1 + n) else { break };
        let conversion = rest[at..].chars().next().unwrap_or('%');
        next += rest[start..at].matches('*').count();
        out.push_str(&rest[..at]);
        if let ('s' | 'r', Some(argument)) = (conversion, arguments.get_mut(next)) {
            *argument = Value::from(if conversion == 's' { python::to_str(argument) } else { python::repr(argument) });
            out.push('s');
        } else {
            out.push(conversion);
        }
        next += usize::from(conversion != '%');
        rest = &rest[at + conversion.len_utf8()..];
    }
    out.push_str(rest);
    (out, arguments)
}
