//! `rlar rewards`: what tools there are, what they say, whether they may be trusted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use rlar_data::{Completion, Example, Needs, Preference, read_examples, read_preferences};
use rlar_eval::table::render;
use rlar_net::llm::Llm;
use rlar_rewards::{
    ADMISSION, Admission, Check, Library, LlmConfig, Orchestrator, OrchestratorConfig, Outcome, RewardError, Spread,
    Status, ToolContext, ToolRole, examine, probes_for, statistics,
};
use rlar_run::write_atomic;
use rlar_sandbox::{Packages, SandboxLimits};
use serde_json::{Value, json};

use crate::cli::{Asked, RewardsCommand};
use crate::output::print;
use crate::{Failure, plan};

pub fn run(folder: Option<&Path>, asked: &Asked, command: RewardsCommand) -> Result<(), Failure> {
    if let RewardsCommand::Stats { path, json } = command {
        return stats(&path, json).map_err(Failure::Job);
    }
    let mut library = plan::library(folder).map_err(Failure::Request)?;
    let kept = |what: &str| {
        folder.ok_or_else(|| Failure::Request(anyhow!("{what} changes a library's folder: pass --library FOLDER")))
    };
    match command {
        RewardsCommand::List { json } => list(&library, json).map_err(Failure::Job),
        RewardsCommand::Show { tool } => {
            known(&library, &tool)?;
            show(&library, &tool).map_err(Failure::Job)
        }
        RewardsCommand::Test { tool, prompt, response, reference, column } => {
            known(&library, &tool)?;
            let row = row(&prompt, reference.as_deref(), &column).map_err(Failure::Request)?;
            let mut rewards = orchestrator(library, asked, "cpu")?;
            ask(&mut rewards, &tool, &row.to_string(), response).map_err(Failure::Job)
        }
        RewardsCommand::Admit { tools, data, preferences } => {
            let retired = |name: &str| library.admission(name).is_some_and(|a| a.status == Status::Retired);
            let all = || library.cards().map(|c| c.name.clone()).filter(|name| !retired(name)).collect();
            let names: Vec<String> = if tools.is_empty() { all() } else { tools };
            names.iter().try_for_each(|name| known(&library, name))?;
            let rewards = orchestrator(library, asked, "cpu")?;
            admit(&rewards, kept("admit")?, &names, data.as_deref(), preferences.as_deref())
        }
        RewardsCommand::Retire { tool, why } => {
            known(&library, &tool)?;
            retire(&mut library, kept("retire")?, &tool, why).map_err(Failure::Job)
        }
        RewardsCommand::Diff { other } => {
            let other = plan::library(Some(&other)).map_err(Failure::Request)?;
            print(&library.differences(&other)).map_err(Failure::Job)
        }
        RewardsCommand::Stats { .. } => Ok(()),
    }
}

