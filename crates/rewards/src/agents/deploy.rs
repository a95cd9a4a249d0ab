//! Turns the reward models that [`retrieve`](super::retrieve) found into tools: downloads them, scales their scores and
//! runs the admission checks.

use std::collections::BTreeSet;

use rlar_data::{Completion, Example};
use rlar_net::hub::Hub;

use crate::Outcome;
use crate::admission::examine::examine;
use crate::admission::report::Status;
use crate::agents::retrieve::{Candidate, HubConfig, RejectedModel, check_model, download, find_models, rerank};
use crate::agents::{AgentEvent, Agents, RejectedTool, ToolSet};
use crate::library::folder::Library;
use crate::library::new_tool::NewTool;
use crate::tool::card::{ToolCard, ToolKind, ToolRole};
use crate::tool::reward_model::ModelPointer;
use crate::tool::scoring::{Tool, ToolContext};

/// Largest number of examples from which the mean and the spread of a model's scores are estimated.
const SCALE_EXAMPLES: usize = 12;

/// A reward model to make a tool of, with the name, the task and the examples of the tool.
struct Deployment<'a> {
    hub: &'a Hub,
    config: &'a HubConfig,
    candidate: &'a Candidate,
    /// The name of the new tool.
    name: &'a str,
    /// The label of the task that the tool is for.
    task: &'a str,
    /// Examples of the task, on which the tool is examined.
    examples: &'a [Example],
}

impl Agents {
    /// Finds reward models for a task, and makes tools of the first of them that pass the admission checks. `is_taken`
    /// tells whether a tool has a name already. The sizes of all downloads, in bytes, are subtracted from `budget`.
    /// Without a Hub the result is empty.
    pub fn retrieve(
        &self,
        task: &str,
        examples: &[Example],
        is_taken: &dyn Fn(&str) -> bool,
        budget: &mut u64,
        on_event: &mut dyn FnMut(AgentEvent),
    ) -> ToolSet {
        let mut tools = ToolSet::default();
        let Some((hub, config)) = &self.hub else { return tools };
        let client = self.llm.as_ref();
        let found = match find_models(client, hub, &self.webs, task) {
            Ok(found) => found,
            Err(e) => {
                let message = format!("{task}: no models: {e}");
                on_event(AgentEvent::Message(message.clone()));
                tools.unanswered.push(message);
                return tools;
            }
        };
        tools.models.considered = found.len();
        let memory = rlar_policy::free_memory();
        let mut rejected = Vec::new();
        let mut candidates = Vec::new();
        for id in &found {
            match check_model(hub, id, config, memory) {
                Ok(candidate) => candidates.push(candidate),
                Err(model) => rejected.push(model),
            }
        }
        let (candidates, unsuitable) = rerank(client, task, candidates);
        rejected.extend(unsuitable);
        let mut names = BTreeSet::new();
        for candidate in candidates.iter().take(config.tries) {
            if tools.admitted.len() == config.models {
                break;
            }
            if candidate.bytes > *budget {
                let reason = "with the models downloaded before it, it would exceed `rewards.hub.max_megabytes_in_all`";
                rejected.push(RejectedModel { id: candidate.id.clone(), reason: reason.into() });
                continue;
            }
            *budget -= candidate.bytes;
            let name = tool_name(&candidate.id, &|n| is_taken(n) || names.contains(n));
            let deployment = Deployment { hub, config, candidate, name: &name, task, examples };
            match self.deploy(&deployment, on_event) {
                Ok(tool) => {
                    names.insert(name.clone());
                    on_event(AgentEvent::Message(format!("{task}: {} is admitted as `{name}`", candidate.id)));
                    tools.admitted.push(tool);
                }
                Err(model) => rejected.push(model),
            }
        }
        tools.models.admitted = tools.admitted.len();
        for RejectedModel { id, reason } in rejected {
            on_event(AgentEvent::Message(format!("{task}: {id}: {reason}")));
            tools.rejected.push(RejectedTool { name: id, reason, files: None });
        }
        tools
    }

    /// Downloads a model, makes a tool of it whose scores are scaled to the range from 0 to 1, and runs the tool's
    /// admission checks. The error says why the model cannot be used.
    fn deploy(&self, deployment: &Deployment, on_event: &mut dyn FnMut(AgentEvent)) -> Result<NewTool, RejectedModel> {
        let Deployment { hub, config, candidate, name, examples, .. } = *deployment;
        let reject = |reason: String| RejectedModel { id: candidate.id.clone(), reason };
        let model = &candidate.id;
        download(hub, candidate, config, &mut |progress| on_event(AgentEvent::Download { model, progress }))?;
        let mut card = card(deployment);
        let context = ToolContext { hub: Some(hub.clone()), ..self.context.clone() };
        let (_, unscaled) = open(&card, &context).map_err(reject)?;
        let ScoreScale { center, width } = score_scale(&unscaled, examples).map_err(reject)?;
        // The model is opened again below; two copies may not fit into memory.
        drop(unscaled);
        if let ToolKind::Model(pointer) = &mut card.kind {
            (pointer.sigmoid, pointer.center, pointer.scale) = (true, center, width);
        }
        card.range = [0.0, 1.0];
        let (text, tool) = open(&card, &context).map_err(reject)?;
        let admission = examine(&tool, examples, &[]).map_err(|e| reject(e.to_string()))?;
        if admission.status == Status::Refused {
            let failed: Vec<String> =
                admission.failed().take(3).map(|p| format!("{}: {}", p.name, p.evidence)).collect();
            return Err(reject(format!("was refused; it does not show that it {}", failed.join("; "))));
        }
        Ok(NewTool { name: name.to_owned(), card: text, source: String::new(), admission })
    }
}

