//! A library in service: the orchestrator of its tools, with what the server learns about them while they score.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rlar_rewards::agents::client::UsageByRole;
use rlar_rewards::{
    CALIBRATION, Library, Orchestrator, Outcome, PlannedScore, RewardError, Store, ToolPlan, WeightedTool,
};
use rlar_run::sha256;

use crate::answer::choice;
use crate::intake::{PromptRow, ReadyItem};
use crate::libraries::LoadedRewards;
use crate::llm_choices::LlmChoices;
use crate::tool_failures::ToolFailures;
use crate::wire::{ItemStatus, ListedTool, ToolChoice};

/// A library in service. Several threads score with it at once.
#[derive(Debug)]
pub struct ServedLibrary {
    /// Hash of the library: of its tools, their code, their admission and the settings around them.
    pub hash: String,
    /// The cache of scores; `None` for none.
    pub store: Option<Arc<Store>>,
    state: Mutex<ServedState>,
}

#[derive(Debug)]
struct ServedState {
    rewards: Orchestrator,
    failures: ToolFailures,
    /// The language model that chooses tools beside; `None` for none.
    choices: Option<LlmChoices>,
}

/// The tools of an item, or why it has none.
#[derive(Clone, Debug)]
pub enum ItemPlan {
    /// Tools will score the item.
    Tools {
        /// The opened tools.
        plan: ToolPlan,
        /// Who chose them.
        chosen: ToolChoice,
    },
    /// No tool will score the item.
    Nothing {
        /// The status of its answer.
        status: ItemStatus,
        /// Why there is no tool.
        why: String,
    },
}

/// A tool that was suspended just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuspendedTool {
    /// The tool's name.
    pub tool: String,
    /// Number of its latest scores that failed.
    pub failures: usize,
    /// Number of its latest scores.
    pub scores: usize,
    /// The text of its last failure.
    pub last: String,
}

impl ServedLibrary {
    /// Puts a library into service. Fails when the config names a tool that the library lacks or that may not score, and
    /// when the thread of its agents cannot be started.
    pub fn new(loaded: LoadedRewards) -> Result<Self, String> {
        let LoadedRewards { rewards, agents, settings } = loaded;
        rewards.check_named_tools().map_err(|error| error.to_string())?;
        let hash = library_hash(rewards.library(), &settings);
        let agents = agents.filter(|agents| agents.llm.is_some());
        let choices = agents.map(|agents| LlmChoices::start(agents, rewards.library().clone())).transpose()?;
        let store = rewards.shared_store();
        let state = Mutex::new(ServedState { rewards, failures: ToolFailures::default(), choices });
        Ok(Self { hash, store, state })
    }

    fn lock(&self) -> MutexGuard<'_, ServedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Chooses and opens the tools of items. Items of a group are planned once.
    pub fn plan<'i>(&self, items: impl Iterator<Item = &'i ReadyItem>) -> Vec<ItemPlan> {
        let mut state = self.lock();
        state.enter_choices();
        let mut known: BTreeMap<*const PromptRow, ItemPlan> = BTreeMap::new();
        let plan = |item: &ReadyItem| match &item.tools {
            Some(tools) => state.plan_named(&item.prompt, tools),
            None => known.entry(Arc::as_ptr(&item.prompt)).or_insert_with(|| state.plan_chosen(&item.prompt)).clone(),
        };
        items.map(plan).collect()
    }

    /// Counts the failures among scores, and suspends tools of which more than the share `limit` failed lately.
    pub fn count_failures<'s>(&self, scores: impl Iterator<Item = &'s PlannedScore>, limit: f64) -> Vec<SuspendedTool> {
        let mut state = self.lock();
        let mut suspended = Vec::new();
        // Cached scores say nothing about the present, and a late one is no fault of the tool.
        for given in scores.filter(|s| !s.cached && !is_late(&s.score.outcome)) {
            let failure = match &given.score.outcome {
                Outcome::Failed(failure) => Some(failure.to_string()),
                Outcome::Scored(_) | Outcome::Abstained(_) => None,
            };
            let tool = &*given.score.tool;
            let Some(share) = state.failures.observe(tool, failure.is_some(), limit) else { continue };
            if !state.rewards.is_suspended(tool) {
                state.rewards.suspend(tool);
                let (failures, scores) = (share.failures, share.scores);
                suspended.push(SuspendedTool {
                    tool: tool.to_owned(),
                    failures,
                    scores,
                    last: failure.unwrap_or_default(),
                });
            }
        }
        suspended
    }

    /// The tools of the library, in the order of their names.
    pub fn tools(&self) -> Vec<ListedTool> {
        let state = self.lock();
        let library = state.rewards.library();
        let listed = |card: &rlar_rewards::ToolCard| ListedTool {
            name: card.name.clone(),
            hash: library.identity(&card.name).unwrap_or_default(),
            measures: card.measures.clone(),
            tasks: card.tasks.clone(),
            needs_reference: card.needs_reference,
            range: card.range,
            admitted: state.rewards.may_score(&card.name),
            suspended: state.rewards.is_suspended(&card.name),
        };
        library.cards().map(listed).collect()
    }

    /// Whether at least one tool may score and is not suspended.
    pub fn can_score(&self) -> bool {
        let state = self.lock();
        let names = state.rewards.library().cards().map(|card| &card.name);
        names.into_iter().any(|name| state.rewards.may_score(name) && !state.rewards.is_suspended(name))
    }

    /// The names of the suspended tools.
    pub fn suspended(&self) -> Vec<String> {
        self.lock().rewards.suspended().map(str::to_owned).collect()
    }

    /// How much the agents have used of the language model, by role; empty without one.
    pub fn usage(&self) -> UsageByRole {
        self.lock().choices.as_ref().map(LlmChoices::usage).unwrap_or_default()
    }
}

