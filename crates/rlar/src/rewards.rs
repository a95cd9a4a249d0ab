//! `rlar rewards`: lists, tries, admits, retires and compares the tools of a library.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rlar_data::{Completion, Example, Needs, Preference, read_examples, read_preferences};
use rlar_eval::table::render;
use rlar_net::llm::Llm;
use rlar_rewards::{
    ADMISSION, Admission, CallStatistics, Check, FunctionAddress, Library, LlmConfig, Orchestrator, OrchestratorConfig,
    RewardError, ScoreSpread, Status, ToolContext, ToolRole, examine, probes_for, statistics,
};
use rlar_run::write_atomic;
use rlar_sandbox::{Packages, SandboxLimits};
use serde_json::json;

use crate::cli::{RewardsCommand, ToolArguments};
use crate::error::{BadRequestExt, bad_request};
use crate::output::print;
use crate::trial::{TriedRow, row, tried_rows, try_rows};
use crate::{choose, functions, model, setup};

pub fn run(folder: Option<&Path>, arguments: &ToolArguments, command: RewardsCommand) -> Result<()> {
    match command {
        RewardsCommand::Stats { path, json } => return stats(&path, json),
        RewardsCommand::Choose { config, data, agent } => return choose::run(folder, &config, data.as_deref(), agent),
        _ => {}
    }
    let mut library = setup::library(folder).bad_request()?;
    let writable = |command: &str| {
        folder.ok_or_else(|| bad_request(format!("{command} changes a library's folder: pass --library FOLDER")))
    };
    match command {
        RewardsCommand::List { json } => list(&library, json),
        RewardsCommand::Show { tool } => {
            check_tool(&library, &tool).bad_request()?;
            show(&library, &tool)
        }
        RewardsCommand::Test { tool, prompt, response, reference, column, data } => {
            let tool = if FunctionAddress::parse(&tool).is_some() {
                functions::add_named(&mut library, &[tool], arguments).bad_request()?.remove(0)
            } else {
                tool
            };
            check_tool(&library, &tool).bad_request()?;
            let rows = if let Some(path) = &data {
                tried_rows(path).bad_request()?
            } else {
                let row = row(&prompt, reference.as_deref(), &column).bad_request()?.to_string();
                let example =
                    read_examples(Path::new("--prompt"), row.as_bytes(), Needs::Prompt).bad_request()?.remove(0);
                let replies = vec![Completion::whole(response.unwrap_or_default())];
                vec![TriedRow { id: None, example, replies, stand_in: None }]
            };
            let mut rewards = orchestrator(library, arguments, "cpu").bad_request()?;
            try_rows(&mut rewards, &tool, &rows)
        }
        RewardsCommand::Admit { tools, data, preferences } => {
            let names = if tools.is_empty() { not_retired(&library) } else { tools };
            names.iter().try_for_each(|name| check_tool(&library, name)).bad_request()?;
            let rewards = orchestrator(library, arguments, "cpu").bad_request()?;
            let folder = writable("admit")?;
            let data = CheckData::read(data.as_deref(), preferences.as_deref()).bad_request()?;
            admit(&rewards, folder, &names, &data)
        }
        RewardsCommand::Retire { tool, why } => {
            check_tool(&library, &tool).bad_request()?;
            retire(&mut library, writable("retire")?, &tool, why)
        }
        RewardsCommand::Diff { other } => {
            let other = setup::library(Some(&other)).bad_request()?;
            print(library.differences(&other))
        }
        RewardsCommand::Stats { .. } | RewardsCommand::Choose { .. } => Ok(()),
    }
}

/// Fails if the library does not hold the tool.
pub fn check_tool(library: &Library, tool: &str) -> Result<()> {
    let names: Vec<&str> = library.cards().map(|c| c.name.as_str()).collect();
    if !names.contains(&tool) {
        bail!("no tool `{tool}` in the library; it holds: {}", names.join(", "));
    }
    Ok(())
}

fn role(role: ToolRole) -> &'static str {
    match role {
        ToolRole::Correctness => "correctness",
        ToolRole::Quality => "quality",
        ToolRole::Constraint => "constraint",
    }
}

fn status(admission: Option<&Admission>) -> &'static str {
    match admission.map(|a| a.status) {
        Some(Status::Admitted) => "admitted",
        Some(Status::Provisional) => "provisional",
        Some(Status::Refused) => "refused",
        Some(Status::Retired) => "retired",
        None => "not examined",
    }
}

