//! Tools that a language model chooses. It is asked beside: until it has answered, the choice of fixed rules serves.

use std::collections::{BTreeMap, HashSet};

use rlar_data::Example;
use rlar_rewards::agents::Agents;
use rlar_rewards::agents::background::{AgentRequest, AgentResult, BackgroundAgents};
use rlar_rewards::agents::client::UsageByRole;
use rlar_rewards::{Assignment, Library, Orchestrator, domain};
use rlar_run::sha256;

/// Number of prompts of which an answer is awaited; the oldest are given up first.
const MAX_WAITING: usize = 1024;

/// Number of prompts of which it is remembered that they were asked about.
const MAX_ASKED: usize = 1 << 16;

/// The language model's choices of tools for prompts.
#[derive(Debug)]
pub struct LlmChoices {
    agents: BackgroundAgents,
    /// Hashes of the prompts that were asked about.
    asked: HashSet<String>,
    /// The prompts of which an answer is awaited, by the number of the question.
    waiting: BTreeMap<usize, WaitingPrompt>,
    next: usize,
}

#[derive(Debug)]
struct WaitingPrompt {
    key: String,
    example: Example,
}

impl LlmChoices {
    /// Starts the thread that asks. The error says why it cannot be started.
    pub fn start(agents: Agents, library: Library) -> Result<Self, String> {
        let agents = BackgroundAgents::start(agents, library)
            .map_err(|error| format!("the thread of the agents cannot be started: {error}"))?;
        Ok(Self { agents, asked: HashSet::new(), waiting: BTreeMap::new(), next: 0 })
    }

    /// Asks for the tools of a prompt, unless it was asked about before. Returns whether an answer is awaited.
    pub fn ask(&mut self, example: &Example) -> bool {
        let key = sha256(format!("{}\0{}\0{:?}", domain(example), example.prompt(), example.reference).as_bytes());
        if self.asked.len() >= MAX_ASKED {
            self.asked.clear();
        }
        if !self.asked.insert(key.clone()) {
            return self.waiting.values().any(|waiting| waiting.key == key);
        }
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.pop_first();
        }
        self.waiting.insert(self.next, WaitingPrompt { key, example: example.clone() });
        self.agents.submit(AgentRequest::SelectTools(vec![(self.next, example.clone())]));
        self.next += 1;
        true
    }

    /// Brings the answers into use that have come.
    pub fn enter(&mut self, rewards: &mut Orchestrator) {
        for result in self.agents.take_results() {
            match result {
                AgentResult::Prompt(number, assignment) => {
                    let Some(waiting) = self.waiting.remove(&number) else { continue };
                    if let Err(error) = rewards.assign_example(&waiting.example, assignment) {
                        tracing::warn!("the tools chosen for example `{}` cannot be used: {error}", waiting.example.id);
                    }
                }
                AgentResult::Domain(name, assignment) => {
                    self.waiting.retain(|_, waiting| domain(&waiting.example) != name);
                    assign_domain(rewards, &name, assignment);
                }
                // Only alerts of a training run ask for new tools.
                AgentResult::Replacement(_) => {}
            }
        }
    }

    /// How much the agents have used of the language model, by role.
    pub fn usage(&self) -> UsageByRole {
        self.agents.usage()
    }
}

fn assign_domain(rewards: &mut Orchestrator, name: &str, assignment: Assignment) {
    match assignment.tools.iter().find_map(|tool| rewards.open_admitted(&tool.tool).err()) {
        Some(why) => tracing::warn!("the tools chosen for `{name}` cannot be used: {why}"),
        None => rewards.assign_domain(name, assignment),
    }
}
