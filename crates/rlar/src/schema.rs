//! The reference of config keys (docs/reference/config.md), made from the JSON Schema that checks configs.

use std::fmt::Write;

use serde_json::Value;

/// The section of the config reference on paths: where rlar looks for the files that a config names.
const PATHS: &str = "\n## Paths\n\n\
    One rule holds for all keys. Files and folders that are read (data, models, tool libraries, suites, functions, \
    recorded exchanges) are looked for from the current folder, then from the folder of the config, then from the \
    folder above that one. Those that a suite names are looked for in the same way, from the suite's folder instead \
    of the config's.\n\n\
    The name of a data file, in a config or in a suite, may also be `hub:OWNER/NAME@REVISION/PATH`, a file of a data \
    set on the Hugging Face Hub, which is downloaded if it is not there yet; a pattern such as `data/*.parquet`; the \
    path of a file that `rlar data fetch` has downloaded, such as `gsm8k/test.jsonl`; or that of a data file that is \
    embedded in rlar.\n\n\
    The name of a model may also be one on the Hugging Face Hub, which is downloaded into the Hub's cache: `OWNER/NAME`, \
    with a branch, tag or commit `OWNER/NAME@REVISION`, with a GGUF file `OWNER/NAME@REVISION/FILE.gguf`. A path that \
    exists comes first; where a folder `OWNER` exists, only a name with `@` is looked for on the Hub.\n\n\
    What is written (`run.folder`, `sampling.vllm.path`, `rewards.store`, `rewards.llm.record`) is relative to the \
    current folder. At the beginning of any path, `~` is the home folder.\n";

/// A Markdown table per section of the config: its keys with their types, defaults and meanings.
pub fn markdown() -> String {
    let schema = rlar_grpo::Config::schema();
    let mut out = String::from(
        "# Config reference\n\nWritten by `rlar config schema --markdown`. Times and sizes name their unit in the description; \
         everything else is a plain number.\n",
    );
    out.push_str(PATHS);
    section(&mut out, &schema, &schema, "");
    out
}

/// Follows the references (`$ref`) of a JSON Schema, and the alternatives (`anyOf`) of an optional value to the one
/// that is not `null`. A schema with several alternatives other than `null` is returned as it is.
fn resolve<'s>(root: &'s Value, mut schema: &'s Value) -> &'s Value {
    loop {
        if let Some(target) = schema["$ref"].as_str() {
            schema = root.pointer(target.trim_start_matches('#')).unwrap_or(&Value::Null);
        } else if let Some(choice) = schema["anyOf"].as_array().and_then(|c| c.iter().find(|c| c["type"] != "null")) {
            let several =
                schema["anyOf"].as_array().is_some_and(|c| c.iter().filter(|c| c["type"] != "null").count() > 1);
            if several {
                return schema;
            }
            schema = choice;
        } else {
            return schema;
        }
    }
}

/// Writes the table of an object's keys, then the tables of the objects and of the lists of objects in it; `path` is the
/// object's key path, with `[]` for the entries of a list.
fn section(out: &mut String, root: &Value, schema: &Value, path: &str) {
    let Some(keys) = schema["properties"].as_object() else { return };
    let title = if path.is_empty() { "The document" } else { path };
    let about = schema["description"].as_str().unwrap_or("").replace('\n', " ");
    let _ = write!(out, "\n## {title}\n\n{about}\n\n| key | type | default | meaning |\n| --- | --- | --- | --- |\n");
    let required = |key: &str| schema["required"].as_array().is_some_and(|r| r.contains(&key.into()));
    let mut subsections = Vec::new();
    for (key, value) in keys {
        let target = resolve(root, value);
        let default = match &value["default"] {
            Value::Null if required(key) => "required".into(),
            Value::Null => "none".into(),
            Value::Object(_) => "see below".into(),
            Value::Number(n) if n.is_f64() => format!("`{}`", n.as_f64().unwrap_or(0.0) as f32),
            other => format!("`{other}`"),
        };
        let meaning =
            value["description"].as_str().or_else(|| target["description"].as_str()).unwrap_or("").replace('\n', " ");
        let _ = writeln!(out, "| `{key}` | {} | {default} | {meaning} |", type_name(target).replace('|', "\\|"));
        let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let entry = resolve(root, &target["items"]);
        if target["properties"].is_object() {
            subsections.push((full, target));
        } else if entry["properties"].is_object() {
            subsections.push((format!("{full}[]"), entry));
        }
    }
    for (path, schema) in subsections {
        section(out, root, schema, &path);
    }
}

/// A value's type in words, with its bounds or its possible values.
fn type_name(schema: &Value) -> String {
    if let Some(choices) = schema["oneOf"].as_array() {
        let names: Vec<String> = choices.iter().filter_map(|c| c["const"].as_str().map(|n| format!("`{n}`"))).collect();
        return names.join(" or ");
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        return choices.iter().map(type_name).collect::<Vec<_>>().join(" or ");
    }
    if let Some(choices) = schema["enum"].as_array() {
        return choices.iter().map(|c| format!("`{}`", c.as_str().unwrap_or(""))).collect::<Vec<_>>().join(" or ");
    }
    let types = schema["type"].as_array().map_or_else(|| vec![&schema["type"]], |types| types.iter().collect());
    let types: Vec<&str> = types.into_iter().filter_map(Value::as_str).filter(|t| *t != "null").collect();
    let bounds = [("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<")];
    let bounds: Vec<String> =
        bounds.iter().filter_map(|(key, sign)| schema[*key].as_f64().map(|x| format!("{sign} {x}"))).collect();
    let words = types.iter().map(|name| match *name {
        "object" => "mapping",
        "array" => "list",
        "integer" => "whole number",
        "string" => "text",
        other => other,
    });
    let words: Vec<&str> = words.collect();
    let name = if words.is_empty() { "any".to_owned() } else { words.join(" or ") };
    if bounds.is_empty() { name } else { format!("{name}, {}", bounds.join(", ")) }
}
