//! Rewards that change while training runs: what the agents found enters between two steps, and what the monitor notices is
//! handed to them.
//!
//! Nobody waits for an agent. What enters a step is in the journal before it is used, and what has entered so far is in every
//! checkpoint, so that a resumed run gives every reply the score that it had.

use std::collections::{BTreeMap, BTreeSet};

use rlar_data::Example;
use rlar_rewards::agents::VerifierCounts;
use rlar_rewards::agents::background::{AgentRequest, AgentResult, BackgroundAgents, ToolReplacement};
use rlar_rewards::monitor::{DriftAlert, DriftThresholds, Monitor, ObservedReply, ObservedScore};
use rlar_rewards::{Assignment, NewTool, Orchestrator, domain};
use rlar_run::{Checkpoint, Journal, RunFolder, sha256};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::TrainError;
use crate::config::Config;
use crate::rollouts::rollout::{Group, Rollout};

/// Where a checkpoint holds what has entered.
pub const EVOLUTION: &str = "evolution.json";

/// The kind of the journal's entries for what enters a step.
const ENTERED: &str = "entered";

/// Examples of a domain that new tools are made from and examined on.
const MOST_EXAMPLES: usize = 64;

/// What a resumed run must know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evolved {
    monitor: Monitor,
    /// Breaches that the agents have not answered.
    pending: Vec<DriftAlert>,
    /// What has entered, in order.
    entered: Vec<AgentResult>,
}

impl Evolved {
    /// The tools that had entered.
    pub fn tools(&self) -> impl Iterator<Item = &NewTool> {
        self.entered.iter().filter_map(|found| match found {
            AgentResult::Replacement(renewal) => renewal.tool.as_ref(),
            AgentResult::Prompt(..) | AgentResult::Domain(..) => None,
        })
    }

    /// Whether the agents have chosen for the prompt at a place, of this domain.
    pub fn has_chosen(&self, place: usize, name: &str) -> bool {
        self.entered.iter().any(|found| match found {
            AgentResult::Prompt(at, _) => *at == place,
            AgentResult::Domain(of, _) => of == name,
            AgentResult::Replacement(renewal) => renewal.tool.is_some() && renewal.alert.domain == name,
        })
    }

    /// What had entered before a checkpoint; nothing, without one.
    pub fn of(checkpoint: Option<&Checkpoint>) -> Result<Self, TrainError> {
        let Some(checkpoint) = checkpoint.filter(|c| c.path.join(EVOLUTION).exists()) else {
            return Ok(Self::default());
        };
        Ok(serde_json::from_slice(&checkpoint.read(EVOLUTION)?)?)
    }
}

/// The agents beside a run.
#[derive(Debug)]
pub struct Evolution<'a> {
    run: &'a RunFolder,
    worker: BackgroundAgents,
    /// When something is a breach; nothing is watched without it.
    watch: Option<DriftThresholds>,
    /// Prompts with good replies.
    shown: Vec<Example>,
    state: Evolved,
    /// Domains whose tools were given by hand, or renewed: no choice from before displaces them.
    fixed: BTreeSet<String>,
    /// Breaches that this process has handed to the agents.
    asked: BTreeSet<String>,
    /// Verifiers that were written, that run, and that were admitted.
    written: VerifierCounts,
    /// What there is to say since the last step.
    news: Vec<String>,
}

impl<'a> Evolution<'a> {
    /// Takes up what had entered. The tools that `rewards.assign` gives are not the agents' to choose.
    pub fn resume(
        run: &'a RunFolder,
        worker: BackgroundAgents,
        config: &Config,
        shown: Vec<Example>,
        state: Evolved,
        rewards: &mut Orchestrator,
        examples: &[Example],
    ) -> Result<Self, TrainError> {
        let fixed = config.rewards.assign.keys().cloned().collect();
        let watch = config.rewards.evolve.clone();
        let (before, asked) = (Evolved::default(), BTreeSet::new());
        let mut evolution = Self {
            run,
            worker,
            watch,
            shown,
            state: before,
            fixed,
            asked,
            written: VerifierCounts::default(),
            news: Vec::new(),
        };
        for found in &state.entered {
            evolution.apply(found, rewards, examples)?;
        }
        Ok(Self { state, news: Vec::new(), ..evolution })
    }

    /// The state for a checkpoint.
    pub fn state(&self) -> &Evolved {
        &self.state
    }

    /// Takes over what the agents have found by now, or what a journalled step took over.
    pub fn enter(
        &mut self,
        rewards: &mut Orchestrator,
        examples: &[Example],
        journal: &mut Journal,
        step: u64,
        is_replayed: bool,
    ) -> Result<(), TrainError> {
        let found: Vec<AgentResult> = match journal.recall(step, ENTERED)? {
            Some(found) => found,
            None if is_replayed => Vec::new(),
            None => {
                let found = self.worker.take_results();
                if !found.is_empty() {
                    journal.record(step, ENTERED, &found)?;
                }
                found
            }
        };
        for found in found {
            self.apply(&found, rewards, examples)?;
            if let AgentResult::Replacement(renewal) = &found {
                self.state.monitor.reset(&renewal.alert.domain);
                self.state.pending.retain(|b| *b != renewal.alert);
            }
            self.state.entered.push(found);
        }
        Ok(())
    }

    fn apply(
        &mut self,
        found: &AgentResult,
        rewards: &mut Orchestrator,
        examples: &[Example],
    ) -> Result<(), TrainError> {
        match found {
            AgentResult::Prompt(place, assignment) => {
                if let Some(example) = examples.get(*place).filter(|e| !self.fixed.contains(domain(e))) {
                    rewards.assign_example(example, assignment.clone())?;
                }
            }
            AgentResult::Domain(name, _) if self.fixed.contains(name) => {}
            AgentResult::Domain(name, assignment) => give(rewards, name, assignment),
            AgentResult::Replacement(renewal) => self.renew(renewal, rewards)?,
        }
        Ok(())
    }

