//! The agents in a thread of their own beside a training run. The run never waits for them.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};

use rlar_data::Example;
use serde::{Deserialize, Serialize};

use crate::agents::builtin::Assignment;
use crate::agents::classify::task_label;
use crate::agents::client::{LlmClient, UsageByRole};
use crate::agents::sample_scorer::SampleScorer;
use crate::agents::select::select;
use crate::agents::settled::{PromptGroup, SettledChoices};
use crate::agents::synthesise::{SynthesisRequest, ToolDefects};
use crate::agents::tasks::domain;
use crate::agents::{AgentEvent, Agents, VerifierCounts};
use crate::library::folder::Library;
use crate::library::new_tool::NewTool;
use crate::monitor::{DriftAlert, DriftSignal};
use crate::tool::card::{ToolCard, ToolRole};
use crate::tool::composite::{CombineAs, WeightedTool};

/// A request of the training run to the agents' thread.
#[derive(Clone, Debug)]
pub enum AgentRequest {
    /// Choose tools for these prompts, in this order. The number before each prompt is its index in the training data.
    SelectTools(Vec<(usize, Example)>),
    /// Find a new tool for the domain (task) whose tools an alert found to be unfit.
    ReplaceTools {
        /// The alert of the drift monitor, which says what is wrong with the domain's tools.
        alert: DriftAlert,
        /// Examples of the alert's domain, those with demonstrations first.
        examples: Vec<Example>,
    },
}

/// A result of the agents' thread. The journal of a run stores every result, so that a resumed run repeats it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum AgentResult {
    /// Tools for one prompt, given by its index in the training data.
    Prompt(usize, Assignment),
    /// Tools for every prompt of a domain (task), given by the domain's name.
    Domain(String, Assignment),
    /// The response to a drift alert: a report and, if one was admitted, a new tool for the domain.
    #[serde(rename = "Renewed")]
    Replacement(Box<ToolReplacement>),
}

/// The response to a drift alert: a report for people and, if one passed the admission checks, a new tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolReplacement {
    /// The alert of the drift monitor, which says what is wrong with the domain's tools.
    #[serde(rename = "breach")]
    pub alert: DriftAlert,
    /// The new tool; `None` when no new tool was admitted.
    pub tool: Option<NewTool>,
    /// The tools that score the domain's prompts from now on; `None` when these prompts keep their tools.
    pub assignment: Option<Assignment>,
    /// How many verifiers were written for this alert.
    #[serde(rename = "written")]
    pub verifiers: VerifierCounts,
    /// The report on the alert and the response, as Markdown.
    pub page: String,
}

/// The agents in a thread of their own. Dropping this handle ends the thread after its current request.
#[derive(Debug)]
pub struct BackgroundAgents {
    requests: Sender<AgentRequest>,
    results: Mutex<Receiver<AgentResult>>,
    agents: Arc<Agents>,
    is_stopped: Arc<AtomicBool>,
    /// Whether the warning that the thread has ended was already given.
    has_warned: AtomicBool,
}

impl Drop for BackgroundAgents {
    fn drop(&mut self) {
        // The thread is not joined: a request to the language model may last until its deadline.
        self.is_stopped.store(true, Ordering::Relaxed);
    }
}

impl BackgroundAgents {
    /// Starts the agents' thread. The agents choose tools from `library`, and add new tools to this copy of the
    /// library.
    ///
    /// # Errors
    ///
    /// When the system cannot start a thread.
    pub fn start(agents: Agents, library: Library) -> std::io::Result<Self> {
        let (requests, incoming) = channel();
        let (outgoing, results) = channel();
        let (agents, is_stopped) = (Arc::new(agents), Arc::new(AtomicBool::new(false)));
        let mut thread = AgentThread {
            download_budget: agents.download_budget(),
            agents: agents.clone(),
            library,
            is_stopped: is_stopped.clone(),
            results: outgoing,
            replaced: BTreeSet::new(),
            settled: SettledChoices::default(),
            scorer: SampleScorer::default(),
            prompts: 0,
            choices: 0,
        };
        std::thread::Builder::new().name("agents".into()).spawn(move || thread.run(&incoming))?;
        Ok(Self { requests, results: Mutex::new(results), agents, is_stopped, has_warned: AtomicBool::new(false) })
    }

    /// Queues a request for the agents' thread and returns at once; [`Self::take_results`] gives its results later.
    pub fn submit(&self, request: AgentRequest) {
        if self.requests.send(request).is_err() && !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!("the agents' thread has ended: the rewards stay as they are");
        }
    }

    /// The results that have come since the last call, in order. Does not wait for more.
    pub fn take_results(&self) -> Vec<AgentResult> {
        let results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = Vec::new();
        loop {
            match results.try_recv() {
                Ok(result) => taken.push(result),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return taken,
            }
        }
    }

    /// How many requests and tokens the agents have used of the language model, by agent role.
    pub fn usage(&self) -> UsageByRole {
        self.agents.usage()
    }
}

