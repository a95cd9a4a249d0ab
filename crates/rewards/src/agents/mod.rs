//! The agents: a language model finds, writes and chooses rewards; code checks everything that it says.
//!
//! Four roles: [`classify`] names tasks, [`retrieve`] finds reward models, [`synthesise`] writes verifiers, and [`select`]
//! chooses tools for a prompt. Each is a prompt, a typed reply, a validator and a fallback: an answer that cannot be used is
//! repaired at most twice, and then the builtin agent's is. What pages, cards and data say is fenced and is data.

pub mod ask;
pub mod background;
pub mod builtin;
pub mod classify;
pub mod fence;
pub mod llm;
pub mod local;
pub mod retrieve;
pub mod select;
pub mod synthesise;
pub mod tasks;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rlar_data::{Completion, Example};
use rlar_net::Secret;
use rlar_net::hub::{Hub, Progress};
use rlar_net::llm::{Log, Memo};
use rlar_net::web::WebSearch;
use serde::Serialize;

use crate::RewardError;
use crate::admission::examine::examine;
use crate::admission::report::Status;
use crate::agents::ask::{Asker, NoAnswer, Tally};
use crate::agents::builtin::BuiltinAgent;
use crate::agents::classify::{Labels, classify};
use crate::agents::retrieve::{Candidate, Declined, HubConfig};
use crate::agents::synthesise::{Made, Order};
use crate::agents::tasks::Tasks;
use crate::library::folder::Library;
use crate::library::new_tool::NewTool;
use crate::tool::card::{ToolCard, ToolKind, ToolRole};
use crate::tool::reward_model::ModelPointer;
use crate::tool::scoring::ToolContext;

/// The file of a folder that holds what the agents were told.
pub const EXCHANGES: &str = "exchanges.jsonl";

/// The file of a folder that holds every question, failed ones included.
pub const LOG: &str = "agents.jsonl";

/// Something that a person who waits wants to know.
pub enum News<'a> {
    /// Something was done.
    Line(String),
    /// A model's file is being downloaded.
    Download(&'a str, &'a Progress<'a>),
}

/// A new tool that may not score, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Turned {
    /// The tool, or the model that it would have been.
    pub name: String,
    /// Why.
    pub why: String,
    /// Its card and code, where something was written.
    #[serde(skip)]
    pub written: Option<(String, String)>,
}

/// What came of asking for tools.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Provided {
    /// Tools that may score.
    pub admitted: Vec<NewTool>,
    /// Tools and models that may not.
    pub turned: Vec<Turned>,
    /// Verifiers that were written, and how many of them run.
    pub written: [usize; 2],
    /// Models that were considered, and how many of them became tools.
    pub considered: [usize; 2],
    /// What could not be done because somebody did not answer.
    pub missing: Vec<String>,
}

impl Provided {
    /// Takes over what came of another request.
    pub fn add(&mut self, other: Self) {
        self.admitted.extend(other.admitted);
        self.turned.extend(other.turned);
        self.missing.extend(other.missing);
        for (sum, n) in
            self.written.iter_mut().zip(other.written).chain(self.considered.iter_mut().zip(other.considered))
        {
            *sum += n;
        }
    }
}

/// The agents with all that they work with.
pub struct Agents {
    /// Whom they ask; without it the builtin agent does what it can.
    pub asker: Option<Asker>,
    /// Where models come from, and which may.
    pub hub: Option<(Hub, HubConfig)>,
    /// Where pages are searched.
    pub webs: Vec<Box<dyn WebSearch>>,
    /// What new tools run with.
    pub means: ToolContext,
    /// What no log may hold.
    pub secrets: Vec<Secret>,
}

impl fmt::Debug for Agents {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Agents").field("asker", &self.asker).field("hub", &self.hub).finish_non_exhaustive()
    }
}

impl Agents {
    /// The same, which keep in a folder what they were told (`exchanges.jsonl`), ask nothing that stands there, and log every
    /// question (`agents.jsonl`).
    pub fn remembering(self, folder: &Path) -> Result<Self, RewardError> {
        let Some(asker) = &self.asker else { return Ok(self) };
        let logged = Log::new(asker.llm(), &folder.join(LOG))?.without(self.secrets.clone());
        let asker = Asker::new(Arc::new(Memo::new(Arc::new(logged), &folder.join(EXCHANGES))?));
        Ok(Self { asker: Some(asker), ..self })
    }

    /// What was asked so far, by role.
    pub fn tally(&self) -> Tally {
        self.asker.as_ref().map(Asker::tally).unwrap_or_default()
    }

    /// The builtin agent's label of an example.
    pub fn builtin_label(&self, example: &Example) -> String {
        BuiltinAgent.label(example)
    }

    /// Labels examples by their tasks.
    pub fn classify(&self, examples: &[&Example]) -> Labels {
        classify(self.asker.as_ref(), examples, &mut Tasks::default())
    }

