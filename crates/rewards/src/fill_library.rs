//! Fills a library folder with the tools that a data set needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use rlar_data::Example;
use rlar_run::write_atomic;

use crate::admission::examine::examine;
use crate::admission::report::Status;
use crate::agents::ask::Tally;
use crate::agents::synthesise::Order;
use crate::agents::{Agents, News, Provided, Turned};
use crate::library::folder::{ADMISSION, Library};
use crate::tool::composite::WeightedTool;
use crate::{Orchestrator, OrchestratorConfig, RewardError};

/// The folder, within a library's, of tools that were refused.
const REFUSED: &str = "refused";

/// The file of a refused tool's folder that says why.
const WHY: &str = "why.txt";

/// What a library is filled for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The library's folder.
    pub folder: &'a Path,
    /// Prompts that need rewards.
    pub examples: &'a [Example],
    /// Prompts with good replies, on which new tools are examined before the others.
    pub shown: &'a [Example],
    /// Addresses of further cards (`…/tool.yaml`) to take into account.
    pub sources: &'a [String],
    /// Tools that every prompt has beside the chosen ones.
    pub always: &'a [WeightedTool],
}

/// A tool of the library.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    /// The tool.
    pub tool: String,
    /// Content hash.
    pub identity: String,
    /// Prompts that the builtin agent chooses it for.
    pub examples: usize,
    /// Why it was chosen, for the first of them; else where it comes from.
    pub why: String,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The tools that the library holds for the prompts.
    pub fetched: Vec<Fetched>,
    /// New tools and models that may not score.
    pub turned: Vec<Turned>,
    /// Prompts that no tool fits: how many by task, and what is missing for the first.
    pub uncovered: BTreeMap<String, (usize, String)>,
    /// Verifiers that were written now, how many of them run, and how many were admitted.
    pub written: [usize; 3],
    /// Models that were considered now, and how many of them became tools.
    pub considered: [usize; 2],
    /// What could not be done because the language model or the Hub did not answer.
    pub missing: Vec<String>,
    /// What the language model was asked, by role.
    pub tally: Tally,
}

/// Chooses tools for every example, lets the agents write and find further ones for every task, proves that each starts, and
/// writes those that the court admits below the folder, the refused ones with the reasons into its `refused/`. What stands
/// there already is kept: work that was interrupted goes on where it stopped. A tool that was edited there is an error.
pub fn fetch_rewards(wanted: &Wanted, agents: &Agents, tell: &mut dyn FnMut(News)) -> Result<Report, RewardError> {
    let mut library = Library::curated()?;
    for source in wanted.sources {
        fetch_card(&mut library, source)?;
    }
    let mut known: Vec<String> = library.cards().map(|c| c.name.clone()).collect();
    if wanted.folder.is_dir() {
        library.merge(Library::load(wanted.folder)?);
    }
    library.check_parts()?;
    let is_own = |library: &Library, name: &str| !known.iter().any(|k| k == name) && library.is_admitted(name);
    let own: Vec<String> = library.cards().map(|c| c.name.clone()).filter(|n| is_own(&library, n)).collect();
    let config = OrchestratorConfig { allow_unadmitted: true, ..OrchestratorConfig::default() };
    let mut rewards = Orchestrator::new(library, agents.means.clone(), config);
    let (chosen, uncovered) = choose(&rewards, wanted.examples);
    if agents.asker.is_none()
        && agents.hub.is_none()
        && let Some((_, error)) = uncovered.into_iter().next()
    {
        return Err(error);
    }
    let names: BTreeSet<String> = chosen.keys().cloned().chain(wanted.always.iter().map(|m| m.tool.clone())).collect();
    for name in names.iter().filter(|n| !own.contains(n)) {
        prove(&mut rewards, name, chosen.get(name).map_or(wanted.examples, |of| &of.0))?;
        for name in rewards.library().with_parts(name) {
            write_tool(wanted.folder, &name, rewards.library())?;
        }
    }
    let mut report = Report::default();
    if agents.asker.is_some() || agents.hub.is_some() {
        let written_by_agents = |name: &String| rewards.library().card(name).is_some_and(is_made);
        known.extend(own.iter().filter(|n| !written_by_agents(n)).cloned());
        let provided = provide(wanted, agents, &mut rewards, known, tell)?;
        report.written = [provided.written[0], provided.written[1], 0];
        report.considered = provided.considered;
        for tool in &provided.admitted {
            report.written[2] += usize::from(!tool.source.is_empty());
        }
        report.turned = provided.turned;
        report.missing = provided.missing;
    }
    let (chosen, uncovered) = choose(&rewards, wanted.examples);
    for (example, error) in uncovered {
        let label = agents.builtin_label(example);
        report.uncovered.entry(label).or_insert_with(|| (0, error.to_string())).0 += 1;
    }
    let library = rewards.library();
    let there = library.cards().filter(|c| wanted.folder.join(&c.name).join("tool.yaml").exists());
    report.fetched = there
        .map(|card| {
            let (examples, why) = chosen.get(&card.name).map_or((0, &card.origin), |(of, why)| (of.len(), why));
            let identity = library.identity(&card.name).unwrap_or_default();
            Fetched { tool: card.name.clone(), identity, examples, why: why.clone() }
        })
        .collect();
    report.tally = agents.tally();
    Ok(report)
}