impl ServedState {
    /// Brings the choices of the language model into use that have come since the last time.
    fn enter_choices(&mut self) {
        if let Some(choices) = &mut self.choices {
            choices.enter(&mut self.rewards);
        }
    }

    fn plan_named(&mut self, prompt: &PromptRow, tools: &[WeightedTool]) -> ItemPlan {
        if let Some(member) = tools.iter().find(|member| self.rewards.is_suspended(&member.tool)) {
            let why = format!("`{}` is out of use, because it failed too often", member.tool);
            return ItemPlan::Nothing { status: ItemStatus::Suspended, why };
        }
        match self.rewards.plan_with(&prompt.example, tools, "request", "the request names them") {
            Ok(plan) => ItemPlan::Tools { chosen: choice(&plan.assignment, false), plan },
            Err(error) => ItemPlan::Nothing { status: ItemStatus::Failed, why: error.to_string() },
        }
    }

    fn plan_chosen(&mut self, prompt: &PromptRow) -> ItemPlan {
        let example = &prompt.example;
        if let Some(tool) = self.rewards.suspended_always(example) {
            let why = format!("`{tool}`, which `rewards.always` names, is out of use, because it failed too often");
            return ItemPlan::Nothing { status: ItemStatus::Suspended, why };
        }
        let plan = match self.rewards.plan(example) {
            Ok(plan) if !plan.assignment.tools.is_empty() => plan,
            Ok(plan) => return self.nothing_fits(prompt, plan.assignment.why),
            Err(RewardError::Unassigned { message, .. }) => return self.nothing_fits(prompt, message),
            Err(error) => return ItemPlan::Nothing { status: ItemStatus::Failed, why: error.to_string() },
        };
        let is_builtin = plan.assignment.by == "builtin";
        if let (true, Some(why)) = (is_builtin, &prompt.unclear_reference) {
            let why = format!("{why}; send the final answer alone as `reference`, or name `tools`");
            return ItemPlan::Nothing { status: ItemStatus::Failed, why };
        }
        let pending = is_builtin && self.choices.as_mut().is_some_and(|choices| choices.ask(example));
        ItemPlan::Tools { chosen: choice(&plan.assignment, pending), plan }
    }

    fn nothing_fits(&self, prompt: &PromptRow, why: String) -> ItemPlan {
        match self.rewards.suspended_for(&prompt.example) {
            Some(tool) => ItemPlan::Nothing {
                status: ItemStatus::Suspended,
                why: format!("`{tool}` is out of use, because it failed too often, and no other tool fits"),
            },
            None => ItemPlan::Nothing { status: ItemStatus::Abstained, why },
        }
    }
}

fn is_late(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(rlar_rewards::Failure::Late))
}

/// The hash of a library: of everything that decides which tool scores a prompt and what it gives.
fn library_hash(library: &Library, settings: &str) -> String {
    let mut text = format!("{}\0{settings}", env!("CARGO_PKG_VERSION"));
    for card in library.cards() {
        let status = library.admission(&card.name).map(|admission| admission.status);
        let calibration = library.files(&card.name).into_iter().find(|(name, _)| name == CALIBRATION);
        let parts = [
            card.name.clone(),
            library.identity(&card.name).unwrap_or_default(),
            format!("{status:?}"),
            calibration.map(|(_, text)| text).unwrap_or_default(),
        ];
        text.extend(parts.iter().map(|part| format!("\0{}\0{part}", part.len())));
    }
    let mut hash = sha256(text.as_bytes());
    hash.truncate(16);
    hash
}
