//! Fills a library folder with the reward tools that a data set needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use rlar_data::Example;
use rlar_run::write_atomic;
use serde_json::json;

use crate::admission::examine::examine;
use crate::admission::report::Status;
use crate::agents::classify::{GroupVotes, TaskLabels, task_label};
use crate::agents::client::UsageByRole;
use crate::agents::synthesise::SynthesisRequest;
use crate::agents::{AgentEvent, Agents, ModelCounts, RejectedTool, ToolSet, VerifierCounts};
use crate::library::folder::{ADMISSION, Library};
use crate::library::task_labels::{PromptLabel, TASKS};
use crate::measure_tools::measure_tools;
use crate::other_tasks::{is_from_agents, tell_of_other_tasks};
use crate::tool::composite::WeightedTool;
use crate::{Orchestrator, OrchestratorConfig, RewardError, ToolCard};

/// The name of the folder of rejected verifiers within the library's folder.
const REFUSED: &str = "refused";

/// The file that says why a verifier was rejected, in the verifier's folder. As it is written last, a folder with this
/// file is complete.
const WHY: &str = "why.txt";

/// Number of written verifiers after which the language model is asked for no more, if none of them runs.
const MAX_BROKEN: usize = 2;

/// Largest number of examples on which a reward model is examined.
const MODEL_EXAMPLES: usize = 64;

/// Largest size, in bytes, of a downloaded tool card or of downloaded verifier code.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Longest time for the download of one tool card or of one verifier's code.
const DOWNLOAD_DEADLINE: Duration = Duration::from_secs(30);

/// The request to fill a library with reward tools: the library's folder, and the prompts that need tools.
#[derive(Clone, Copy, Debug)]
pub struct FetchRequest<'a> {
    /// The folder of the library.
    pub folder: &'a Path,
    /// Prompts that need reward tools.
    pub examples: &'a [Example],
    /// Prompts with good replies. The admission checks of new tools use these before `examples`.
    pub demonstrations: &'a [Example],
    /// URLs of tool cards (`…/tool.yaml`). Their tools can be chosen like the curated ones, which come with rlar.
    pub sources: &'a [String],
    /// Tools that every prompt gets besides the chosen ones.
    pub always: &'a [WeightedTool],
}

/// A tool that the library's folder holds after filling.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchedTool {
    /// The name of the tool.
    pub tool: String,
    /// Hash of the content of the tool.
    pub identity: String,
    /// Number of prompts for which the tool is chosen.
    pub examples: usize,
    /// Why the tool is chosen for the first of its prompts; where the tool comes from when it is chosen for none.
    pub reason: String,
}

/// A task with prompts that no tool fits: how many these are, and what is missing for the first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UncoveredTask {
    /// Number of prompts of the task that no tool fits.
    pub prompts: usize,
    /// Why no tool fits the first of the task's uncovered prompts, for example because it has no reference.
    pub reason: String,
}

/// The result of filling a library.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FetchReport {
    /// The tools that the folder holds, those from earlier runs included.
    pub fetched: Vec<FetchedTool>,
    /// Verifiers and reward models that were written or found in this run and were not admitted.
    pub rejected: Vec<RejectedTool>,
    /// Tasks with prompts that no tool fits, by task label.
    pub uncovered: BTreeMap<String, UncoveredTask>,
    /// How many verifiers the agents wrote in this run.
    pub verifiers: VerifierCounts,
    /// How many verifiers the agents wrote in this run for each task, by its label.
    pub verifiers_by_task: BTreeMap<String, VerifierCounts>,
    /// How many reward models the agents found in this run.
    pub models: ModelCounts,
    /// Messages about the steps that were skipped because the language model or the Hub did not answer. Another run can
    /// complete these steps.
    pub unanswered: Vec<String>,
    /// Why the language model was not asked for further verifiers: it cannot write them. `None` if it can.
    pub unfit: Option<String>,
    /// How many requests and tokens the agents used of the language model, by agent role.
    pub usage: UsageByRole,
}