fn not_retired(library: &Library) -> Vec<String> {
    let is_retired = |name: &str| library.admission(name).is_some_and(|a| a.status == Status::Retired);
    library.cards().map(|c| c.name.clone()).filter(|name| !is_retired(name)).collect()
}

fn list(library: &Library, as_json: bool) -> Result<()> {
    if as_json {
        let line = |c: &rlar_rewards::ToolCard| {
            let admission = status(library.admission(&c.name));
            format!("{}\n", json!({ "card": c, "identity": library.identity(&c.name), "admission": admission }))
        };
        return print(library.cards().map(line).collect::<String>());
    }
    let mut rows = vec![["tool", "role", "admission", "tasks"].map(str::to_owned).to_vec()];
    rows.extend(library.cards().map(|c| {
        let admission = status(library.admission(&c.name));
        vec![c.name.clone(), role(c.role).to_owned(), admission.to_owned(), c.tasks.join(", ")]
    }));
    print(render(&rows))
}

fn show(library: &Library, tool: &str) -> Result<()> {
    for (name, contents) in library.files(tool) {
        if name != ADMISSION {
            print(format!("── {name}\n{}\n", contents.trim_end()))?;
        }
    }
    let identity = library.identity(tool).unwrap_or_default();
    let admission = library.admission(tool);
    print(format!("── identity {identity}, {}\n", status(admission)))?;
    admission.map_or(Ok(()), |a| print(report(a)))
}

/// One line per admission check: whether it passed, and the evidence.
fn report(admission: &Admission) -> String {
    let line = |p: &Check| {
        let evidence = if p.evidence.is_empty() { String::new() } else { format!(": {}", p.evidence) };
        format!("  {} {}{evidence}\n", if p.passed { "yes" } else { "NO " }, p.name)
    };
    admission.checks.iter().map(line).collect()
}

/// Reads a file of recorded exchanges with a language model; returns its path and text.
fn exchanges(name: &str) -> Result<(PathBuf, String), RewardError> {
    let path = PathBuf::from(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok((path, text)),
        Err(source) => Err(RewardError::Io { path, source }),
    }
}

/// The language model that the command line names; `None` if it names none.
pub fn language_model(arguments: &ToolArguments) -> Result<Option<Arc<dyn Llm>>> {
    let local = arguments.llm_local.as_deref().map(model::find).transpose().context("--llm-local")?;
    let config = LlmConfig {
        url: arguments.llm.clone(),
        model: arguments.llm_model.clone(),
        local: local.map(|found| found.path.to_string_lossy().into_owned()),
        replay: arguments.llm_replay.clone(),
        record: arguments.llm_record.clone(),
        ..LlmConfig::default()
    };
    let is_named = config.url.is_some() || config.local.is_some() || config.replay.is_some();
    Ok(is_named.then(|| config.open(&exchanges)).transpose()?)
}

/// Makes an orchestrator that runs the tools of a library, with the Python packages and the language model that the
/// command line lets them use.
pub fn orchestrator(library: Library, arguments: &ToolArguments, device: &str) -> Result<Orchestrator> {
    Ok(orchestrator_with(library, arguments, device, language_model(arguments)?))
}

/// Like [`orchestrator`], with a language model that is open already: a recording can be opened only once.
pub fn orchestrator_with(
    library: Library,
    arguments: &ToolArguments,
    device: &str,
    llm: Option<Arc<dyn Llm>>,
) -> Orchestrator {
    orchestrator_of(library, &arguments.package, device, llm)
}

/// An orchestrator whose tools may import these packages and ask this language model.
pub fn orchestrator_of(library: Library, packages: &[String], device: &str, llm: Option<Arc<dyn Llm>>) -> Orchestrator {
    let packages = Packages { allowed: packages.to_vec(), cache: None };
    let context =
        ToolContext { packages, llm, device: device.to_owned(), ..ToolContext::new(SandboxLimits::default()) };
    Orchestrator::new(library, context, OrchestratorConfig::default())
}

/// The data that the command line names for the admission checks, which a tool must pass before it may score.
struct CheckData {
    examples: Option<Vec<Example>>,
    pairs: Option<Vec<Preference>>,
}

impl CheckData {
    fn read(examples: Option<&Path>, pairs: Option<&Path>) -> Result<Self> {
        let read =
            |option: &str, path: &Path| std::fs::read(path).with_context(|| format!("{option} {}", path.display()));
        let examples = match examples {
            Some(path) => Some(read_examples(path, &read("--data", path)?, Needs::Prompt)?),
            None => None,
        };
        let pairs = match pairs {
            Some(path) => Some(read_preferences(path, &read("--preferences", path)?)?),
            None => None,
        };
        Ok(Self { examples, pairs })
    }