    /// Lists three to five rules for an order's task and writes a verifier for each, until `most` that judge replies are
    /// admitted. Rules that are `done` are left out.
    pub fn synthesise(
        &self,
        order: &Order,
        done: &dyn Fn(&str) -> bool,
        most: Option<usize>,
        tell: &mut dyn FnMut(News),
    ) -> Provided {
        let mut provided = Provided::default();
        let Some(asker) = &self.asker else { return provided };
        // What cannot run here is not worth a question.
        if let Err(e) = &self.means.sandbox {
            tell(News::Line(format!("{}: no verifiers: {e}", order.task)));
            return provided;
        }
        let rules = match synthesise::list(asker, order) {
            Ok(rules) => rules,
            Err(why) => {
                asker.fell_back("synthesise");
                let line = format!("{}: no rules: {why}", order.task);
                tell(News::Line(line.clone()));
                if matches!(why, NoAnswer::Silence(_)) {
                    provided.missing.push(line);
                }
                return provided;
            }
        };
        let mut judges = 0;
        for rule in rules.iter().filter(|r| !done(&r.name)) {
            if most.is_some_and(|most| judges >= most) {
                break;
            }
            let made = synthesise::write(asker, order, rule, &self.means);
            provided.written[0] += 1;
            match made {
                Ok(made) => {
                    provided.written[1] += usize::from(made.executable);
                    for (i, why) in made.earlier.iter().enumerate() {
                        tell(News::Line(format!("{}: {}, version {}: {why}", order.task, made.card.name, i + 1)));
                    }
                    let version = made.earlier.len() + 1;
                    let said = made.refusal.as_deref().map_or("admitted".into(), |why| format!("given up: {why}"));
                    tell(News::Line(format!("{}: {}, version {version}: {said}", order.task, made.card.name)));
                    match made {
                        Made { admission: Some(admission), refusal: None, .. } => {
                            judges += usize::from(made.card.role != ToolRole::Constraint);
                            let name = made.card.name.clone();
                            provided.admitted.push(NewTool { name, card: made.text, source: made.source, admission });
                        }
                        made => provided.turned.push(Turned {
                            name: made.card.name.clone(),
                            why: made.refusal.unwrap_or_default(),
                            written: Some((made.text, made.source)),
                        }),
                    }
                }
                Err(why) => {
                    asker.fell_back("synthesise");
                    let line = format!("{}: {}: not written: {why}", order.task, rule.name);
                    tell(News::Line(line.clone()));
                    if matches!(why, NoAnswer::Silence(_)) {
                        provided.missing.push(line);
                    }
                    provided.turned.push(Turned { name: rule.name.clone(), why: why.to_string(), written: None });
                }
            }
        }
        provided
    }

    /// Bytes of reward models that may be downloaded in all.
    pub fn room(&self) -> u64 {
        self.hub.as_ref().map_or(0, |(_, config)| config.max_megabytes_in_all << 20)
    }

    /// Finds reward models for a task and makes tools of those that serve; what is downloaded takes from the room.
    pub fn retrieve(
        &self,
        task: &str,
        examples: &[Example],
        is_taken: &dyn Fn(&str) -> bool,
        room: &mut u64,
        tell: &mut dyn FnMut(News),
    ) -> Provided {
        let mut provided = Provided::default();
        let Some((hub, config)) = &self.hub else { return provided };
        let asker = self.asker.as_ref();
        let found = match retrieve::find(asker, hub, &self.webs, task) {
            Ok(found) => found,
            Err(e) => {
                let line = format!("{task}: no models: {e}");
                tell(News::Line(line.clone()));
                provided.missing.push(line);
                return provided;
            }
        };
        provided.considered[0] = found.len();
        let memory = rlar_policy::free_memory();
        let mut declined = Vec::new();
        let mut candidates = Vec::new();
        for id in &found {
            match retrieve::check(hub, id, config, memory) {
                Ok(candidate) => candidates.push(candidate),
                Err(why) => declined.push(why),
            }
        }
        let (candidates, others) = retrieve::rerank(asker, task, candidates);
        declined.extend(others);
        let mut names = BTreeSet::new();
        for candidate in candidates.iter().take(config.tries) {
            if provided.admitted.len() == config.models {
                break;
            }
            if candidate.bytes > *room {
                let why = "it would be more than `rewards.hub.max_megabytes_in_all` with those before it".into();
                declined.push(Declined { id: candidate.id.clone(), why });
                continue;
            }
            *room -= candidate.bytes;
            let name = tool_name(&candidate.id, &|n| is_taken(n) || names.contains(n));
            match self.deploy(hub, config, candidate, &name, task, examples, tell) {
                Ok(tool) => {
                    names.insert(name.clone());
                    tell(News::Line(format!("{task}: {} is admitted as `{name}`", candidate.id)));
                    provided.admitted.push(tool);
                }
                Err(why) => declined.push(why),
            }
        }
        provided.considered[1] = provided.admitted.len();
        for Declined { id, why } in declined {
            tell(News::Line(format!("{task}: {id}: {why}")));
            provided.turned.push(Turned { name: id, why, written: None });
        }
        provided
    }

