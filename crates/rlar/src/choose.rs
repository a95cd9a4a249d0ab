//! `rlar rewards choose`: which tools score the prompts of a config, chosen by the builtin agent or by a language model.

use std::path::Path;

use anyhow::{Result, bail};
use rlar_data::{DataFile, ExampleList, FoundFiles, Needs, list_examples};
use rlar_grpo::Agent;
use rlar_rewards::Assignment;
use serde_json::json;

use crate::agent_progress::AgentProgress;
use crate::cli::{ChoosingAgent, ConfigArguments};
use crate::error::BadRequestExt;
use crate::output::{print, print_note, print_notes};
use crate::setup::{self, LoadedConfig};

pub fn run(
    folder: Option<&Path>,
    config: &ConfigArguments,
    data: Option<&Path>,
    agent: Option<ChoosingAgent>,
) -> Result<()> {
    let loaded = setup::load(config, |config| {
        if let Some(folder) = folder {
            config.rewards.library = Some(folder.display().to_string());
        }
        match agent {
            Some(ChoosingAgent::Builtin) => config.rewards.agent = Agent::Builtin,
            Some(ChoosingAgent::Llm) => config.rewards.agent = Agent::Llm,
            None => {}
        }
        Ok(())
    })
    .bad_request()?;
    let examples = match data {
        Some(path) => &read_prompts(path).bad_request()?,
        None => &loaded.train,
    };
    let (rewards, agents) = setup::orchestrator(&loaded, None).bad_request()?;
    let agents = agents.filter(|_| loaded.config.rewards.agent == Agent::Llm);
    let progress = AgentProgress::default();
    let agents = match (agents, &loaded.config.rewards.library) {
        // What the library's folder holds of an interrupted call is not asked again.
        (Some(agents), Some(folder)) => Some(agents.with_cache(Path::new(folder))?),
        (agents, _) => agents,
    };
    let agents = agents.map(|agents| agents.observed_by(progress.observer()));
    let mut chooser = agents.as_ref().map(|agents| agents.chooser(rewards.library()));
    for (example, file) in examples.iter().zip(files_of_prompts(&loaded, data)) {
        let example = &example?;
        let by_llm = chooser.as_mut().map(|chooser| chooser.choose(example));
        let assignment: Assignment = match by_llm {
            Some(Ok(assignment)) => rewards.complete(example, assignment)?,
            Some(Err(why)) => {
                let place = file.as_ref().map_or(String::new(), |file| format!("{file}: "));
                print_note(format!("example `{place}{}`: {why}; the builtin agent chooses\n", example.id))?;
                rewards.choose(example)?
            }
            None => rewards.choose(example)?,
        };
        let tools: Vec<_> = assignment.tools.iter().map(|t| json!({ "tool": t.tool, "weight": t.weight })).collect();
        let mut choice = json!({ "id": example.id, "tools": tools, "by": assignment.by, "why": assignment.why });
        if let Some(file) = file {
            choice["file"] = file.into();
        }
        print(format!("{choice}\n"))?;
    }
    progress.end();
    Ok(())
}

/// The file of every prompt, in their order, where the config has several data sets: an id is unique in its data set only.
/// `None` for each prompt of one data set, and for those of `data`, which replace the config's.
fn files_of_prompts(loaded: &LoadedConfig, data: Option<&Path>) -> impl Iterator<Item = Option<String>> {
    let config = &loaded.config.data;
    let mut sets = config.sets("train", &config.train, |domain| &domain.train);
    if data.is_some() || sets.len() < 2 {
        sets.clear();
    }
    let of_sets = sets.into_iter().zip(&loaded.sizes);
    let files = of_sets.flat_map(|(set, size)| std::iter::repeat_n(set.files.map(ToString::to_string), *size));
    files.chain(std::iter::repeat(None))
}

fn read_prompts(path: &Path) -> Result<ExampleList> {
    let bytes = std::fs::read(path).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?;
    let files = FoundFiles::Whole(vec![DataFile { path: path.to_owned(), bytes }]);
    let set = list_examples(files, None, Needs::Prompt)?;
    print_notes(&set.notes)?;
    if set.examples.is_empty() {
        bail!("{} has no prompts", path.display());
    }
    Ok(set.examples)
}
