//! Jinja templates over the columns of a data row, for suites and for `data.columns`.

use minijinja::{Environment, UndefinedBehavior};
use serde_json::{Map, Value};

/// Maximum number of template instructions that one rendering may execute, so that no template runs for ever.
const FUEL: u64 = 1_000_000;

/// Compiled templates, each with a name.
#[derive(Debug)]
pub struct Templates<'t>(Environment<'t>);

/// The error about a template that does not compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// The template's name, which is its key in the YAML file.
    pub name: String,
    /// What is wrong with the template.
    pub reason: String,
}

impl<'t> Templates<'t> {
    /// Compiles Jinja templates, given as pairs of a name and the template's text.
    pub fn new(sources: impl IntoIterator<Item = (String, &'t str)>) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        // A column that a row lacks is an error, not an empty string in the prompt.
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        for (name, source) in sources {
            environment
                .add_template_owned(name.clone(), source.to_owned())
                .map_err(|e| TemplateError { name, reason: describe(&e) })?;
        }
        Ok(Self(environment))
    }

    /// Renders the template with this name; the row's columns are its variables. Fails where the template uses a column
    /// that the row lacks.
    pub fn render(&self, name: &str, row: &Map<String, Value>) -> Result<String, String> {
        let template = self.0.get_template(name).map_err(|e| describe(&e))?;
        template.render(minijinja::value::Serde(row)).map_err(|e| failed(name, &e, row))
    }

    /// The value of the template with this name. A template that is one expression, `{{ … }}`, has the expression's
    /// value, which may be a list; any other template has the rendered text.
    pub fn value(&self, name: &str, row: &Map<String, Value>) -> Result<Value, String> {
        let template = self.0.get_template(name).map_err(|e| describe(&e))?;
        let Some(expression) = single_expression(template.source()) else {
            return self.render(name, row).map(Value::from);
        };
        let compiled = self.0.compile_expression(expression).map_err(|e| describe(&e))?;
        let value = compiled.eval(minijinja::value::Serde(row)).map_err(|e| failed(name, &e, row))?;
        if value.is_undefined() {
            return Err(format!("`{name}`: `{expression}` has no value; {}", columns_of(row)));
        }
        serde_json::to_value(value).map_err(|e| format!("`{name}`: {e}"))
    }
}

/// The expression of a template that is `{{ expression }}` and nothing else; `None` for any other template.
fn single_expression(source: &str) -> Option<&str> {
    let inner = source.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let is_single = !inner.contains("{{") && !inner.contains("}}") && !inner.contains("{%");
    is_single.then(|| inner.trim_matches('-').trim())
}

fn failed(name: &str, e: &minijinja::Error, row: &Map<String, Value>) -> String {
    format!("`{name}`: {}; {}", describe(e), columns_of(row))
}

/// Says which columns a row has, for messages.
pub fn columns_of(row: &Map<String, Value>) -> String {
    let columns: Vec<&str> = row.keys().map(String::as_str).collect();
    format!("the row has: {}", columns.join(", "))
}

fn describe(e: &minijinja::Error) -> String {
    e.detail().map_or_else(|| e.kind().to_string(), |detail| format!("{}: {detail}", e.kind()))
}
