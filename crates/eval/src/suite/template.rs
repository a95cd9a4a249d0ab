//! The Jinja templates of a suite, rendered with the columns of a data row as variables.

use minijinja::{Environment, UndefinedBehavior};
use serde_json::{Map, Value};

/// Maximum number of template instructions that one rendering may execute, so that no template runs for ever.
const FUEL: u64 = 1_000_000;

/// The compiled templates of a suite, each with a name.
pub struct Templates<'t>(Environment<'t>);

/// The error about a template that does not compile.
pub struct TemplateError {
    /// The template's name, which is its key in the suite's YAML file.
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
        template.render(minijinja::value::Serde(row)).map_err(|e| {
            let columns: Vec<&str> = row.keys().map(String::as_str).collect();
            format!("`{name}`: {}; the row has: {}", describe(&e), columns.join(", "))
        })
    }
}

fn describe(e: &minijinja::Error) -> String {
    e.detail().map_or_else(|| e.kind().to_string(), |detail| format!("{}: {detail}", e.kind()))
}
