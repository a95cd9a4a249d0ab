//! Users' Python functions as reward tools: finding their files, adding them to a library, and examining them before they
//! score.

use std::path::Path;

use anyhow::{Context, Result, bail};
use rlar_data::{Document, Example, KeyProblem};
use rlar_grpo::{Config, Unadmitted};
use rlar_rewards::{
    ADMISSION, Admission, FunctionAddress, Library, Orchestrator, PythonFunction, Status, ToolContext, examine,
    read_source,
};
use rlar_sandbox::FunctionSource;
use serde_json::Map;

use crate::cli::ToolArguments;
use crate::error::message;
use crate::find;
use crate::output::print_error;
use crate::setup::LoadedConfig;
use crate::trial::NamedValue;

/// Maximum number of the config's prompts on which the admission checks try a Python function.
const EXAMPLES: usize = 12;

/// Reads the source files of the Python functions that a config names. The error lists every file that cannot be read,
/// with the line of the config that names it.
pub fn read(document: &Document, config_path: &Path, entries: &[PythonFunction]) -> Result<Vec<FunctionSource>> {
    let mut sources = Vec::with_capacity(entries.len());
    let mut problems = Vec::new();
    for (i, entry) in entries.iter().enumerate() {
        let Some(FunctionAddress { file, function }) = entry.address() else { continue };
        let source = match find::beside(config_path, file) {
            Some(path) => read_source(&path, function).map_err(|error| error.to_string()),
            None => Err(find::missing(config_path, file, "a Python file")),
        };
        match source {
            Ok(source) => sources.push(source),
            Err(message) => problems.push(KeyProblem::new(format!("rewards.python[{i}]"), message)),
        }
    }
    document.reject(problems)?;
    Ok(sources)
}

/// Adds the Python functions of a config to a library as tools, and lets the tools import the packages that the
/// functions' entries name.
pub fn add(library: &mut Library, context: &mut ToolContext, loaded: &LoadedConfig) -> Result<()> {
    let rewards = &loaded.config.rewards;
    for (entry, source) in rewards.python.iter().zip(&loaded.functions) {
        library.add_function(entry, source, &rewards.packages).context("`rewards.python`")?;
        context.packages.allowed.extend(entry.packages.iter().cloned());
    }
    Ok(())
}

/// Adds the Python functions that the command line names as `FILE:FUNCTION` to a library, and returns the names of
/// their tools. The functions may import the packages of `--package`, and get the keyword arguments of `--kwarg`.
pub fn add_named(library: &mut Library, names: &[String], arguments: &ToolArguments) -> Result<Vec<String>> {
    let mut kwargs = Map::new();
    for text in &arguments.kwarg {
        let NamedValue { name, value } = NamedValue::parse("--kwarg", text)?;
        kwargs.insert(name.to_owned(), value);
    }
    let mut tools = Vec::with_capacity(names.len());
    for name in names {
        let (trusted, kwargs) = (arguments.trusted, kwargs.clone());
        let entry = PythonFunction { trusted, kwargs, ..PythonFunction::new(name) };
        let Some(FunctionAddress { file, function }) = entry.address() else {
            bail!("`{name}` must name a file and a function in it, as `reward.py:accuracy`");
        };
        let path = Path::new(file);
        if !path.is_file() {
            bail!("{file} does not exist");
        }
        library.add_function(&entry, &read_source(path, function)?, &arguments.package)?;
        tools.push(entry.tool_name().to_owned());
    }
    if arguments.trusted && !tools.is_empty() {
        announce(&tools)?;
    }
    Ok(tools)
}

/// Says on standard error that the functions of these tools run as trusted, outside the sandbox.
fn announce(tools: &[String]) -> Result<()> {
    print_error(format!("trusted, so not confined by the sandbox: {}\n", tools.join(", ")))
}

