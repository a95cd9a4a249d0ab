//! `rlar check`: everything that is wrong with a config, its data, model, tools and suites, at once.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Error, Result};
use rlar_data::{KeyProblem, nearest};
use rlar_grpo::{Method, TrainError, first_tokenizer, length_warning};
use rlar_rewards::{Library, PythonFunction, domain};

use crate::cli::ConfigArguments;
use crate::error::{BadRequestExt, bad_request, message};
use crate::output::print;
use crate::setup::{self, LoadedConfig};
use crate::{model, suites};

pub fn run(arguments: &ConfigArguments) -> Result<()> {
    let mut problems: Vec<Error> = Vec::new();
    let mut loaded = setup::load_with(arguments, |_| Ok(()), &mut |problem| {
        problems.push(problem);
        Ok(())
    })
    .bad_request()?;
    let is_readable = problems.is_empty();
    if let Some(llm) = &mut loaded.config.rewards.llm {
        // A check writes nothing.
        llm.record = None;
    }
    let model = loaded.config.model.path.clone().map(|name| model::check(Path::new(&name), Some(&loaded.path)));
    let mut is_here = true;
    match model.transpose() {
        Ok(None) => {}
        Ok(Some(Some(path))) => loaded.config.model.path = Some(path.to_string_lossy().into_owned()),
        // A check downloads no model.
        Ok(Some(None)) => is_here = false,
        Err(error) => {
            let is_of_config = arguments.model.is_none();
            problems.push(if is_of_config { loaded.problem("model.path", message(&error)) } else { error });
        }
    }
    // Functions are examined on the prompts, so all of these must have been read.
    let mut has_rewards = is_readable || loaded.config.rewards.python.is_empty();
    match setup::configured_library(&loaded) {
        Ok(library) => {
            let unknown = unknown_names(&loaded, &library);
            if !unknown.is_empty() {
                has_rewards = false;
                problems.push(loaded.error(unknown));
            }
        }
        Err(error) => {
            has_rewards = false;
            problems.push(loaded.problem("rewards.library", message(&error)));
            // The suites are checked with the built-in tools.
            loaded.config.rewards.library = None;
        }
    }
    problems.extend(tool_problems(&loaded, has_rewards));
    if problems.is_empty() {
        let lengths = if is_here { check_lengths(&loaded) } else { Ok(()) };
        match lengths {
            Ok(()) => return print(summary(&loaded)),
            Err(error) => problems.push(error),
        }
    }
    let lines: Vec<String> = problems.iter().map(message).collect();
    Err(bad_request(lines.join("\n")))
}

/// Warns if replies like those in the data would be cut off at `sampling.max_tokens`. An error if the tokenizer cannot be
/// loaded.
fn check_lengths(loaded: &LoadedConfig) -> Result<()> {
    if loaded.config.train.method != Method::Grpo {
        return Ok(());
    }
    let LoadedConfig { config, demonstrations, preferences, train, .. } = loaded;
    let tokenizer = first_tokenizer(&config.model, demonstrations, preferences);
    let tokenizer = tokenizer.map_err(TrainError::from);
    let warning = tokenizer.and_then(|tokenizer| length_warning(config, &tokenizer, demonstrations, train));
    if let Some(warning) = warning.map_err(|error| loaded.problem("model", error.to_string()))? {
        tracing::warn!("{warning}");
    }
    Ok(())
}

/// What is wrong with the suites of a config and, if `has_rewards` is true, with the tools that score its prompts.
/// Empty if `rewards.llm` itself is wrong, because both need this language model and the error was reported already.
fn tool_problems(loaded: &LoadedConfig, has_rewards: bool) -> Vec<Error> {
    let mut problems = Vec::new();
    let llm = loaded.config.rewards.llm.as_ref();
    if llm.is_some_and(|llm| llm.problem().is_some()) {
        // The config's own checks have said so.
        return problems;
    }
    if let Err(error) = setup::tool_context(loaded) {
        return vec![error];
    }
    if has_rewards {
        match setup::orchestrator(loaded, None) {
            Ok((rewards, _)) => match setup::unassigned(loaded, &rewards) {
                Ok(unassigned) => problems.extend(unassigned),
                Err(error) => problems.push(error),
            },
            Err(error) => problems.push(error),
        }
    }
    let suites = suites::of_config(loaded, &mut |problem| {
        problems.push(problem);
        Ok(())
    });
    problems.extend(suites.err());
    problems
}

/// Problems with names in the config's `rewards`: tools that are not in the library, and domains that no prompt has.
fn unknown_names(loaded: &LoadedConfig, library: &Library) -> Vec<KeyProblem> {
    let rewards = &loaded.config.rewards;
    let functions = rewards.python.iter().map(PythonFunction::tool_name);
    let tools: Vec<&str> = library.cards().map(|card| card.name.as_str()).chain(functions).collect();
    let assigned = rewards.assign.iter().flat_map(|(domain, tools)| {
        tools.iter().enumerate().map(move |(i, tool)| (format!("rewards.assign.{domain}[{i}]"), tool.tool.as_str()))
    });
    let always = rewards.always.iter().enumerate();
    let always = always.map(|(i, tool)| (format!("rewards.always[{i}]"), tool.tool.as_str()));
    let audit = rewards.audit.tools.iter().enumerate();
    let audit = audit.map(|(i, tool)| (format!("rewards.audit.tools[{i}]"), tool.as_str()));
    let unknown = assigned.chain(always).chain(audit).filter(|(_, tool)| !tools.contains(tool));
    let mut found: Vec<KeyProblem> = unknown
        .map(|(key, tool)| {
            KeyProblem::new(key, format!("no tool `{tool}` in the library{}", nearest(tool, tools.iter().copied())))
        })
        .collect();
    let mut domains: BTreeSet<String> = loaded.heldout.iter().map(|example| domain(example).to_owned()).collect();
    let of_train = loaded.train.for_each(
        |example| domain(&example).to_owned(),
        |domain| -> Result<()> {
            domains.insert(domain);
            Ok(())
        },
    );
    if let Err(error) = of_train {
        found.push(KeyProblem::new("data.train", message(&error)));
    }
    let is_unknown = |name: &&String| !domains.is_empty() && !domains.contains(*name);
    found.extend(rewards.assign.keys().filter(is_unknown).map(|name| {
        let known: Vec<&str> = domains.iter().map(String::as_str).collect();
        let hint = nearest(name, known.iter().copied());
        let message = format!("no prompt has the domain `{name}`; the data has: {}{hint}", known.join(", "));
        KeyProblem::new(format!("rewards.assign.{name}"), message)
    }));
    found
}

/// One line about a config without mistakes, with the numbers of its prompts, demonstrations and pairs.
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
