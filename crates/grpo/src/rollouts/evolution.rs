//! Reward tools that change while training runs. Language-model agents choose tools for prompts, and the drift monitor
//! watches whether scores still measure what they should. When it raises an alert, the agents are asked for a new tool.
//!
//! Training never waits for the agents. Their results come into use between two steps. They are written to the journal
//! before, and every checkpoint holds all of them, so that a resumed run gives every reply the score that it had.

use std::collections::{BTreeMap, BTreeSet};

use rlar_data::{DataError, Example, ExampleList};
use rlar_rewards::agents::VerifierCounts;
use rlar_rewards::agents::background::{AgentRequest, AgentResult, BackgroundAgents, ToolReplacement};
use rlar_rewards::monitor::{DriftAlert, DriftThresholds, Monitor, ObservedReply, ObservedScore};
use rlar_rewards::{Assignment, NewTool, Orchestrator, domain};
use rlar_run::{Checkpoint, Journal, RunFolder, sha256};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::TrainError;
use crate::config::Config;
use crate::rollouts::drawn_prompts::DrawnPrompts;
use crate::rollouts::learned_weights::teaches_weights;
use crate::rollouts::rollout::{Group, Rollout};
use crate::run::job::Job;

/// The file of a checkpoint with the monitor's state and all results of the agents that are in use.
pub const EVOLUTION: &str = "evolution.json";

/// The kind of the journal entries that hold results of the agents which come into use at a step.
const ENTERED: &str = "entered";

/// Largest number of a domain's examples that are sent to the agents, which write and check a new tool with them.
const MAX_EXAMPLES: usize = 64;

/// The part of a checkpoint about agents and drift monitor: the monitor's summaries of the latest steps, alerts without
/// a result yet, and the agents' results.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EvolutionState {
    monitor: Monitor,
    /// Drift alerts for which the agents have not given a result yet.
    pending: Vec<DriftAlert>,
    /// Results of the agents that are in use, in the order in which they came.
    entered: Vec<AgentResult>,
}

impl EvolutionState {
    /// Reads the state from a checkpoint; empty without a checkpoint.
    pub fn load(checkpoint: Option<&Checkpoint>) -> Result<Self, TrainError> {
        let Some(checkpoint) = checkpoint.filter(|c| c.path.join(EVOLUTION).exists()) else {
            return Ok(Self::default());
        };
        Ok(serde_json::from_slice(&checkpoint.read(EVOLUTION)?)?)
    }

    /// The tools that agents made or found after drift alerts, among the agents' results that are in use.
    pub fn tools(&self) -> impl Iterator<Item = &NewTool> {
        self.entered.iter().filter_map(|result| match result {
            AgentResult::Replacement(replacement) => replacement.tool.as_ref(),
            AgentResult::Prompt(..) | AgentResult::Domain(..) => None,
        })
    }

    /// Whether the agents have already chosen the tools of a prompt. `index` is the prompt's index in the training
    /// data, `domain` its domain.
    pub fn has_chosen(&self, index: usize, domain: &str) -> bool {
        self.entered.iter().any(|result| match result {
            AgentResult::Prompt(prompt, _) => *prompt == index,
            AgentResult::Domain(name, _) => name == domain,
            AgentResult::Replacement(replacement) => replacement.tool.is_some() && replacement.alert.domain == domain,
        })
    }
}

/// What a step passes to the agents and to the drift monitor, which watches the scores of the tools.
pub struct StepContext<'a> {
    /// The config of the run.
    pub config: &'a Config,
    /// The reward tools, and which of them each prompt has.
    pub rewards: &'a mut Orchestrator,
    /// Prompts to train on.
    pub examples: &'a ExampleList,
    /// Number of the step, from 1; 0 before the first step.
    pub step: u64,
    /// Whether the journal holds this step, because an earlier process already took it.
    pub is_replayed: bool,
}

/// The language-model agents, which assign and replace reward tools while training runs, and the drift monitor, which
/// raises an alert when a tool's scores no longer measure what they should.
#[derive(Debug)]
pub struct Evolution<'a> {
    run: &'a RunFolder,
    agents: BackgroundAgents,
    /// The thresholds at which the drift monitor raises an alert; `None` if the scores are not monitored.
    thresholds: Option<DriftThresholds>,
    demonstrations: Vec<Example>,
    state: EvolutionState,
    /// Domains whose tools were assigned by the config, or replaced by an agent after a drift alert. The choices that
    /// agents make for prompts of these domains are ignored.
    fixed_domains: BTreeSet<String>,
    /// The drift alerts that this process has passed to the agents, each as the text `STEP SIGNAL DOMAIN`.
    submitted: BTreeSet<String>,
    /// Numbers of verifiers that the agents wrote in this run.
    verifiers: VerifierCounts,
    /// Lines for people to read: alerts and replaced tools since the last step.
    news: Vec<String>,
}