/// Whether an agent made a tool.
fn is_made(card: &crate::ToolCard) -> bool {
    card.origin.starts_with("written by ") || card.model().is_some_and(|m| m.repo.is_some())
}

/// The examples that each tool is chosen for, with the reason for the first; and those that have none.
#[allow(clippy::type_complexity)]
fn choose<'e>(
    rewards: &Orchestrator,
    examples: &'e [Example],
) -> (BTreeMap<String, (Vec<Example>, String)>, Vec<(&'e Example, RewardError)>) {
    let mut chosen: BTreeMap<String, (Vec<Example>, String)> = BTreeMap::new();
    let mut uncovered = Vec::new();
    for example in examples {
        match rewards.choose(example) {
            Ok(assignment) => {
                for choice in assignment.tools {
                    let of = chosen.entry(choice.tool).or_insert_with(|| (Vec::new(), assignment.why.clone()));
                    of.0.push(example.clone());
                }
            }
            Err(error) => uncovered.push((example, error)),
        }
    }
    (chosen, uncovered)
}

/// Opens a tool that was examined, or lets the court examine it.
fn prove(rewards: &mut Orchestrator, name: &str, examples: &[Example]) -> Result<(), RewardError> {
    if rewards.library().admission(name).is_some() {
        return rewards.open(name).map(drop);
    }
    let admission = examine(&rewards.for_admission(name)?, examples, &[])?;
    if admission.status == Status::Refused {
        let why: Vec<String> = admission.failed().take(3).map(|p| format!("{}: {}", p.name, p.evidence)).collect();
        return Err(RewardError::tool(name, format!("was refused; it does not show that it {}", why.join("; "))));
    }
    rewards.set_admission(name, admission);
    Ok(())
}

/// Lets the agents write and find tools for every task.
fn provide(
    wanted: &Wanted,
    agents: &Agents,
    rewards: &mut Orchestrator,
    mut known: Vec<String>,
    tell: &mut dyn FnMut(News),
) -> Result<Provided, RewardError> {
    let all: Vec<&Example> = wanted.examples.iter().collect();
    let labels = agents.classify(&all);
    // What shows good replies comes first.
    let mut tasks: BTreeMap<String, Vec<&Example>> = BTreeMap::new();
    for example in &all {
        tasks.entry(labels.of(example)).or_default();
    }
    for example in wanted.shown.iter().chain(wanted.examples) {
        if let Some(of) = tasks.get_mut(&labels.of(example)) {
            of.push(example);
        }
    }
    let mut provided = Provided::default();
    let mut room = agents.room();
    for (task, examples) in tasks {
        tell(News::Line(format!("{task}: {} prompts", examples.len())));
        let measures = |name: &String| rewards.library().card(name).map_or(String::new(), |c| c.measures.clone());
        let taken: Vec<(String, String)> = known.iter().map(|name| (name.clone(), measures(name))).collect();
        let order = Order {
            task: &task,
            examples: &examples,
            steps: labels.steps.get(&task).map_or(&[], Vec::as_slice),
            known: &taken,
            packages: &agents.means.packages.allowed,
            evidence: None,
        };
        let refused = wanted.folder.join(REFUSED);
        let is_done = |name: &str| rewards.library().card(name).is_some() || was_refused(&refused, name, &task);
        let mut fresh = agents.synthesise(&order, &is_done, None, tell);
        let models = |c: &&crate::ToolCard| c.model().is_some() && c.tasks.contains(&task) && is_made(c);
        let most = agents.hub.as_ref().map_or(0, |(_, config)| config.models);
        if rewards.library().cards().filter(models).count() < most {
            let taken =
                |name: &str| rewards.library().card(name).is_some() || fresh.admitted.iter().any(|t| t.name == name);
            let examples: Vec<Example> = examples.iter().take(64).map(|e| (*e).clone()).collect();
            let found = agents.retrieve(&task, &examples, &taken, &mut room, tell);
            fresh.add(found);
        }
        for tool in &fresh.admitted {
            rewards.add_tool(tool, &wanted.folder.join(&tool.name))?;
            write_tool(wanted.folder, &tool.name, rewards.library())?;
        }
        for turned in &fresh.turned {
            write_refused(&refused, turned)?;
        }
        let made = |c: &&crate::ToolCard| is_made(c) && c.tasks.contains(&task) && !known.contains(&c.name);
        let made: Vec<String> = rewards.library().cards().filter(made).map(|c| c.name.clone()).collect();
        known.extend(made);
        provided.add(fresh);
    }
    Ok(provided)
}

/// Whether a verifier of this name was written for a task and refused.
fn was_refused(folder: &Path, name: &str, task: &str) -> bool {
    if !folder.join(name).join(WHY).exists() {
        // The reason is written last.
        return false;
    }
    let path = folder.join(name).join("tool.yaml");
    let card = fs::read_to_string(&path).ok().and_then(|text| crate::ToolCard::parse(&path, &text).ok());
    card.is_some_and(|card| card.tasks.iter().any(|t| t == task))
}

/// Keeps what was written and refused, with the reason, where nobody takes it for a tool.
fn write_refused(folder: &Path, turned: &Turned) -> Result<(), RewardError> {
    let Some((card, source)) = &turned.written else { return Ok(()) };
    let home = folder.join(&turned.name);
    fs::create_dir_all(&home).map_err(RewardError::io(&home))?;
    for (file, contents) in [("tool.yaml", card), ("verifier.py", source), (WHY, &(turned.why.clone() + "\n"))] {
        write_atomic(&home.join(file), contents.as_bytes())
            .map_err(|e| RewardError::tool(&turned.name, e.to_string()))?;
    }
    Ok(())
}

fn write_tool(folder: &Path, name: &str, library: &Library) -> Result<(), RewardError> {
    let home = folder.join(name);
    fs::create_dir_all(&home).map_err(RewardError::io(&home))?;
    let mut files = library.files(name);
    // A folder with a card is a tool: the card comes last, when the rest is there.
    files.reverse();
    for (file, contents) in files {
        let path = home.join(&file);
        match fs::read_to_string(&path) {
            Ok(there) if there == contents || file == ADMISSION => continue,
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

/// Longest card or verifier that is downloaded.
const LONGEST: u64 = 1 << 20;

fn fetch_card(library: &mut Library, address: &str) -> Result<(), RewardError> {
    let deadline = Duration::from_secs(30);
    let text = rlar_net::get_text(address, LONGEST, deadline)?;
    let card = crate::ToolCard::parse(Path::new(address), &text)?;
    let source = match card.file() {
        Some(file) => {
            let base = address.rsplit_once('/').map_or(address, |(base, _)| base);
            rlar_net::get_text(&format!("{base}/{file}"), LONGEST, deadline)?
        }
        None => String::new(),
    };
    library.add(Path::new(address), text, source, None)
}