impl FetchReport {
    /// Adds what the agents found or wrote for a task; the admitted tools are in the folder already.
    fn add(&mut self, task: &str, tools: ToolSet) {
        self.verifiers.add(tools.verifiers);
        self.verifiers_by_task.entry(task.to_owned()).or_default().add(tools.verifiers);
        self.models.add(tools.models);
        self.rejected.extend(tools.rejected);
        self.unanswered.extend(tools.unanswered);
    }
}

/// Fills the folder with tools for every example: chooses among the tools that come with rlar and those of `sources`,
/// lets the agents write and find more for every task, and checks that each of them works. Admitted tools are written
/// into the folder, and rejected verifiers into its subfolder `refused/` with the reason. Tools that the folder already
/// has are kept, so that an interrupted run can be continued.
///
/// # Errors
///
/// When a file cannot be read, written or downloaded, when a chosen tool fails its admission checks, or when a file of
/// a tool in the folder was edited. Without a language model and a Hub, also when no tool fits an example.
pub fn fetch_rewards(
    request: &FetchRequest,
    agents: &Agents,
    on_event: &mut dyn FnMut(AgentEvent),
) -> Result<FetchReport, RewardError> {
    let mut library = Library::curated()?;
    for url in request.sources {
        fetch_card(&mut library, url)?;
    }
    let mut known: Vec<String> = library.cards().map(|c| c.name.clone()).collect();
    if request.folder.is_dir() {
        library.merge(Library::load(request.folder)?);
    }
    library.check_parts()?;
    let is_added = |name: &String| !known.contains(name) && library.is_admitted(name);
    let added: Vec<String> = library.cards().map(|c| c.name.clone()).filter(is_added).collect();
    let config = OrchestratorConfig { allow_unadmitted: true, ..OrchestratorConfig::default() };
    let mut rewards = Orchestrator::new(library, agents.context.clone(), config);
    let has_agents = agents.llm.is_some() || agents.hub.is_some();
    let Coverage { chosen, uncovered } = choose(&rewards, request.examples);
    if !has_agents && let Some((_, error)) = uncovered.into_iter().next() {
        return Err(error);
    }
    write_chosen(request, &mut rewards, &chosen, &added)?;
    let mut report = FetchReport::default();
    if has_agents {
        let is_agents = |name: &String| rewards.library().card(name).is_some_and(is_from_agents);
        known.extend(added.iter().filter(|name| !is_agents(name)).cloned());
        add_new_tools(request, agents, &mut rewards, known, &mut report, on_event)?;
        report.unfit = unfit(agents, report.verifiers);
        measure(request, &mut rewards, on_event)?;
    } else {
        let library = rewards.library();
        tell_of_other_tasks(request, library, |example| task_label(library, example), on_event);
    }
    let Coverage { chosen, uncovered } = choose(&rewards, request.examples);
    for (example, error) in uncovered {
        let task = report.uncovered.entry(task_label(rewards.library(), example));
        task.or_insert_with(|| UncoveredTask { prompts: 0, reason: error.to_string() }).prompts += 1;
    }
    report.fetched = tools_in_folder(request.folder, rewards.library(), &chosen);
    report.usage = agents.usage();
    Ok(report)
}

/// The tools of a library whose folder with a `tool.yaml` lies in `folder`. `chosen` holds the examples for which each
/// tool is chosen, by the tool's name.
fn tools_in_folder(folder: &Path, library: &Library, chosen: &BTreeMap<String, ChosenFor>) -> Vec<FetchedTool> {
    let written = library.cards().filter(|c| folder.join(&c.name).join("tool.yaml").exists());
    written
        .map(|card| {
            let (examples, reason) =
                chosen.get(&card.name).map_or((0, &card.origin), |c| (c.examples.len(), &c.reason));
            FetchedTool {
                tool: card.name.clone(),
                identity: library.identity(&card.name).unwrap_or_default(),
                examples,
                reason: reason.clone(),
            }
        })
        .collect()
}