/// Loads the Python functions of a config and runs the admission checks on them, with the config's prompts. The error
/// says what each function did wrong. `earlier` is the folder of an earlier run; its admission reports are used again
/// for functions that have not changed.
pub fn admit(rewards: &mut Orchestrator, loaded: &LoadedConfig, earlier: Option<&Path>) -> Result<()> {
    // A reward model is trained without rewards, so its config's functions are not read.
    let entries = if loaded.functions.is_empty() { &[] } else { &loaded.config.rewards.python[..] };
    let trusted: Vec<String> = entries.iter().filter(|f| f.trusted).map(|f| f.tool_name().to_owned()).collect();
    if !trusted.is_empty() {
        announce(&trusted)?;
    }
    let mut problems = Vec::new();
    for (i, entry) in entries.iter().enumerate() {
        if let Err(error) = admit_one(rewards, loaded, entry, earlier) {
            problems.push(KeyProblem::new(format!("rewards.python[{i}]"), message(&error)));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(loaded.error(problems)) }
}

/// Loads a Python function of a config. Also runs the admission checks on it, unless `rewards.unadmitted` is `allow` or
/// the run in the folder `earlier` has a report on the same function. An error says what the function did wrong.
fn admit_one(
    rewards: &mut Orchestrator,
    loaded: &LoadedConfig,
    entry: &PythonFunction,
    earlier: Option<&Path>,
) -> Result<()> {
    let (name, function) = (entry.tool_name(), &entry.function);
    rewards.open(name).with_context(|| function.clone())?;
    if loaded.config.rewards.unadmitted == Unadmitted::Allow {
        return Ok(());
    }
    let admission = match earlier.and_then(|folder| report_of(folder, rewards, name)) {
        Some(admission) => admission,
        None => examine(&rewards.for_admission(name)?, &examples(loaded, name)?, &[])?,
    };
    if admission.status == Status::Refused {
        let failed: Vec<String> = admission.failed().map(|c| format!("that it {}: {}", c.name, c.evidence)).collect();
        bail!(
            "the function {function} is refused; its admission checks do not show {}; `rewards.unadmitted: allow` lets it \
             score nevertheless",
            failed.join("; nor ")
        );
    }
    rewards.set_admission(name, admission);
    Ok(())
}

/// The admission report of a tool in a run's folder; `None` if there is none or it is on another version of the tool.
fn report_of(folder: &Path, rewards: &Orchestrator, tool: &str) -> Option<Admission> {
    let text = std::fs::read_to_string(folder.join("library").join(tool).join(ADMISSION)).ok()?;
    let admission: Admission = serde_json::from_str(&text).ok()?;
    (Some(&admission.identity) == rewards.library().identity(tool).as_ref()).then_some(admission)
}

/// At most [`EXAMPLES`] prompts of the config for the admission checks of a function, spread evenly over the prompts
/// that the function is to score.
fn examples(loaded: &LoadedConfig, tool: &str) -> Result<Vec<Example>> {
    let scores = |example: &Example| is_scored_by(&loaded.config, example, tool);
    if loaded.train.is_empty() {
        let all: Vec<&Example> = loaded.heldout.iter().filter(|example| scores(example)).collect();
        let stride = all.len().div_ceil(EXAMPLES).max(1);
        return Ok(all.into_iter().step_by(stride).cloned().collect());
    }
    let (mut scored, mut index) = (Vec::new(), 0);
    loaded.train.for_each(
        |example| scores(&example),
        |is_scored| -> Result<()> {
            scored.extend(is_scored.then_some(index));
            index += 1;
            Ok(())
        },
    )?;
    let stride = scored.len().div_ceil(EXAMPLES).max(1);
    Ok(scored.into_iter().step_by(stride).map(|index| loaded.train.get(index)).collect::<Result<_, _>>()?)
}

/// Whether a function is to score an example: `rewards.always` names it, or `rewards.assign` gives the example's domain no
/// tools, or names this function among them.
fn is_scored_by(config: &Config, example: &Example, tool: &str) -> bool {
    let assigned = config.rewards.assign.get(rlar_rewards::domain(example));
    config.rewards.is_always(tool) || assigned.is_none_or(|tools| tools.iter().any(|t| t.tool == tool))
}
