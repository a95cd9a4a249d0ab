//! `rlar rewards choose`: which tools score the prompts of a config, chosen by the builtin agent or by a language model.

use std::path::Path;

use anyhow::{Result, bail};
use rlar_data::{Example, Needs, read_examples};
use rlar_grpo::Agent;
use rlar_rewards::Assignment;
use serde_json::json;

use crate::cli::ChoosingAgent;
use crate::error::BadRequestExt;
use crate::output::{print, print_note};
use crate::setup;

pub fn run(folder: Option<&Path>, config: &Path, data: Option<&Path>, agent: Option<ChoosingAgent>) -> Result<()> {
    let mut loaded = setup::load(config, |_| Ok(())).bad_request()?;
    if let Some(folder) = folder {
        loaded.config.rewards.library = Some(folder.display().to_string());
    }
    match agent {
        Some(ChoosingAgent::Builtin) => loaded.config.rewards.agent = Agent::Builtin,
        Some(ChoosingAgent::Llm) => loaded.config.rewards.agent = Agent::Llm,
        None => {}
    }
    let examples = match data {
        Some(path) => read_prompts(path).bad_request()?,
        None => loaded.train.clone(),
    };
    let (rewards, agents) = setup::orchestrator(&loaded, None).bad_request()?;
    let agents = agents.filter(|_| loaded.config.rewards.agent == Agent::Llm);
    let mut chooser = agents.as_ref().map(|agents| agents.chooser(rewards.library()));
    for example in &examples {
        let by_llm = chooser.as_mut().map(|chooser| chooser.choose(example));
        let assignment: Assignment = match by_llm {
            Some(Ok(selection)) => selection.assignment,
            Some(Err(why)) => {
                print_note(format!("example `{}`: {why}; the builtin agent chooses\n", example.id))?;
                rewards.choose(example)?
            }
            None => rewards.choose(example)?,
        };
        let tools: Vec<_> = assignment.tools.iter().map(|t| json!({ "tool": t.tool, "weight": t.weight })).collect();
        print(format!("{}\n", json!({ "id": example.id, "tools": tools, "by": assignment.by, "why": assignment.why })))?;
    }
    Ok(())
}

fn read_prompts(path: &Path) -> Result<Vec<Example>> {
    let bytes = std::fs::read(path).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?;
    let examples = read_examples(path, &bytes, Needs::Prompt)?;
    if examples.is_empty() {
        bail!("{} has no prompts", path.display());
    }
    Ok(examples)
}