/// The examples for which a tool is chosen.
struct ChosenFor {
    examples: Vec<Example>,
    /// Why the tool is chosen for the first of these examples.
    reason: String,
}

/// Which examples have a tool, and which have none.
struct Coverage<'e> {
    /// The examples for which each tool is chosen, by the tool's name.
    chosen: BTreeMap<String, ChosenFor>,
    /// The examples that no tool fits, each with the reason.
    uncovered: Vec<(&'e Example, RewardError)>,
}

/// Chooses tools of the library for every example.
fn choose<'e>(rewards: &Orchestrator, examples: &'e [Example]) -> Coverage<'e> {
    let mut coverage = Coverage { chosen: BTreeMap::new(), uncovered: Vec::new() };
    for example in examples {
        match rewards.choose(example) {
            Ok(assignment) => {
                for choice in assignment.tools {
                    let first = || ChosenFor { examples: Vec::new(), reason: assignment.why.clone() };
                    coverage.chosen.entry(choice.tool).or_insert_with(first).examples.push(example.clone());
                }
            }
            Err(error) => coverage.uncovered.push((example, error)),
        }
    }
    coverage
}

/// Writes the chosen tools and those of `request.always` into the folder, with the parts of composite tools, after
/// checking that they are admitted. The tools named by `added` are left out, because the folder has them already.
fn write_chosen(
    request: &FetchRequest,
    rewards: &mut Orchestrator,
    chosen: &BTreeMap<String, ChosenFor>,
    added: &[String],
) -> Result<(), RewardError> {
    let always = request.always.iter().map(|m| m.tool.clone());
    let names: BTreeSet<String> = chosen.keys().cloned().chain(always).collect();
    for name in names.iter().filter(|n| !added.contains(n)) {
        ensure_admitted(rewards, name, chosen.get(name).map_or(request.examples, |c| &c.examples))?;
        for name in rewards.library().with_parts(name) {
            write_tool(request.folder, &name, rewards.library())?;
        }
    }
    Ok(())
}

/// Checks that a tool works: opens a tool that has an admission report, and runs the admission checks of one that has
/// none. An error when a check fails.
fn ensure_admitted(rewards: &mut Orchestrator, name: &str, examples: &[Example]) -> Result<(), RewardError> {
    if rewards.library().admission(name).is_some() {
        return rewards.open(name).map(drop);
    }
    let admission = examine(&rewards.for_admission(name)?, examples, &[])?;
    if admission.status == Status::Refused {
        let failed: Vec<String> = admission.failed().take(3).map(|p| format!("{}: {}", p.name, p.evidence)).collect();
        return Err(RewardError::tool(name, format!("was refused; it does not show that it {}", failed.join("; "))));
    }
    rewards.set_admission(name, admission);
    Ok(())
}

