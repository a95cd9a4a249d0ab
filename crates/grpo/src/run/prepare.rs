//! What a run of a policy prepares before its first step, wherever the policy is trained: its data, its journal, the agents.

use std::collections::BTreeSet;

use rlar_policy::{PolicyError, Tokenizer};
use rlar_rewards::agents::Agents;
use rlar_rewards::agents::background::{AgentRequest, BackgroundAgents};
use rlar_rewards::domain;
use rlar_run::{Checkpoint, Journal, RunFolder};

use crate::TrainError;
use crate::config::Agent;
use crate::report::assignment_log::AssignmentLog;
use crate::rollouts::collect::tool_health;
use crate::rollouts::evolution::{Evolution, EvolutionState, StepContext};
use crate::rollouts::mixture::Mixture;
use crate::rollouts::tool_health::ToolHealth;
use crate::run::job::Job;
use crate::run::lengths::{Lengths, prompt_lengths, retain_fitting};
use crate::run::reply_lengths::warn_of_long_replies;
use crate::run::resume::ResumePoint;
use crate::run::setup::mixture;
use crate::train_loop::sft::Demonstration;
use crate::update::train_state::Counters;

/// The data and state that a run of a policy prepares before its first step.
pub struct Prepared<'a> {
    /// The checkpoint from which the run continues; `None` without one.
    pub checkpoint: Option<Checkpoint>,
    /// How often tools failed, and which are suspended.
    pub tool_health: ToolHealth,
    /// The journal of the run.
    pub journal: Journal,
    /// The order of the prompts.
    pub mixture: Mixture,
    /// The demonstrations as token ids.
    pub demonstrations: Vec<Demonstration>,
    /// The agents that run during training; `None` without.
    pub evolution: Option<Evolution<'a>>,
    /// The file to which the tools of drawn prompts are written; `None` if the run has none.
    pub assignments: Option<AssignmentLog>,
    /// Length of the longest prompt with the longest possible reply, in tokens.
    pub longest_sampled: usize,
}

/// How a policy reads a text.
#[derive(Clone, Copy, Debug)]
pub struct PolicyInput<'a> {
    /// The policy's tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Length of the longest sequence that the policy can process, in tokens.
    pub positions: usize,
}

/// Encodes the data, and refuses prompts that do not fit into the policy's context before time is spent on training.
/// Then starts the journal and the agents. `plan` sets the counters of a new run that depend on the lengths of its data.
pub fn prepare<'a>(
    job: &mut Job,
    run: &'a RunFolder,
    resume: ResumePoint,
    input: PolicyInput,
    demonstrations: Vec<Demonstration>,
    counters: &mut Counters,
    plan: impl FnOnce(&mut Counters, Lengths) -> Result<(), TrainError>,
) -> Result<Prepared<'a>, TrainError> {
    let config = &job.config.clone();
    let PolicyInput { tokenizer, positions } = input;
    let prompts = prompt_lengths(tokenizer, positions, job.train.blocks(), config, "data.train")?;
    let heldout = std::iter::once(Ok(job.heldout.clone()));
    let heldout = prompt_lengths(tokenizer, positions, heldout, config, "data.heldout")?;
    retain_fitting(&mut job.heldout, &heldout);
    let mixture = mixture(job, &prompts)?;
    warn_of_long_replies(job, tokenizer)?;
    let checkpoint = resume.checkpoint.clone();
    let longest_sampled = Lengths::of(&prompts, &[], config).longest;
    let lengths = Lengths::of(&prompts, &demonstrations, config);
    let journal = resume.start(run, counters, |counters| plan(counters, lengths))?;
    let tool_health = tool_health(checkpoint.as_ref())?;
    tool_health.suspended.iter().for_each(|tool| job.rewards.suspend(tool));
    // The agents choose tools during the supervised warm-up.
    let evolution = match job.agents.take() {
        Some(agents) => Some(start_agents(agents, job, run, &mixture, EvolutionState::load(checkpoint.as_ref())?)?),
        None => None,
    };
    Ok(Prepared {
        checkpoint,
        tool_health,
        journal,
        mixture,
        demonstrations,
        evolution,
        assignments: None,
        longest_sampled,
    })
}

impl Prepared<'_> {
    /// Lets new tools and assignments of the agents come into use before the first step.
    pub fn enter_first(&mut self, job: &mut Job) -> Result<(), TrainError> {
        let Some(evolution) = &mut self.evolution else { return Ok(()) };
        let is_replayed = self.journal.reaches(1);
        let (config, rewards, examples) = (&job.config, &mut job.rewards, &job.train);
        let context = StepContext { config, rewards, examples, step: 0, is_replayed };
        evolution.enter(context, &mut self.journal)
    }
}

/// Starts the language-model agents in a thread of their own. They cache replies of the language model in the run's
/// folder, and know the new tools that earlier requests gave. With `rewards.agent: llm` they are asked for the tools of
/// all prompts for which they have not chosen yet, in the order in which the prompts will be drawn.
fn start_agents<'a>(
    agents: Agents,
    job: &mut Job,
    run: &'a RunFolder,
    mixture: &Mixture,
    state: EvolutionState,
) -> Result<Evolution<'a>, TrainError> {
    let mut library = job.rewards.library().clone();
    for tool in state.tools().filter(|tool| job.rewards.library().card(&tool.name).is_none()) {
        library.add_tool(tool, &run.path().join("library").join(&tool.name))?;
    }
    let background = BackgroundAgents::start(agents.with_cache(run.path())?, library);
    let background = background.map_err(|e| PolicyError::Request(format!("cannot start the agents' thread: {e}")))?;
    let assigned: BTreeSet<String> = job.config.rewards.assign.keys().cloned().collect();
    if job.config.rewards.agent == Agent::Llm {
        let mut seen = BTreeSet::new();
        let order = mixture.draw(mixture.len(), 0, job.config.seed).into_iter().chain(0..job.train.len());
        let mut prompts = Vec::new();
        for index in order.filter(|index| seen.insert(*index)) {
            let example = job.train.get(index)?;
            let name = domain(&example);
            if !assigned.contains(name) && !state.has_chosen(index, name) {
                prompts.push((index, example));
            }
        }
        background.submit(AgentRequest::SelectTools(prompts));
    }
    Evolution::resume(run, background, job, state)
}
