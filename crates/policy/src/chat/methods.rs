//! The methods of Python's values that templates call and that `minijinja-contrib` lacks or has without all arguments.

use minijinja::value::ValueKind;
use minijinja::{Error, State, Value};

use super::arguments::{Arguments, wrong};
use super::text;

/// Calls the Python method named `method` of a template's value, as in `text.split()`.
pub(super) fn call(state: &mut State, value: &Value, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    let mut own = Arguments::new(arguments);
    let result = match (value.kind(), value.as_str()) {
        (ValueKind::String, Some(text)) => match text::search(text, method, &mut own)? {
            Some(result) => Some(result),
            None => match text::change(text, method, &mut own)? {
                Some(changed) => Some(changed.into()),
                None => text::is(text, method).map(Value::from),
            },
        },
        (ValueKind::Seq, _) => of_list(value, method, &mut own)?,
        (ValueKind::Map, _) if method == "copy" => Some(value.clone()),
        (ValueKind::Number, _) if method == "is_integer" => {
            Some(f64::try_from(value.clone()).is_ok_and(|number| number.fract() == 0.0).into())
        }
        _ => None,
    };
    match result {
        Some(result) => own.end().map(|()| result),
        None => minijinja_contrib::pycompat::unknown_method_callback(state, value, method, arguments),
    }
}

fn of_list(list: &Value, method: &str, arguments: &mut Arguments) -> Result<Option<Value>, Error> {
    if method == "copy" {
        return Ok(Some(list.clone()));
    }
    if !matches!(method, "index" | "count") {
        return Ok(None);
    }
    let wanted = arguments.next("value")?.unwrap_or(Value::from(()));
    let mut items = list.try_iter()?;
    if method == "count" {
        return Ok(Some(items.filter(|item| *item == wanted).count().into()));
    }
    items.position(|item| item == wanted).map(|at| Some(at.into())).ok_or_else(|| wrong("the value is not in the list"))
}
