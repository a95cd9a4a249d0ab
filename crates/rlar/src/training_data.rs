//! Finds and reads the data files that a config names, and tells the user how they were understood.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;
use rlar_data::{
    ColumnTemplates, DataFiles, Document, Example, ExampleList, FoundFiles, KeyProblem, Needs, Preference,
    list_examples, preferences,
};
use rlar_grpo::DataSet;

use crate::error::message;
use crate::find::data_files;
use crate::output::print_note;

/// The data files of one config.
pub struct TrainingData<'a> {
    document: &'a Document<'a>,
    config_path: &'a Path,
    /// Notes about the data that were printed already, so that none is printed twice.
    said: BTreeSet<String>,
    /// Data sets whose references cannot be compared with replies.
    unclear: Vec<UnclearSet>,
}

/// A data set whose references look like worked solutions without a final answer that can be found.
struct UnclearSet {
    key: String,
    why: String,
    /// The domains of the set's examples; `None` stands for examples without a domain.
    domains: BTreeSet<Option<String>>,
}

impl<'a> TrainingData<'a> {
    /// The data files of the config in `document`, whose path is `config_path`.
    pub fn new(document: &'a Document<'a>, config_path: &'a Path) -> Self {
        Self { document, config_path, said: BTreeSet::new(), unclear: Vec::new() }
    }

    /// The examples of a data set; empty if `is_used` is false, because the job does not need the set, or if the config
    /// names no files for it.
    pub fn examples(&mut self, is_used: bool, set: &DataSet, needs: Needs) -> Result<Vec<Example>> {
        Ok(self.example_list(is_used, set, needs)?.iter().collect::<Result<_, _>>()?)
    }

    /// The examples of a data set that may be large, as [`Self::examples`] reads them.
    pub fn example_list(&mut self, is_used: bool, set: &DataSet, needs: Needs) -> Result<ExampleList> {
        let Some(files) = set.files.filter(|_| is_used) else { return Ok(ExampleList::default()) };
        let found = self.find(&set.key, files)?;
        let columns = match set.columns.map(ColumnTemplates::compile).transpose() {
            Ok(columns) => columns,
            Err(e) => return self.refuse(&format!("{}.{}", set.columns_key, e.name), &e.reason),
        };
        let read = list_examples(found, columns.as_ref(), needs)?;
        for note in &read.notes {
            self.say(format!("{files}: {note}\n"))?;
        }
        if let (Some(why), false) = (read.unclear_references, needs == Needs::Demonstration) {
            let mut domains = BTreeSet::new();
            read.examples.for_each(
                |example| example.domain,
                |domain| -> Result<()> {
                    domains.insert(domain);
                    Ok(())
                },
            )?;
            self.unclear.push(UnclearSet { key: set.key.clone(), why, domains });
        }
        Ok(read.examples)
    }

    /// The pairs of replies of a data set; empty if `is_used` is false, because the job does not need the set, or if
    /// `files` is `None`.
    pub fn pairs(
        &self,
        is_used: bool,
        key: &str,
        files: Option<&DataFiles>,
        columns: Option<&ColumnTemplates>,
    ) -> Result<Vec<Preference>> {
        let Some(files) = files.filter(|_| is_used) else { return Ok(Vec::new()) };
        let rows = self.find(key, files)?.rows()?;
        match columns.map(ColumnTemplates::compile).transpose() {
            Ok(columns) => Ok(preferences(rows, columns.as_ref())?),
            Err(e) => self.refuse(&format!("data.columns.{}", e.name), &e.reason),
        }
    }

    /// Fails for a data set whose references look like worked solutions without a final answer that can be found,
    /// unless the config names tools for all domains of the set (the keys of `assigned`). A similarity metric, which
    /// would be used otherwise, would reward wrong solutions that are worded like the right one.
    pub fn reject_unclear_references<T>(&self, assigned: &BTreeMap<String, T>) -> Result<()> {
        let is_assigned = |domain: &Option<String>| domain.as_ref().is_some_and(|d| assigned.contains_key(d));
        let problems = self.unclear.iter().filter(|set| !set.domains.iter().all(is_assigned)).map(|set| {
            let message = format!(
                "{}, so no tool can compare a reply with them. Say what the answer is, for example `data.columns: {{ \
                 reference: \"{{{{ answer.split('####')[-1] | trim }}}}\" }}`, or name the tools of a domain in \
                 `rewards.assign`",
                set.why
            );
            KeyProblem::new(&set.key, message)
        });
        Ok(self.document.reject(problems.collect())?)
    }

    /// The files of a data set. The error names all that cannot be found, with the line of `key`.
    fn find(&self, key: &str, files: &DataFiles) -> Result<FoundFiles> {
        let mut missing = Vec::new();
        let found = files.find(|name| {
            let found = data_files(self.config_path, name);
            Ok::<_, anyhow::Error>(found.unwrap_or_else(|error| {
                missing.push(KeyProblem::new(key, message(&error)));
                Vec::new()
            }))
        });
        self.document.reject(missing)?;
        found
    }

    /// Fails with an error that names the line of the config's `key`.
    fn refuse<T>(&self, key: &str, message: &str) -> Result<T> {
        self.document.reject(vec![KeyProblem::new(key, message)])?;
        anyhow::bail!("{key}: {message}")
    }

    /// Prints a line on standard error, once.
    fn say(&mut self, line: String) -> Result<()> {
        if self.said.insert(line.clone()) { print_note(line) } else { Ok(()) }
    }
}