/// Lets the agents write and find tools for every task, writes these into the folder and adds them to the report. New
/// tools must not have the names in `known`.
fn add_new_tools(
    request: &FetchRequest,
    agents: &Agents,
    rewards: &mut Orchestrator,
    mut known: Vec<String>,
    report: &mut FetchReport,
    on_event: &mut dyn FnMut(AgentEvent),
) -> Result<(), RewardError> {
    let labels = agents.classify(&request.examples.iter().collect::<Vec<_>>());
    tell_of_other_tasks(request, rewards.library(), |example| labels.label_of(example), on_event);
    if agents.llm.is_some() {
        write_labels(request, &labels)?;
        rewards.read_task_labels(request.folder)?;
        for votes in &labels.votes {
            on_event(AgentEvent::Message(describe_votes(votes)));
        }
    }
    let refused = request.folder.join(REFUSED);
    let mut budget = agents.download_budget();
    for (task, examples) in by_task(request, &labels) {
        on_event(AgentEvent::Message(format!("{task}: {} prompts", examples.len())));
        let synthesis = SynthesisRequest {
            task: &task,
            examples: &examples,
            steps: labels.steps.get(&task).map_or(&[], Vec::as_slice),
            known: &known,
            packages: &agents.context.packages.allowed,
            defects: None,
        };
        let is_done = |name: &str| rewards.library().card(name).is_some() || was_refused(&refused, name, &task);
        let mut new = match unfit(agents, report.verifiers) {
            Some(_) => ToolSet::default(),
            None => agents.synthesise(&synthesis, &is_done, None, on_event),
        };
        let is_model = |c: &&ToolCard| c.model().is_some() && c.tasks.contains(&task) && is_from_agents(c);
        let max_models = agents.hub.as_ref().map_or(0, |(_, config)| config.models);
        if rewards.library().cards().filter(is_model).count() < max_models {
            let is_taken =
                |name: &str| rewards.library().card(name).is_some() || new.admitted.iter().any(|t| t.name == name);
            let examples: Vec<Example> = examples.iter().take(MODEL_EXAMPLES).map(|e| (*e).clone()).collect();
            let models = agents.retrieve(&task, &examples, &is_taken, &mut budget, on_event);
            new.add(models);
        }
        for tool in &new.admitted {
            rewards.add_tool(tool, &request.folder.join(&tool.name))?;
            write_tool(request.folder, &tool.name, rewards.library())?;
        }
        for tool in &new.rejected {
            write_rejected(&refused, tool)?;
        }
        let is_new = |c: &&ToolCard| is_from_agents(c) && c.tasks.contains(&task) && !known.contains(&c.name);
        let names: Vec<String> = rewards.library().cards().filter(is_new).map(|c| c.name.clone()).collect();
        known.extend(names);
        report.add(&task, new);
    }
    Ok(())
}

/// Measures the cheap tools on the examples of every task, under the labels with which tools are chosen during training,
/// and writes the evidence into the folder. What was measured for other prompts, or under labels that these prompts had
/// before, is removed.
fn measure(
    request: &FetchRequest,
    rewards: &mut Orchestrator,
    on_event: &mut dyn FnMut(AgentEvent),
) -> Result<(), RewardError> {
    let mut tasks: BTreeMap<String, Vec<&Example>> = BTreeMap::new();
    for example in request.demonstrations.iter().chain(request.examples) {
        tasks.entry(task_label(rewards.library(), example)).or_default().push(example);
    }
    rewards.keep_evidence(&tasks.keys().map(String::as_str).collect());
    for (task, examples) in tasks {
        on_event(AgentEvent::Message(format!("{task}: measuring the tools on its prompts")));
        measure_tools(rewards, &task, &examples)?;
    }
    rewards.library().write_evidence(request.folder)
}

/// Why the language model is not asked for further verifiers; `None` if it may write more.
fn unfit(agents: &Agents, verifiers: VerifierCounts) -> Option<String> {
    let client = agents.llm.as_ref()?;
    let is_unfit = verifiers.written >= MAX_BROKEN && verifiers.runnable == 0;
    is_unfit.then(|| {
        format!(
            "the language model {} cannot write verifiers: no draft of {} runs; the library holds the curated tools that the \
             builtin agent chooses. A larger model is needed, such as Qwen2.5-Coder-1.5B-Instruct",
            client.name(),
            verifiers.written
        )
    })
}

/// A line for the user that says how a group of prompts got its task label.
fn describe_votes(votes: &GroupVotes) -> String {
    let GroupVotes { group, examples, label, answers } = votes;
    let total: usize = answers.values().sum();
    let answers: Vec<String> = answers.iter().map(|(label, n)| format!("{label} {n}")).collect();
    let said =
        if total == 0 { "no usable answer".to_owned() } else { format!("of {total} answers: {}", answers.join(", ")) };
    format!("classify: {examples} prompts ({group}) are {label}; {said}")
}