/// Number of prompts for which the language model may always choose tools, however few prompts there are. It gets two
/// requests for each, and more if it must repair its replies.
const MIN_CHOICES: usize = 20;

/// Number of prompts per further choice: each time that the run has this many more prompts, the language model may
/// choose the tools of one more prompt.
const PROMPTS_PER_CHOICE: usize = 100;

/// The state of the agents' thread.
struct AgentThread {
    agents: Arc<Agents>,
    library: Library,
    /// Number of bytes of reward models that may still be downloaded in this run.
    download_budget: u64,
    is_stopped: Arc<AtomicBool>,
    results: Sender<AgentResult>,
    /// Domains whose tools were replaced after an alert. For their prompts no more tools are chosen.
    replaced: BTreeSet<String>,
    /// The choices that hold for whole domains or tasks.
    settled: SettledChoices,
    /// Scores two sample replies to a prompt with the tools on offer, before the language model chooses among these
    /// tools.
    scorer: SampleScorer,
    /// Number of prompts for which the run requested tools.
    prompts: usize,
    /// Number of prompts for which the language model was asked to choose tools.
    choices: usize,
}

impl AgentThread {
    /// Works on requests until the run ends. Alerts come before choices, because a prompt whose tools are not chosen
    /// yet is scored by the tools that the builtin agent (fixed rules) chose.
    fn run(&mut self, incoming: &Receiver<AgentRequest>) {
        let mut prompts: VecDeque<(usize, Example)> = VecDeque::new();
        let mut alerts: VecDeque<(DriftAlert, Vec<Example>)> = VecDeque::new();
        while !self.is_stopped.load(Ordering::Relaxed) {
            let is_idle = prompts.is_empty() && alerts.is_empty();
            let request = if is_idle { incoming.recv().ok() } else { incoming.try_recv().ok() };
            match request {
                Some(AgentRequest::SelectTools(examples)) => {
                    self.prompts += examples.len();
                    prompts.extend(examples);
                }
                Some(AgentRequest::ReplaceTools { alert, examples }) => alerts.push_back((alert, examples)),
                None if is_idle => return,
                None => {
                    if let Some((alert, examples)) = alerts.pop_front() {
                        let replacement = self.replace(alert, &examples);
                        let _ = self.results.send(AgentResult::Replacement(Box::new(replacement)));
                    } else if let Some((index, example)) = prompts.pop_front() {
                        self.select(index, &example);
                    }
                }
            }
        }
    }

    /// Lets the language model choose a prompt's tools, unless they were chosen for its whole group or replaced after an
    /// alert, or no more choices are allowed. Without a usable reply the choice of the builtin agent (fixed rules) stays in
    /// force.
    fn select(&mut self, index: usize, example: &Example) {
        let Some(client) = &self.agents.llm else { return };
        if self.replaced.contains(domain(example)) {
            return;
        }
        let group = PromptGroup::of(&self.library, example);
        let task = task_label(&self.library, example);
        if let Some(group) = group.as_ref().filter(|group| self.settled.is_settled(group)) {
            // Prompts that declare a task have their tools from the result for their domain.
            let assignment = self.settled.assignment(group, &self.library, example, &task);
            if let Some(assignment) = assignment.filter(|_| !group.is_declared) {
                let _ = self.results.send(AgentResult::Prompt(index, assignment));
            }
            return;
        }
        if self.choices >= MIN_CHOICES + self.prompts / PROMPTS_PER_CHOICE {
            return;
        }
        self.choices += 1;
        let offered = self.scorer.offer(&self.library, &self.agents.context, example, &task);
        let selection = match select(client, example, &task, &offered) {
            Ok(selection) => selection,
            Err(why) => {
                tracing::warn!("example `{}`: {why}; the builtin agent's choice stands", example.id);
                client.count_fallback("select");
                return;
            }
        };
        if let Some(group) = &group {
            self.settled.record(group.clone(), &selection);
        }
        let declared = group.filter(|group| group.is_declared);
        let result = match declared.and_then(|group| self.settled.of_group(&group)) {
            Some(settled) => AgentResult::Domain(domain(example).to_owned(), settled.clone()),
            None => AgentResult::Prompt(index, selection.assignment),
        };
        let _ = self.results.send(result);
    }