pub fn known(library: &Library, tool: &str) -> Result<(), Failure> {
    let names: Vec<&str> = library.cards().map(|c| c.name.as_str()).collect();
    if names.contains(&tool) {
        return Ok(());
    }
    Err(Failure::Request(anyhow!("no tool `{tool}` in the library; it holds: {}", names.join(", "))))
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

fn list(library: &Library, as_json: bool) -> Result<()> {
    if as_json {
        let line = |c: &rlar_rewards::ToolCard| {
            let admission = status(library.admission(&c.name));
            format!("{}\n", json!({ "card": c, "identity": library.identity(&c.name), "admission": admission }))
        };
        return print(&library.cards().map(line).collect::<String>());
    }
    let mut rows = vec![["tool", "role", "admission", "tasks"].map(str::to_owned).to_vec()];
    rows.extend(library.cards().map(|c| {
        let admission = status(library.admission(&c.name));
        vec![c.name.clone(), role(c.role).to_owned(), admission.to_owned(), c.tasks.join(", ")]
    }));
    print(&render(&rows))
}

fn show(library: &Library, tool: &str) -> Result<()> {
    for (name, contents) in library.files(tool) {
        if name != ADMISSION {
            print(&format!("── {name}\n{}\n", contents.trim_end()))?;
        }
    }
    let identity = library.identity(tool).unwrap_or_default();
    let admission = library.admission(tool);
    print(&format!("── identity {identity}, {}\n", status(admission)))?;
    admission.map_or(Ok(()), |a| print(&report(a)))
}

fn report(admission: &Admission) -> String {
    let line = |p: &Check| {
        let evidence = if p.evidence.is_empty() { String::new() } else { format!(": {}", p.evidence) };
        format!("  {} {}{evidence}\n", if p.passed { "yes" } else { "NO " }, p.name)
    };
    admission.checks.iter().map(line).collect()
}

/// The text of recorded exchanges that the command line names.
fn exchanges(name: &str) -> Result<(PathBuf, String), RewardError> {
    let path = PathBuf::from(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok((path, text)),
        Err(source) => Err(RewardError::Io { path, source }),
    }
}

/// The language model that the command line names.
pub fn language_model(asked: &Asked) -> Result<Option<Arc<dyn Llm>>> {
    let config = LlmConfig {
        url: asked.llm.clone(),
        model: asked.llm_model.clone(),
        replay: asked.llm_replay.clone(),
        record: asked.llm_record.clone(),
        ..LlmConfig::default()
    };
    let named = config.url.is_some() || config.replay.is_some();
    Ok(named.then(|| config.open(&exchanges)).transpose()?)
}

/// What tools run with, as the command line says.
pub fn orchestrator(library: Library, asked: &Asked, device: &str) -> Result<Orchestrator, Failure> {
    let llm = language_model(asked).map_err(Failure::Request)?;
    Ok(orchestrator_with(library, asked, device, llm))
}

/// The same with a language model that was opened before: recordings are opened once.
pub fn orchestrator_with(library: Library, asked: &Asked, device: &str, llm: Option<Arc<dyn Llm>>) -> Orchestrator {
    let packages = Packages { allowed: asked.package.clone(), cache: None };
    let means = ToolContext { packages, llm, device: device.to_owned(), ..ToolContext::new(SandboxLimits::default()) };
    Orchestrator::new(library, means, OrchestratorConfig::default())
}

/// A row of the values that were typed.
fn row(prompt: &str, reference: Option<&str>, columns: &[String]) -> Result<Value> {
    let mut row = json!({ "prompt": prompt, "reference": reference });
    for column in columns {
        let (name, value) =
            column.split_once('=').with_context(|| format!("--column {column}: NAME=VALUE is expected"))?;
        row[name] = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    }
    Ok(row)
}

fn ask(rewards: &mut Orchestrator, tool: &str, row: &str, reply: String) -> Result<()> {
    let example = read_examples(Path::new("--prompt"), row, Needs::Prompt)?.remove(0);
    let outcome = rewards.open(tool)?.score(&[(&example, &Completion::whole(reply))])?.remove(0);
    print(&match outcome {
        Outcome::Scored(score) => format!("{score}\n"),
        Outcome::Abstained(why) => format!("abstains: {why}\n"),
        Outcome::Failed(failure) => format!("failed: it {failure}\n"),
    })
}

fn admit(
    rewards: &Orchestrator,
    folder: &Path,
    names: &[String],
    data: Option<&Path>,
    preferences: Option<&Path>,
) -> Result<(), Failure> {
    let read = |option: &str, path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("{option} {}", path.display()))
    };
    let examples =
        |path: &Path| -> Result<Vec<Example>> { Ok(read_examples(path, &read("--data", path)?, Needs::Prompt)?) };
    let pairs = |path: &Path| -> Result<Vec<Preference>> { Ok(read_preferences(path, &read("--preferences", path)?)?) };
    let examples = data.map(examples).transpose().map_err(Failure::Request)?;
    let pairs = preferences.map(pairs).transpose().map_err(Failure::Request)?;
    let (mut refused, mut unexamined) = (0, 0);
    let mut job = || -> Result<()> {
        for name in names {
            let examined = || -> Result<Admission> {
                let tool = rewards.for_admission(name)?;
                // Pairs alone are enough.
                let own = if pairs.is_some() { Vec::new() } else { probes_for(tool.card())? };
                Ok(examine(&tool, examples.as_deref().unwrap_or(&own), pairs.as_deref().unwrap_or_default())?)
            };
            let admission = match examined() {
                Ok(admission) => admission,
                // The others are examined all the same.
                Err(e) => {
                    unexamined += 1;
                    print(&format!("{name}: not examined: {e}\n"))?;
                    continue;
                }
            };
            print(&format!("{name}: {}\n", status(Some(&admission))))?;
            if admission.status == Status::Refused {
                refused += 1;
                print(&report(&Admission { checks: admission.failed().cloned().collect(), ..admission.clone() }))?;
            }
            keep(folder, name, &admission)?;
        }
        Ok(())
    };
    job().map_err(Failure::Job)?;
    if refused > 0 {
        return Err(Failure::Job(anyhow!("{refused} of {} tools are refused", names.len())));
    }
    if unexamined > 0 {
        return Err(Failure::Job(anyhow!("{unexamined} of {} tools could not be examined", names.len())));
    }
    Ok(())
}