    fn renew(&mut self, renewal: &ToolReplacement, rewards: &mut Orchestrator) -> Result<(), TrainError> {
        let ToolReplacement { alert: breach, tool, assignment, verifiers, page } = renewal;
        self.written.add(*verifiers);
        let plain = breach.domain.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
        let mut name: String = plain.take(40).collect();
        if name != breach.domain {
            // Others may look the same.
            name = format!("{name}-{}", &sha256(breach.domain.as_bytes())[..8]);
        }
        let file = format!("step-{:06}-{name}.md", breach.step);
        self.run.write_folder("evolution", &[(file, page.clone().into_bytes())])?;
        let Some((tool, assignment)) = tool.as_ref().zip(assignment.as_ref()) else {
            self.news.push(format!(
                "{} of `{}`: {}; no new tool was admitted",
                breach.signal, breach.domain, breach.summary
            ));
            return Ok(());
        };
        let there = rewards.library().identity(&tool.name);
        if there.as_ref().is_some_and(|identity| *identity != tool.admission.identity) {
            let (sign, domain, name) = (breach.signal, &breach.domain, &tool.name);
            self.news
                .push(format!("{sign} of `{domain}`: the new tool `{name}` is called like another; nothing changes"));
            return Ok(());
        }
        if there.is_none() {
            rewards.add_tool(tool, &self.run.path().join("library").join(&tool.name))?;
        }
        self.run.write_folder(&format!("library/{}", tool.name), &rewards.library().files(&tool.name))?;
        give(rewards, &breach.domain, assignment);
        self.fixed.insert(breach.domain.clone());
        let said = format!(
            "{} of `{}`: {}; from now on `{}` scores it",
            breach.signal, breach.domain, breach.summary, tool.name
        );
        self.news.push(said);
        Ok(())
    }

    /// Lets the monitor see the batch of a step, and hands what it notices to the agents, unless an earlier process did so
    /// and the journal may know the answer.
    pub fn observe<'g>(
        &mut self,
        groups: impl Iterator<Item = &'g Group>,
        rewards: &Orchestrator,
        examples: &'g [Example],
        step: u64,
        is_replayed: bool,
    ) {
        let Some(watch) = &self.watch else { return };
        let mut domains: BTreeMap<&str, Vec<Vec<ObservedReply>>> = BTreeMap::new();
        for group in groups {
            domains.entry(domain(&examples[group.example])).or_default().push(seen(group, rewards, examples));
        }
        for (name, groups) in &domains {
            let waits = self.state.pending.iter().any(|b| b.domain == **name);
            if let Some(breach) = self.state.monitor.observe(step, name, groups, watch, waits) {
                self.news.push(format!("{} of `{name}`: {} ({})", breach.signal, breach.summary, breach.figures));
                self.state.pending.push(breach);
            }
        }
        if is_replayed {
            return;
        }
        for breach in &self.state.pending {
            if self.asked.insert(format!("{} {} {}", breach.step, breach.signal, breach.domain)) {
                let of = |e: &&Example| domain(e) == breach.domain;
                let known = self.shown.iter().filter(of).chain(examples.iter().filter(of));
                let examples = known.take(MOST_EXAMPLES).cloned().collect();
                self.worker.submit(AgentRequest::ReplaceTools { alert: breach.clone(), examples });
            }
        }
    }

    /// What there is to say since the last time.
    pub fn news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.news)
    }

    /// What the agents were asked so far, by role, and what came of the verifiers that they wrote in this run.
    pub fn tally(&self) -> Value {
        let mut tally = json!(self.worker.usage());
        let VerifierCounts { written, runnable: run, admitted } = self.written;
        tally["verifiers"] = json!({ "written": written, "run": run, "admitted": admitted });
        tally
    }
}

/// Gives a domain its tools, unless the library does not hold one of them.
fn give(rewards: &mut Orchestrator, name: &str, assignment: &Assignment) {
    // One that cannot be opened here would end the run at the next step.
    match assignment.tools.iter().find_map(|c| rewards.open_admitted(&c.tool).err()) {
        Some(why) => tracing::warn!("what was chosen for `{name}` cannot be used: {why}"),
        None => rewards.assign_domain(name, assignment.clone()),
    }
}

/// A group as the monitor sees it.
fn seen<'b>(group: &'b Group, rewards: &Orchestrator, examples: &'b [Example]) -> Vec<ObservedReply<'b>> {
    let example = &examples[group.example];
    let part = |tool: &str, score: f64| {
        let [low, high] = rewards.library().card(tool).map_or([0.0, 1.0], |c| c.range);
        (score - low) / (high - low)
    };
    let one = |reply: &'b Rollout| {
        let known = reply.scores.tools.iter().filter(|s| rewards.library().card(&s.tool).is_some());
        let scores: Vec<(&str, f64, Option<f64>)> =
            known.map(|s| (&*s.tool, s.weight, s.outcome.score().map(|score| part(&s.tool, score)))).collect();
        let weights: f64 = scores.iter().map(|(_, w, _)| w.max(0.0)).sum();
        let sum: Option<f64> = scores.iter().map(|(_, w, s)| s.map(|s| s * w.max(0.0))).sum();
        ObservedReply {
            prompt: example.prompt(),
            reference: example.reference.as_deref(),
            reply: &reply.text,
            reward: sum.filter(|_| weights > 0.0).map(|s| s / weights),
            scores: scores.into_iter().map(|(tool, _, score)| ObservedScore { tool, score }).collect(),
            audit: reply.audit,
        }
    };
    group.replies.iter().map(one).collect()
}