    /// Has a verifier written for the domain of an alert or, if none is admitted, looks for a reward model.
    fn replace(&mut self, alert: DriftAlert, examples: &[Example]) -> ToolReplacement {
        let mut messages: Vec<String> = Vec::new();
        let references: Vec<&Example> = examples.iter().collect();
        let labels = self.agents.classify(&references[..references.len().min(3)]);
        let task = references.first().map_or_else(|| alert.domain.clone(), |e| labels.label_of(e));
        let known: Vec<String> = self.library.cards().map(|c| c.name.clone()).collect();
        let defects = self.defects(&alert);
        let request = SynthesisRequest {
            task: &task,
            examples: &references,
            steps: labels.steps.get(&task).map_or(&[], Vec::as_slice),
            known: &known,
            packages: &self.agents.context.packages.allowed,
            defects: Some(&defects),
        };
        let mut on_event = |event: AgentEvent| {
            if let AgentEvent::Message(message) = event {
                messages.push(message);
            }
        };
        let mut tools = self.agents.synthesise(&request, &|_| false, Some(1), &mut on_event);
        if !tools.admitted.iter().any(can_judge) {
            let is_taken = |name: &str| self.library.card(name).is_some();
            let budget = &mut self.download_budget;
            tools.add(self.agents.retrieve(&task, examples, &is_taken, budget, &mut on_event));
        }
        let verifiers = tools.verifiers;
        let tool = tools.admitted.into_iter().find(can_judge);
        let assignment = tool.as_ref().map(|tool| Assignment {
            example: alert.domain.clone(),
            tools: vec![WeightedTool { tool: tool.name.clone(), weight: 1.0, combine: CombineAs::Term, least: None }],
            by: self.agents.llm.as_ref().map_or_else(|| "builtin".into(), LlmClient::name),
            why: format!("{} at step {}: {}", alert.signal, alert.step, alert.summary),
        });
        if let Some(tool) = &tool {
            if let Err(e) = self.library.add_tool(tool, "new".as_ref()) {
                tracing::warn!("{e}");
            }
            // A later choice must not displace the new tool.
            self.replaced.insert(alert.domain.clone());
        }
        let page = page(&alert, &task, &messages, tool.as_ref());
        ToolReplacement { alert, tool, assignment, verifiers, page }
    }

    /// What an alert says about the tools that are to be replaced, with the code of these tools.
    fn defects(&self, alert: &DriftAlert) -> ToolDefects {
        let summary = match (alert.signal, alert.tools.is_empty()) {
            (DriftSignal::Coverage, _) | (_, true) => alert.summary.clone(),
            _ => format!("{} (the tools: {})", alert.summary, alert.tools.join(", ")),
        };
        ToolDefects {
            summary,
            overpaid: alert.overpaid.clone(),
            code: alert.tools.iter().filter_map(|name| self.library.source(name)).collect(),
        }
    }
}

/// Whether a tool may be the only tool that scores a prompt: constraints may not, because they only say whether a rule
/// is kept.
fn can_judge(tool: &NewTool) -> bool {
    ToolCard::parse("new".as_ref(), &tool.card).is_ok_and(|c| c.role != ToolRole::Constraint)
}

/// The report on an alert, as Markdown: what was observed, what the agents tried, and what changes.
fn page(alert: &DriftAlert, task: &str, messages: &[String], tool: Option<&NewTool>) -> String {
    let tools = if alert.tools.is_empty() { "none".into() } else { alert.tools.join(", ") };
    let tried: Vec<String> = messages.iter().map(|m| format!("- {}", m.replace('\n', "\n  "))).collect();
    let tried = tried.join("\n");
    let changed = match tool {
        Some(tool) => format!(
            "From the next step on `{}` scores the prompts of the domain `{}`.\n\n```yaml\n{}\n```\n\n```python\n{}\n```\n",
            tool.name,
            alert.domain,
            tool.card.trim_end(),
            tool.source.trim_end()
        ),
        None => "Nothing: no new tool was admitted.\n".into(),
    };
    let mut overpaid = String::new();
    for (i, case) in alert.overpaid.iter().enumerate() {
        let heading = if i == 0 { "\nReplies with a high reward and a low audit score:\n\n" } else { "" };
        let _ = writeln!(overpaid, "{heading}- {:?} to {:?}", case.reply, case.prompt);
    }
    format!(
        "# {} of `{}` at step {}\n\n## Noticed\n\n{}: {}.\nTools until then: {tools}.\n{overpaid}\n## Tried\n\nTask label: \
         `{task}`.\n\n{tried}\n\n## Changed\n\n{changed}",
        alert.signal, alert.domain, alert.step, alert.summary, alert.figures
    )
}
