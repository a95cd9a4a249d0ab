//! Recognises tests of programs in the form of the data sets APPS and TACO, which PRIME and verl use as well: a list of
//! inputs and a list of outputs, in an object or in JSON text. The reward tool that runs programs reads this form.

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
