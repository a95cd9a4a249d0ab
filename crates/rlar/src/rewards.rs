//! `rlar rewards`: what tools there are, what they say, whether they may be trusted.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use rlar_data::{Completion, Needs, read_examples};
use rlar_eval::table::render;
use rlar_rewards::{ADMISSION, Admission, Library, Orchestrator, Outcome, Role, Status, examine, probes_for};
use rlar_run::write_atomic;
use rlar_sandbox::Limits;
use serde_json::json;

use crate::cli::RewardsCommand;
use crate::output::print;
use crate::{Failure, plan};

pub fn run(folder: Option<&Path>, command: RewardsCommand) -> Result<(), Failure> {
    let library = plan::library(folder).map_err(Failure::Request)?;
    match command {
        RewardsCommand::List { json } => list(&library, json).map_err(Failure::Job),
        RewardsCommand::Show { tool } => {
            known(&library, &tool)?;
            show(&library, &tool).map_err(Failure::Job)
        }
        RewardsCommand::Test { tool, prompt, response, reference } => {
            known(&library, &tool)?;
            let row = json!({ "prompt": prompt, "reference": reference });
            ask(library, &tool, &row.to_string(), response).map_err(Failure::Job)
        }
        RewardsCommand::Admit { tools, data } => {
            let names = if tools.is_empty() { library.cards().map(|c| c.name.clone()).collect() } else { tools };
            names.iter().try_for_each(|name| known(&library, name))?;
            let folder = folder.ok_or_else(|| {
                Failure::Request(anyhow!("admit keeps its reports in a library's folder: pass --library FOLDER"))
            })?;
            admit(library, folder, &names, data.as_deref())
        }
    }
}

fn known(library: &Library, tool: &str) -> Result<(), Failure> {
    let names: Vec<&str> = library.cards().map(|c| c.name.as_str()).collect();
    if names.contains(&tool) {
        return Ok(());
    }
    Err(Failure::Request(anyhow!("no tool `{tool}` in the library; it holds: {}", names.join(", "))))
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Correctness => "correctness",
        Role::Quality => "quality",
        Role::Constraint => "constraint",
    }
}

fn status(admission: Option<&Admission>) -> &'static str {
    match admission.map(|a| a.status) {
        Some(Status::Admitted) => "admitted",
        Some(Status::Refused) => "refused",
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
    let line = |p: &rlar_rewards::Probe| {
        let evidence = if p.evidence.is_empty() { String::new() } else { format!(": {}", p.evidence) };
        format!("  {} {}{evidence}\n", if p.passed { "yes" } else { "NO " }, p.name)
    };
    admission.probes.iter().map(line).collect()
}

fn orchestrator(library: Library) -> Orchestrator {
    Orchestrator::new(library, Limits::default())
}

fn ask(library: Library, tool: &str, row: &str, reply: String) -> Result<()> {
    let example = read_examples(Path::new("--prompt"), row, Needs::Prompt)?.remove(0);
    let mut rewards = orchestrator(library);
    let outcome = rewards.open(tool)?.score(&[(&example, &Completion::whole(reply))])?.remove(0);
    print(&match outcome {
        Outcome::Scored(score) => format!("{score}\n"),
        Outcome::Abstained(why) => format!("abstains: {why}\n"),
        Outcome::Failed(failure) => format!("failed: it {failure}\n"),
    })
}

fn admit(library: Library, folder: &Path, names: &[String], data: Option<&Path>) -> Result<(), Failure> {
    let examples = match data {
        Some(path) => {
            let read = || -> Result<_> {
                let text = std::fs::read_to_string(path).with_context(|| format!("--data {}", path.display()))?;
                Ok(read_examples(path, &text, Needs::Prompt)?)
            };
            Some(read().map_err(Failure::Request)?)
        }
        None => None,
    };
    let mut rewards = orchestrator(library);
    let mut refused = 0;
    let mut job = || -> Result<()> {
        for name in names {
            let identity = rewards.library().identity(name).unwrap_or_default();
            let tool = rewards.open(name)?;
            let own = probes_for(tool.card())?;
            let admission = examine(tool, identity, examples.as_ref().unwrap_or(&own))?;
            print(&format!("{name}: {}\n", status(Some(&admission))))?;
            if admission.status == Status::Refused {
                refused += 1;
                print(&report(&Admission { probes: admission.failed().cloned().collect(), ..admission.clone() }))?;
            }
            let text = serde_json::to_string_pretty(&admission)? + "\n";
            write_atomic(&folder.join(name).join(ADMISSION), text.as_bytes())?;
        }
        Ok(())
    };
    job().map_err(Failure::Job)?;
    if refused > 0 {
        return Err(Failure::Job(anyhow!("{refused} of {} tools are refused", names.len())));
    }
    Ok(())
}