    /// Runs the admission checks on a tool: on the data that the command line names, or else on built-in examples.
    fn check(&self, rewards: &Orchestrator, name: &str) -> Result<Admission> {
        let tool = rewards.for_admission(name)?;
        let builtin = match (&self.examples, &self.pairs) {
            (None, None) => probes_for(tool.card())?,
            _ => Vec::new(),
        };
        let examples = self.examples.as_deref().unwrap_or(&builtin);
        Ok(examine(&tool, examples, self.pairs.as_deref().unwrap_or_default())?)
    }
}

fn admit(rewards: &Orchestrator, folder: &Path, names: &[String], data: &CheckData) -> Result<()> {
    let (mut refused, mut unexamined) = (0, 0);
    for name in names {
        let admission = match data.check(rewards, name) {
            Ok(admission) => admission,
            // The remaining tools are examined nevertheless.
            Err(e) => {
                unexamined += 1;
                print(format!("{name}: not examined: {e}\n"))?;
                continue;
            }
        };
        print(format!("{name}: {}\n", status(Some(&admission))))?;
        if admission.status == Status::Refused {
            refused += 1;
            print(report(&Admission { checks: admission.failed().cloned().collect(), ..admission.clone() }))?;
        }
        write_admission(folder, name, &admission)?;
    }
    if refused > 0 {
        bail!("{refused} of {} tools are refused", names.len());
    }
    if unexamined > 0 {
        bail!("{unexamined} of {} tools could not be examined", names.len());
    }
    Ok(())
}

fn write_admission(folder: &Path, tool: &str, admission: &Admission) -> Result<()> {
    let text = serde_json::to_string_pretty(admission)? + "\n";
    Ok(write_atomic(&folder.join(tool).join(ADMISSION), text.as_bytes())?)
}

fn retire(library: &mut Library, folder: &Path, tool: &str, why: String) -> Result<()> {
    write_admission(folder, tool, &library.retire(tool, why))?;
    print(format!("{tool}: retired\n"))
}

fn stats(path: &Path, as_json: bool) -> Result<()> {
    let file = if path.is_dir() { path.join(rlar_rewards::STORE) } else { path.to_owned() };
    let statistics = statistics(&file)?;
    if as_json {
        let lines = statistics.iter().map(|s| Ok(format!("{}\n", serde_json::to_string(s)?)));
        return print(lines.collect::<Result<String>>()?);
    }
    let header =
        ["tool", "task", "calls", "cached", "abstained", "failed", "mean", "spread", "quartiles", "ms", "tokens"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(statistics.iter().flat_map(stats_rows));
    let failures =
        statistics.iter().filter_map(|s| Some(format!("{}: last failure: it {}\n", s.tool, s.last_failure.as_ref()?)));
    print(format!("{}{}", render(&rows), failures.collect::<String>()))
}

/// Table rows with the call statistics of a tool, one row per task. Values of the tool as a whole, such as its number
/// of calls, stand in the first row only.
fn stats_rows(tool: &CallStatistics) -> Vec<Vec<String>> {
    let counts = [tool.calls, tool.cached, tool.abstained, tool.failed].map(|n| n.to_string());
    let cost = [format!("{:.3}", 1000.0 * tool.seconds), tool.tokens.to_string()];
    let blank = || String::new();
    let mut tasks: Vec<Option<(&String, &ScoreSpread)>> = tool.calibration.iter().map(Some).collect();
    if tasks.is_empty() {
        tasks.push(None);
    }
    let row = |(i, task): (usize, Option<(&String, &ScoreSpread)>)| {
        let of_tool = |cell: &String| if i == 0 { cell.clone() } else { blank() };
        let mut row = vec![of_tool(&tool.tool), task.map_or_else(blank, |(name, _)| name.clone())];
        row.extend(counts.iter().map(of_tool));
        row.extend(task.map_or_else(|| [blank(), blank(), blank()], |(_, spread)| spread_cells(spread)));
        row.extend(cost.iter().map(of_tool));
        row
    };
    tasks.into_iter().enumerate().map(row).collect()
}

/// Table cells with the mean, the standard deviation and the quartiles of scores.
fn spread_cells(spread: &ScoreSpread) -> [String; 3] {
    let quartiles: Vec<String> = spread.quantiles[1..4].iter().map(|q| format!("{q:.2}")).collect();
    [format!("{:.3}", spread.mean), format!("{:.3}", spread.deviation), quartiles.join(" ")]
}