impl<'a> Evolution<'a> {
    /// Continues from a saved state by applying the agents' results again, in the same order.
    pub fn resume(
        run: &'a RunFolder,
        agents: BackgroundAgents,
        job: &mut Job,
        state: EvolutionState,
    ) -> Result<Self, TrainError> {
        let rewards = &job.config.rewards;
        let mut evolution = Self {
            run,
            agents,
            thresholds: rewards.evolve.clone(),
            demonstrations: job.demonstrations.clone(),
            state: EvolutionState::default(),
            fixed_domains: rewards.assign.keys().cloned().collect(),
            submitted: BTreeSet::new(),
            verifiers: VerifierCounts::default(),
            news: Vec::new(),
        };
        for result in &state.entered {
            evolution.apply(result, &mut job.rewards, &job.train)?;
        }
        Ok(Self { state, news: Vec::new(), ..evolution })
    }

    /// The state that a checkpoint holds.
    pub fn state(&self) -> &EvolutionState {
        &self.state
    }

    /// Applies the results of the agents, such as a new tool, that have come since the last call. If the step is
    /// replayed, applies the results that the journal holds for this step instead.
    pub fn enter(&mut self, context: StepContext, journal: &mut Journal) -> Result<(), TrainError> {
        let StepContext { rewards, examples, step, is_replayed, .. } = context;
        let results: Vec<AgentResult> = match journal.recall(step, ENTERED)? {
            Some(results) => results,
            None if is_replayed => Vec::new(),
            None => {
                let results = self.agents.take_results();
                if !results.is_empty() {
                    journal.record(step, ENTERED, &results)?;
                }
                results
            }
        };
        for result in results {
            self.apply(&result, rewards, examples)?;
            if let AgentResult::Replacement(replacement) = &result {
                self.state.monitor.reset(&replacement.alert.domain);
                self.state.pending.retain(|alert| *alert != replacement.alert);
            }
            self.state.entered.push(result);
        }
        Ok(())
    }

    fn apply(
        &mut self,
        result: &AgentResult,
        rewards: &mut Orchestrator,
        examples: &ExampleList,
    ) -> Result<(), TrainError> {
        match result {
            AgentResult::Prompt(index, _) if *index >= examples.len() => {}
            AgentResult::Prompt(index, assignment) => {
                let example = examples.get(*index)?;
                if !self.fixed_domains.contains(domain(&example)) {
                    rewards.assign_example(&example, assignment.clone())?;
                }
            }
            AgentResult::Domain(name, _) if self.fixed_domains.contains(name) => {}
            AgentResult::Domain(name, assignment) => assign_domain(rewards, name, assignment),
            AgentResult::Replacement(replacement) => self.replace(replacement, rewards)?,
        }
        Ok(())
    }

    /// Writes the report of a replacement to the run's folder. If the agents found a new tool, gives it to the domain.
    fn replace(&mut self, replacement: &ToolReplacement, rewards: &mut Orchestrator) -> Result<(), TrainError> {
        let ToolReplacement { alert, tool, assignment, verifiers, page } = replacement;
        self.verifiers.add(*verifiers);
        self.run.write_folder("evolution", &[(report_name(alert), page.clone().into_bytes())])?;
        let DriftAlert { signal, domain, summary, .. } = alert;
        let Some((tool, assignment)) = tool.as_ref().zip(assignment.as_ref()) else {
            self.news.push(format!("{signal} of `{domain}`: {summary}; no new tool was admitted"));
            return Ok(());
        };
        let name = &tool.name;
        let existing = rewards.library().identity(name);
        if existing.as_ref().is_some_and(|identity| *identity != tool.admission.identity) {
            self.news.push(format!(
                "{signal} of `{domain}`: the new tool has the name of another, `{name}`; nothing changes"
            ));
            return Ok(());
        }
        if existing.is_none() {
            rewards.add_tool(tool, &self.run.path().join("library").join(name))?;
        }
        self.run.write_folder(&format!("library/{name}"), &rewards.library().files(name))?;
        assign_domain(rewards, domain, assignment);
        self.fixed_domains.insert(domain.clone());
        self.news.push(format!("{signal} of `{domain}`: {summary}; from now on `{name}` scores it"));
        Ok(())
    }

