//! `rlar check`: everything that is wrong with a config, its data, model, tools and suites, at once.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Error, Result};
use rlar_data::{Example, nearest};
use rlar_rewards::{Library, domain};

use crate::cli::ConfigArguments;
use crate::error::bad_request;
use crate::output::print;
use crate::setup::{self, LoadedConfig};
use crate::suites;

pub fn run(arguments: &ConfigArguments) -> Result<()> {
    let mut problems: Vec<Error> = Vec::new();
    let loaded = setup::load_with(arguments, |_| Ok(()), &mut |problem| {
        problems.push(problem);
        Ok(())
    })?;
    let library = setup::library(loaded.config.rewards.library.as_deref().map(Path::new));
    match &library {
        Ok(library) => problems.extend(names(&loaded, library)),
        Err(error) => problems.push(Error::msg(format!("{error:#}; `rlar fetch-rewards` makes a library"))),
    }
    let is_readable = problems.is_empty();
    let summary = summary(&loaded);
    problems.extend(suites::of_config(&loaded).err());
    match loaded.find_model() {
        Ok(loaded) if is_readable => {
            let checked =
                setup::orchestrator(&loaded, None).and_then(|(rewards, _)| setup::check_tools(&loaded, &rewards));
            problems.extend(checked.err());
        }
        Ok(_) => {}
        Err(error) => problems.push(error),
    }
    if problems.is_empty() {
        return print(summary);
    }
    let lines: Vec<String> = problems.iter().map(|problem| format!("{problem:#}")).collect();
    Err(bad_request(lines.join("\n")))
}

/// Names of tools that the library lacks, and domains that no prompt has.
fn names(loaded: &LoadedConfig, library: &Library) -> Vec<Error> {
    let rewards = &loaded.config.rewards;
    let wrong = |key: &str, message: String| Error::msg(format!("{}: `{key}`: {message}", loaded.path.display()));
    let tools: Vec<&str> = library.cards().map(|card| card.name.as_str()).collect();
    let assigned = rewards.assign.iter().flat_map(|(domain, tools)| {
        let key = format!("rewards.assign.{domain}");
        tools.iter().map(move |tool| (key.clone(), tool.tool.as_str()))
    });
    let always = rewards.always.iter().map(|tool| ("rewards.always".to_owned(), tool.tool.as_str()));
    let audit = rewards.audit.tools.iter().map(|tool| ("rewards.audit".to_owned(), tool.as_str()));
    let unknown = assigned.chain(always).chain(audit).filter(|(_, tool)| !tools.contains(tool));
    let mut found: Vec<Error> = unknown
        .map(|(key, tool)| {
            wrong(&key, format!("no tool `{tool}` in the library{}", nearest(tool, tools.iter().copied())))
        })
        .collect();
    let prompts = || loaded.train.iter().chain(&loaded.heldout);
    let domains: BTreeSet<&str> = prompts().map(|example: &Example| domain(example)).collect();
    for name in rewards.assign.keys().filter(|name| !domains.contains(name.as_str()) && prompts().next().is_some()) {
        let known: Vec<&str> = domains.iter().copied().collect();
        let hint = nearest(name, known.iter().copied());
        let message = format!("no prompt has the domain `{name}`{hint}; the data has: {}", known.join(", "));
        found.push(wrong("rewards.assign", message));
    }
    found
}

/// What a config without mistakes amounts to, in one line.
fn summary(loaded: &LoadedConfig) -> String {
    let counts = [
        (loaded.train.len(), "prompts"),
        (loaded.heldout.len(), "held-out prompts"),
        (loaded.demonstrations.len(), "demonstrations"),
        (loaded.preferences.len(), "preference pairs"),
        (loaded.heldout_preferences.len(), "held-out pairs"),
    ];
    let counts: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    format!("{}: nothing is wrong; {}\n", loaded.path.display(), counts.join(", "))
}
