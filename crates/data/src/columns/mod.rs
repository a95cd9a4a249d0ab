//! Brings the columns of a row under the names that rlar uses: by the templates of `data.columns`, or by recognising the
//! forms of other tools' data sets.

mod forms;
mod message;
mod program_tests;
mod template;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use forms::recognise;
pub use message::{messages, text_of};
pub use template::{TemplateError, Templates, columns_of};

/// How the columns of a data set's rows become prompts, references and the like. Each value is a Jinja template in which
/// the row's columns are variables, such as `"{{ question }}"`. A column that no template names is read under its usual
/// name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ColumnTemplates {
    /// Template of the prompt: the text of the user's message, or one expression whose value is a list of messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Used instead of `prompt`: one expression whose value is a list of messages, such as `"{{ conversation }}"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<String>,
    /// Template of the system message, which comes before the prompt. Without it none is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Template of the reference: the right answer or a good reply, or one expression whose value is a list of accepted
    /// answers. It is used as it is; no final answer is looked for in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Template of the domain, the kind of task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Template of the row's id, which must be unique.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Template of the reply to imitate, for supervised fine-tuning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demonstration: Option<String>,
    /// Template of the better reply of a preference pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<String>,
    /// Template of the worse reply of a preference pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
}

impl ColumnTemplates {
    /// The templates that the config gives, as pairs of a key, such as `prompt`, and the template's text.
    fn given(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("prompt", &self.prompt),
            ("messages", &self.messages),
            ("system", &self.system),
            ("reference", &self.reference),
            ("domain", &self.domain),
            ("id", &self.id),
            ("demonstration", &self.demonstration),
            ("chosen", &self.chosen),
            ("rejected", &self.rejected),
        ];
        all.into_iter().filter_map(|(key, template)| Some((key, template.as_deref()?)))
    }

    /// Compiles the templates. The error's name is the key of the template that is wrong. Only the system message and the
    /// domain may be the same text for all rows.
    pub fn compile(&self) -> Result<CompiledColumns<'_>, TemplateError> {
        let is_constant = |text: &str| !text.contains("{{") && !text.contains("{%");
        if let Some((key, text)) =
            self.given().find(|(key, text)| !["system", "domain"].contains(key) && is_constant(text))
        {
            let reason = format!(
                "names no column, so that all rows would have the text `{text}`; the column `{text}` is written `{{{{ {text} }}}}`"
            );
            return Err(TemplateError { name: key.into(), reason });
        }
        if self.prompt.is_some() && self.messages.is_some() {
            let reason = "give either `prompt` or `messages`".to_owned();
            return Err(TemplateError { name: "messages".into(), reason });
        }
        let templates = Templates::new(self.given().map(|(key, template)| (key.to_owned(), template)))?;
        Ok(CompiledColumns { templates, keys: self.given().map(|(key, _)| key).collect() })
    }
}

/// The compiled templates of `data.columns`.
#[derive(Debug)]
pub struct CompiledColumns<'t> {
    templates: Templates<'t>,
    keys: Vec<&'static str>,
}

impl CompiledColumns<'_> {
    /// Whether there is a template for this key.
    pub fn has(&self, key: &str) -> bool {
        self.keys.contains(&key)
    }

    /// Sets each column of the row that has a template, such as `prompt`, to the template's value. If a template fails,
    /// for example because it uses a column that the row lacks, a value that the row already has in the target column
    /// stays: other data sets of a job, such as demonstrations, may need no templates.
    pub fn apply(&self, row: &mut Map<String, Value>) -> Result<(), String> {
        let mut values = Vec::with_capacity(self.keys.len());
        for key in &self.keys {
            match self.templates.value(key, row) {
                Ok(value) => values.push((*key, value)),
                Err(_) if row.get(*key).is_some_and(|value| !value.is_null()) => {}
                Err(e) => return Err(format!("`data.columns`, {e}")),
            }
        }
        for (key, value) in values {
            // Both names mean the prompt.
            match key {
                "messages" => row.shift_remove("prompt"),
                "prompt" => row.shift_remove("messages"),
                _ => None,
            };
            row.insert(key.to_owned(), value);
        }
        Ok(())
    }
}
