//! Jinja over the columns of a row.

use minijinja::{Environment, UndefinedBehavior};
use serde_json::{Map, Value};

/// Steps that a template may take.
const FUEL: u64 = 1_000_000;

/// The templates of a suite, compiled.
pub struct Templates<'t>(Environment<'t>);

impl<'t> Templates<'t> {
    /// Compiles templates by name; says which of them is wrong.
    pub fn new(named: impl IntoIterator<Item = (String, &'t str)>) -> Result<Self, (String, String)> {
        let mut all = Environment::new();
        all.set_fuel(Some(FUEL));
        // A column that a row lacks is an error, not an empty place in a question.
        all.set_undefined_behavior(UndefinedBehavior::Strict);
        all.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        all.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        for (name, source) in named {
            all.add_template_owned(name.clone(), source.to_owned()).map_err(|e| (name, said(&e)))?;
        }
        Ok(Self(all))
    }

    /// A template over a row's columns.
    pub fn render(&self, name: &str, row: &Map<String, Value>) -> Result<String, String> {
        let template = self.0.get_template(name).map_err(|e| said(&e))?;
        template.render(minijinja::value::Serde(row)).map_err(|e| {
            let have: Vec<&str> = row.keys().map(String::as_str).collect();
            format!("`{name}`: {}; the row has: {}", said(&e), have.join(", "))
        })
    }
}

fn said(e: &minijinja::Error) -> String {
    e.detail().map_or_else(|| e.kind().to_string(), |detail| format!("{}: {detail}", e.kind()))
}