    /// Downloads a model, declares it as a tool, and lets the court examine it.
    #[allow(clippy::too_many_arguments)]
    fn deploy(
        &self,
        hub: &Hub,
        config: &HubConfig,
        candidate: &Candidate,
        name: &str,
        task: &str,
        examples: &[Example],
        tell: &mut dyn FnMut(News),
    ) -> Result<NewTool, Declined> {
        let declined = |why: String| Declined { id: candidate.id.clone(), why };
        retrieve::download(hub, candidate, config, &mut |p| tell(News::Download(&candidate.id, p)))?;
        let hashes = candidate.files.iter().filter_map(|f| Some((f.name.clone(), f.sha256.clone()?)));
        let pointer = ModelPointer {
            repo: Some(candidate.id.clone()),
            revision: Some(candidate.commit.clone()),
            files: candidate.files.iter().map(|f| f.name.clone()).collect(),
            sha256: hashes.collect(),
            ..ModelPointer::default()
        };
        let mut card = ToolCard {
            name: name.to_owned(),
            kind: ToolKind::Model(pointer),
            role: ToolRole::Quality,
            measures: format!("What the reward model {} says of a reply.", candidate.id),
            tasks: vec![task.to_owned()],
            needs_reference: false,
            bare: false,
            range: [-1e9, 1e9],
            cases: Vec::new(),
            origin: format!("{} at {}, licence {}", candidate.id, candidate.commit, candidate.licence),
        };
        let means = ToolContext { hub: Some(hub.clone()), ..self.means.clone() };
        let open = |card: &ToolCard| -> Result<(String, crate::Tool), String> {
            let text = serde_yaml::to_string(card).map_err(|e| e.to_string())?;
            let mut library = Library::default();
            library.add("found/tool.yaml".as_ref(), text.clone(), String::new(), None).map_err(|e| e.to_string())?;
            Ok((text, library.open(name, &means).map_err(|e| e.to_string())?.for_admission()))
        };
        let (_, raw) = open(&card).map_err(declined)?;
        let (center, scale) = place(&raw, examples).map_err(declined)?;
        // Two of it may not fit into memory.
        drop(raw);
        if let ToolKind::Model(pointer) = &mut card.kind {
            (pointer.sigmoid, pointer.center, pointer.scale) = (true, center, scale);
        }
        card.range = [0.0, 1.0];
        let (text, tool) = open(&card).map_err(declined)?;
        let admission = examine(&tool, examples, &[]).map_err(|e| declined(e.to_string()))?;
        if admission.status == Status::Refused {
            let why: Vec<String> = admission.failed().take(3).map(|p| format!("{}: {}", p.name, p.evidence)).collect();
            return Err(declined(format!("was refused; it does not show that it {}", why.join("; "))));
        }
        Ok(NewTool { name: name.to_owned(), card: text, source: String::new(), admission })
    }
}

/// A name for the tool of a model: the model's, or with its publisher's where that is taken, or with a number too.
fn tool_name(id: &str, is_taken: &dyn Fn(&str) -> bool) -> String {
    let plain = |s: &str| -> String {
        let sign = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
        s.chars().map(sign).take(60).collect()
    };
    let short = plain(id.split('/').next_back().unwrap_or(id));
    let numbered = (2..).map(|n| format!("{}_{n}", plain(id)));
    [short, plain(id)].into_iter().chain(numbered).find(|name| !is_taken(name)).unwrap_or_default()
}

/// Where the middle of a model's outputs for these examples lies and how wide they are, to two digits: what its sigmoid is
/// taken of.
fn place(tool: &crate::Tool, examples: &[Example]) -> Result<(f64, f64), String> {
    let known = examples.iter().filter_map(|e| Some((e, e.demonstration.as_ref().or(e.reference.as_ref())?)));
    let known: Vec<(&Example, &String)> = known.take(12).collect();
    let asked: Vec<&Example> = examples.iter().take(12).collect();
    let good = known.iter().map(|(e, reply)| (*e, Completion::whole((*reply).clone())));
    let turned =
        known.iter().zip(known.iter().cycle().skip(1)).map(|((e, _), (_, r))| (*e, Completion::whole((*r).clone())));
    let blind = asked.iter().flat_map(|e| ["", "I do not know."].map(|r| (*e, Completion::whole(r))));
    let items: Vec<(&Example, Completion)> = good.chain(turned).chain(blind).collect();
    let items: Vec<(&Example, &Completion)> = items.iter().map(|(e, c)| (*e, c)).collect();
    let outcomes = tool.score(&items).map_err(|e| e.to_string())?;
    let outputs: Vec<f64> = outcomes.iter().filter_map(crate::Outcome::score).collect();
    if outputs.is_empty() {
        return Err("it gives no score to any reply".into());
    }
    let mean = outputs.iter().sum::<f64>() / outputs.len() as f64;
    let deviation = (outputs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / outputs.len() as f64).sqrt();
    let round = |x: f64| format!("{x:.1e}").parse::<f64>().unwrap_or(x);
    Ok((round(mean), round(deviation.max(1e-6))))
}