    /// Shows the groups of a step, which answer `prompts`, to the drift monitor, and passes new alerts to the agents. In a
    /// replayed step alerts are not passed on: an earlier process did so, and the journal may already hold the agents'
    /// result.
    pub fn observe<'g>(
        &mut self,
        groups: impl Iterator<Item = &'g Group>,
        prompts: &'g DrawnPrompts,
        context: &'g StepContext<'g>,
    ) -> Result<(), TrainError> {
        let Some(thresholds) = &self.thresholds else { return Ok(()) };
        let mut domains: BTreeMap<&str, Vec<Vec<ObservedReply>>> = BTreeMap::new();
        for group in groups {
            let example = &prompts[group.example].example;
            domains.entry(domain(example)).or_default().push(observed(group, example, context));
        }
        for (name, groups) in &domains {
            let is_pending = self.state.pending.iter().any(|alert| alert.domain == **name);
            if let Some(alert) = self.state.monitor.observe(context.step, name, groups, thresholds, is_pending) {
                self.news.push(format!("{} of `{name}`: {} ({})", alert.signal, alert.summary, alert.figures));
                self.state.pending.push(alert);
            }
        }
        if context.is_replayed {
            return Ok(());
        }
        for alert in &self.state.pending {
            if self.submitted.insert(format!("{} {} {}", alert.step, alert.signal, alert.domain)) {
                let is_of_domain = |e: &Example| domain(e) == alert.domain;
                let demonstrations = self.demonstrations.iter().filter(|e| is_of_domain(e)).cloned().map(Ok);
                let prompts = context.examples.iter().filter(|e| e.as_ref().map_or(true, is_of_domain));
                let examples = demonstrations.chain(prompts).take(MAX_EXAMPLES).collect::<Result<_, DataError>>()?;
                self.agents.submit(AgentRequest::ReplaceTools { alert: alert.clone(), examples });
            }
        }
        Ok(())
    }

    /// Takes the lines about alerts and replaced tools since the last call.
    pub fn news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.news)
    }

    /// How often this process's agents called the language model, by role, and numbers of verifiers that they wrote.
    pub fn usage(&self) -> Value {
        let mut usage = json!(self.agents.usage());
        let VerifierCounts { written, runnable, admitted, .. } = self.verifiers;
        usage["verifiers"] = json!({ "written": written, "run": runnable, "admitted": admitted });
        usage
    }
}

/// The file name of an alert's report. It contains the domain with only ASCII letters, digits and `-`, so that every
/// file system allows it. If this changes the domain's name, a hash keeps file names apart.
fn report_name(alert: &DriftAlert) -> String {
    let plain = alert.domain.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
    let mut name: String = plain.take(40).collect();
    if name != alert.domain {
        name = format!("{name}-{}", &sha256(alert.domain.as_bytes())[..8]);
    }
    format!("step-{:06}-{name}.md", alert.step)
}

/// Assigns tools to a domain. If one of them cannot be opened, this only logs a warning, and the domain keeps its
/// tools: with such a tool the run would end at the next step.
fn assign_domain(rewards: &mut Orchestrator, name: &str, assignment: &Assignment) {
    match assignment.tools.iter().find_map(|tool| rewards.open_admitted(&tool.tool).err()) {
        Some(why) => tracing::warn!("the tools chosen for `{name}` cannot be used: {why}"),
        None => rewards.assign_domain(name, assignment.clone()),
    }
}

/// The replies of a group to the prompt of `example` as the monitor sees them, with each score as a fraction of its
/// tool's range.
fn observed<'b>(group: &'b Group, example: &'b Example, context: &'b StepContext<'b>) -> Vec<ObservedReply<'b>> {
    let library = context.rewards.library();
    let reply = |reply: &'b Rollout| {
        let mut scores = Vec::new();
        let (mut sum, mut weights) = (Some(0.0), 0.0);
        // The soft overlong penalty (a score for the reply's length) has no tool card, so it is skipped here.
        for score in &reply.scores.tools {
            let Some(card) = library.card(&score.tool) else { continue };
            let [low, high] = card.range;
            let part = score.outcome.score().map(|s| (s - low) / (high - low));
            let weight = score.weight.max(0.0);
            sum = sum.zip(part).map(|(sum, part)| sum + part * weight);
            weights += weight;
            scores.push(ObservedScore { tool: &score.tool, score: part });
        }
        ObservedReply {
            prompt: example.prompt(),
            reference: example.reference.as_deref(),
            reply: &reply.text,
            reward: sum.filter(|_| weights > 0.0).map(|sum| sum / weights),
            scores,
            // What the learned weights were fitted on does not judge them.
            audit: reply.audit.filter(|_| !teaches_weights(context.config, group.example)),
        }
    };
    group.replies.iter().map(reply).collect()
}