/// Writes the label of every prompt, and how the labels were found, into the library's folder.
fn write_labels(request: &FetchRequest, labels: &TaskLabels) -> Result<(), RewardError> {
    let rows: Vec<PromptLabel> = request.examples.iter().map(|e| PromptLabel::new(e, labels.label_of(e))).collect();
    let tasks = json!({ "groups": labels.votes, "rows": rows, "steps": labels.steps });
    let text = serde_json::to_string_pretty(&tasks).map_err(|e| RewardError::tool(TASKS, e.to_string()))?;
    write_atomic(&request.folder.join(TASKS), (text + "\n").as_bytes())
        .map_err(|e| RewardError::tool(TASKS, e.to_string()))
}

/// The examples of the request by the label of their task. The demonstrations of each task come first.
fn by_task<'a>(request: &FetchRequest<'a>, labels: &TaskLabels) -> BTreeMap<String, Vec<&'a Example>> {
    let mut tasks: BTreeMap<String, Vec<&Example>> =
        request.examples.iter().map(|e| (labels.label_of(e), Vec::new())).collect();
    for example in request.demonstrations.iter().chain(request.examples) {
        if let Some(examples) = tasks.get_mut(&labels.label_of(example)) {
            examples.push(example);
        }
    }
    tasks
}

/// Whether a verifier with this name was written for a task and rejected in an earlier run. A verifier without the file
/// of the reason, which is written last, does not count.
fn was_refused(folder: &Path, name: &str, task: &str) -> bool {
    if !folder.join(name).join(WHY).exists() {
        return false;
    }
    let path = folder.join(name).join("tool.yaml");
    let card = fs::read_to_string(&path).ok().and_then(|text| ToolCard::parse(&path, &text).ok());
    card.is_some_and(|card| card.tasks.iter().any(|t| t == task))
}

/// Writes a rejected verifier and the reason into `folder`, which no library reads. Does nothing for a tool without
/// files, such as a model.
fn write_rejected(folder: &Path, tool: &RejectedTool) -> Result<(), RewardError> {
    let Some(written) = &tool.files else { return Ok(()) };
    let home = folder.join(&tool.name);
    fs::create_dir_all(&home).map_err(RewardError::io(&home))?;
    let reason = tool.reason.clone() + "\n";
    for (file, contents) in [("tool.yaml", &written.card), ("verifier.py", &written.source), (WHY, &reason)] {
        write_atomic(&home.join(file), contents.as_bytes())
            .map_err(|e| RewardError::tool(&tool.name, e.to_string()))?;
    }
    Ok(())
}

/// Writes the files of a tool into its folder, `tool.yaml` last, so that a folder with this file holds a complete tool.
/// An existing admission report is kept.
///
/// # Errors
///
/// When a file cannot be written, or exists with other contents.
fn write_tool(folder: &Path, name: &str, library: &Library) -> Result<(), RewardError> {
    let home = folder.join(name);
    fs::create_dir_all(&home).map_err(RewardError::io(&home))?;
    let mut files = library.files(name);
    files.reverse();
    for (file, contents) in files {
        let path = home.join(&file);
        match fs::read_to_string(&path) {
            Ok(existing) if existing == contents || file == ADMISSION => continue,
            Ok(_) => {
                let message = format!("{} was edited; move it away to fetch it again", path.display());
                return Err(RewardError::tool(name, message));
            }
            Err(_) => {}
        }
        write_atomic(&path, contents.as_bytes()).map_err(|e| RewardError::tool(name, e.to_string()))?;
    }
    Ok(())
}

/// Downloads a tool card and the verifier code that it names, and adds the tool to a library.
fn fetch_card(library: &mut Library, url: &str) -> Result<(), RewardError> {
    let text = rlar_net::get_text(url, MAX_FILE_BYTES, DOWNLOAD_DEADLINE)?;
    let card = ToolCard::parse(Path::new(url), &text)?;
    let source = match card.file() {
        Some(file) => {
            let base = url.rsplit_once('/').map_or(url, |(base, _)| base);
            rlar_net::get_text(&format!("{base}/{file}"), MAX_FILE_BYTES, DOWNLOAD_DEADLINE)?
        }
        None => String::new(),
    };
    library.add(Path::new(url), text, source, None)
}
