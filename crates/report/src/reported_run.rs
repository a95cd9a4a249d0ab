//! A run with everything that a report says of it.

use std::path::PathBuf;

use rlar_view::answer::NoAnswer;
use rlar_view::bounded_file::read_text;
use rlar_view::config_values::{CONFIG, ConfigValue, config_values};
use rlar_view::evaluations::{EvaluationsView, evaluations};
use rlar_view::exchanges::{RoleUsage, exchanges};
use rlar_view::json_lines::FileProblem;
use rlar_view::library::{LibraryView, library};
use rlar_view::measured_by::{MeasuredBy, measured_by};

use crate::environment::{RunEnvironment, environment};
use crate::sample_replies::{SampleGroup, sample_groups};
use crate::tool_choices::{ToolChoices, tool_choices};
use crate::{MeasuredRun, ReportError};

/// A run with everything that a report says of it.
#[derive(Debug)]
pub struct ReportedRun {
    /// Its metrics.
    pub measured: MeasuredRun,
    /// The keys of its config.
    pub config: Vec<ConfigValue>,
    /// Its `config.yaml`.
    pub config_text: String,
    /// What was measured before, during and after training.
    pub evaluations: EvaluationsView,
    /// Which tools its accuracies are measured by.
    pub measured_by: MeasuredBy,
    /// Its tools.
    pub library: LibraryView,
    /// Who chose which tools for how many prompts, and why.
    pub choices: ToolChoices,
    /// What the requests to a language model took, by role.
    pub exchanges: Vec<RoleUsage>,
    /// What these requests cost by the prices in the config, in their currency; `None` if the config has no prices.
    pub llm_cost: Option<f64>,
    /// Replies that show what was rewarded.
    pub samples: Vec<SampleGroup>,
    /// What it ran on.
    pub environment: RunEnvironment,
    /// What could not be read.
    pub problems: Vec<FileProblem>,
}

impl ReportedRun {
    /// Reads runs. What cannot be read of them is named in their `problems`.
    pub fn open_all(folders: &[PathBuf]) -> Result<Vec<Self>, ReportError> {
        Ok(MeasuredRun::open_all(folders)?.into_iter().map(Self::of).collect())
    }

    fn of(measured: MeasuredRun) -> Self {
        let folder = &measured.folder;
        let mut problems = measured.problems.clone();
        let config = read(config_values(folder), CONFIG, &mut problems);
        let config_text = read_text(&folder.join(CONFIG)).unwrap_or_default();
        let during = measured.table.evaluations.clone();
        let evaluations = read(evaluations(folder, during), "report.json", &mut problems);
        let measured_by = measured_by(folder, &measured.table);
        let library = library(folder);
        problems.extend(library.problems.iter().cloned());
        let choices = read(tool_choices(folder), "assignments.jsonl", &mut problems);
        problems.extend(choices.problems.iter().cloned());
        let exchanges = read(exchanges(folder, 0, 0), "agents.jsonl", &mut problems);
        problems.extend(exchanges.problems);
        let samples = sample_groups(folder, &mut problems);
        let environment = environment(folder, &measured.table, &mut problems);
        Self {
            config,
            config_text,
            evaluations,
            measured_by,
            library,
            choices,
            exchanges: exchanges.roles,
            llm_cost: exchanges.cost,
            samples,
            environment,
            problems,
            measured,
        }
    }
}

/// What was read, or nothing and the reason among the problems.
fn read<T: Default>(answer: Result<T, NoAnswer>, file: &str, problems: &mut Vec<FileProblem>) -> T {
    answer.unwrap_or_else(|error| {
        let problem = FileProblem::of_file(file, &error);
        if !problems.contains(&problem) {
            problems.push(problem);
        }
        T::default()
    })
}
