//! Tests of programs as APPS and TACO have them, and PRIME and verl after them: lists of inputs and outputs, as an
//! object or as JSON text. The tool that runs programs reads them in this form.

use serde_json::{Map, Value};

/// Whether a value holds tests: it has the keys `inputs` and `outputs` with lists of the same length.
pub fn holds_tests(value: &Value) -> bool {
    let parsed;
    let object = match value {
        Value::Object(object) => object,
        Value::String(text) if text.trim_start().starts_with('{') => {
            let Ok(object) = serde_json::from_str::<Map<String, Value>>(text) else { return false };
            parsed = object;
            &parsed
        }
        _ => return false,
    };
    let count = |key: &str| object.get(key).and_then(Value::as_array).map(Vec::len);
    count("inputs").is_some_and(|inputs| inputs > 0 && count("outputs") == Some(inputs))
}