/// The tool card of a model whose scores are not scaled yet, so that any finite score is in the card's range.
fn card(deployment: &Deployment) -> ToolCard {
    let Candidate { id, commit, licence, files, .. } = deployment.candidate;
    let hashes = files.iter().filter_map(|f| Some((f.name.clone(), f.sha256.clone()?)));
    let pointer = ModelPointer {
        repo: Some(id.clone()),
        revision: Some(commit.clone()),
        files: files.iter().map(|f| f.name.clone()).collect(),
        sha256: hashes.collect(),
        ..ModelPointer::default()
    };
    ToolCard {
        name: deployment.name.to_owned(),
        kind: ToolKind::Model(pointer),
        role: ToolRole::Quality,
        measures: format!("What the reward model {id} says of a reply."),
        tasks: vec![deployment.task.to_owned()],
        needs_reference: false,
        bare: false,
        range: [-1e9, 1e9],
        cases: Vec::new(),
        origin: format!("{id} at {commit}, licence {licence}"),
    }
}

/// Opens the tool of a card for its admission checks, and returns the card as YAML with the tool.
fn open(card: &ToolCard, context: &ToolContext) -> Result<(String, Tool), String> {
    let text = serde_yaml::to_string(card).map_err(|e| e.to_string())?;
    let mut library = Library::default();
    library.add("found/tool.yaml".as_ref(), text.clone(), String::new(), None).map_err(|e| e.to_string())?;
    Ok((text, library.open(&card.name, context).map_err(|e| e.to_string())?.for_admission()))
}

/// A free name for the tool of a model with the Hub id `id`: the model's name; where that is taken, the publisher's and
/// the model's name; where that is taken too, a number behind these.
fn tool_name(id: &str, is_taken: &dyn Fn(&str) -> bool) -> String {
    let plain = |s: &str| -> String {
        let plain_char = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
        s.chars().map(plain_char).take(60).collect()
    };
    let short = plain(id.split('/').next_back().unwrap_or(id));
    let numbered = (2..).map(|n| format!("{}_{n}", plain(id)));
    [short, plain(id)].into_iter().chain(numbered).find(|name| !is_taken(name)).unwrap_or_default()
}

/// The mean (`center`) and the standard deviation (`width`) of a model's scores, with which a sigmoid maps scores to 0
/// to 1.
struct ScoreScale {
    center: f64,
    width: f64,
}

/// Estimates the mean and the standard deviation of a model's scores, rounded to two digits, over good replies, good
/// replies to other prompts, an empty reply and "I do not know."
fn score_scale(tool: &Tool, examples: &[Example]) -> Result<ScoreScale, String> {
    let good = examples.iter().filter_map(|e| Some((e, e.demonstration.as_ref().or(e.reference.as_ref())?)));
    let good: Vec<(&Example, &String)> = good.take(SCALE_EXAMPLES).collect();
    let matched = good.iter().map(|(e, reply)| (*e, Completion::whole((*reply).clone())));
    let mismatched =
        good.iter().zip(good.iter().cycle().skip(1)).map(|((e, _), (_, r))| (*e, Completion::whole((*r).clone())));
    let empty = ["", "I do not know."];
    let empty = examples.iter().take(SCALE_EXAMPLES).flat_map(|e| empty.map(|r| (e, Completion::whole(r))));
    let items: Vec<(&Example, Completion)> = matched.chain(mismatched).chain(empty).collect();
    let items: Vec<(&Example, &Completion)> = items.iter().map(|(e, c)| (*e, c)).collect();
    let outcomes = tool.score(&items).map_err(|e| e.to_string())?;
    let scores: Vec<f64> = outcomes.iter().filter_map(Outcome::score).collect();
    if scores.is_empty() {
        return Err("it gives no score to any reply".into());
    }
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    let deviation = (scores.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / scores.len() as f64).sqrt();
    let round = |x: f64| format!("{x:.1e}").parse::<f64>().unwrap_or(x);
    Ok(ScoreScale { center: round(mean), width: round(deviation.max(1e-6)) })
}