fn keep(folder: &Path, tool: &str, admission: &Admission) -> Result<()> {
    let text = serde_json::to_string_pretty(admission)? + "\n";
    Ok(write_atomic(&folder.join(tool).join(ADMISSION), text.as_bytes())?)
}

fn retire(library: &mut Library, folder: &Path, tool: &str, why: String) -> Result<()> {
    keep(folder, tool, &library.retire(tool, why))?;
    print(&format!("{tool}: retired\n"))
}

fn stats(path: &Path, as_json: bool) -> Result<()> {
    let file = if path.is_dir() { path.join(rlar_rewards::STORE) } else { path.to_owned() };
    let statistics = statistics(&file)?;
    if as_json {
        let lines = statistics.iter().map(|s| Ok(format!("{}\n", serde_json::to_string(s)?)));
        return print(&lines.collect::<Result<String>>()?);
    }
    let head =
        ["tool", "task", "calls", "cached", "abstained", "failed", "mean", "spread", "quartiles", "ms", "tokens"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let quartiles = |s: &Spread| s.quantiles[1..4].iter().map(|q| format!("{q:.2}")).collect::<Vec<_>>().join(" ");
    for s in &statistics {
        let counts = [s.calls, s.cached, s.abstained, s.failed].map(|n| n.to_string());
        let took = [format!("{:.3}", 1000.0 * s.seconds), s.tokens.to_string()];
        let mut tasks = s.calibration.iter().peekable();
        let mut first = true;
        while first || tasks.peek().is_some() {
            let task = tasks.next();
            let spread = task.map_or([const { String::new() }; 3], |(_, d)| {
                [format!("{:.3}", d.mean), format!("{:.3}", d.deviation), quartiles(d)]
            });
            let blank = |cells: &[String]| {
                cells.iter().map(|c| if first { c.clone() } else { String::new() }).collect::<Vec<_>>()
            };
            let mut row = blank(std::slice::from_ref(&s.tool));
            row.push(task.map_or_else(String::new, |(name, _)| name.clone()));
            row.extend(blank(&counts));
            row.extend(spread);
            row.extend(blank(&took));
            rows.push(row);
            first = false;
        }
    }
    let failures =
        statistics.iter().filter_map(|s| Some(format!("{}: last failure: it {}\n", s.tool, s.last_failure.as_ref()?)));
    print(&format!("{}{}", render(&rows), failures.collect::<String>()))
}
