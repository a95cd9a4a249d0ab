//! The agents at work beside the training: nobody waits for them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};

use rlar_data::Example;
use serde::{Deserialize, Serialize};

use crate::agents::ask::Tally;
use crate::agents::builtin::{Assignment, looks};
use crate::agents::classify::Labels;
use crate::agents::select::select;
use crate::agents::synthesise::{Evidence, Order};
use crate::agents::tasks::{domain, said, same};
use crate::agents::{Agents, News};
use crate::library::folder::Library;
use crate::library::new_tool::NewTool;
use crate::monitor::{Breach, Sign};
use crate::tool::card::{ToolCard, ToolRole};
use crate::tool::composite::{CombineAs, WeightedTool};

/// What the agents are asked for.
#[derive(Clone, Debug)]
pub enum Request {
    /// Tools for these prompts, each with its place among all; the first first.
    Select(Vec<(usize, Example)>),
    /// New tools for a domain, with examples of it, those that show good replies first.
    Renew(Breach, Vec<Example>),
}

/// What they found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Found {
    /// Tools for the prompt at a place.
    Prompt(usize, Assignment),
    /// Tools for every prompt of a domain.
    Domain(String, Assignment),
    /// What came of a breach.
    Renewed(Box<Renewal>),
}

/// What came of a breach: a page for people, and a tool where one was admitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Renewal {
    /// The breach.
    pub breach: Breach,
    /// The new tool.
    pub tool: Option<NewTool>,
    /// The tools of the domain's prompts from now on; nothing where they stay as they are.
    pub assignment: Option<Assignment>,
    /// Verifiers that were written, how many of them run, and how many were admitted.
    pub written: [usize; 3],
    /// What was noticed, tried and changed, as Markdown.
    pub page: String,
}

/// The thread that the agents work in.
#[derive(Debug)]
pub struct Worker {
    requests: Sender<Request>,
    found: Mutex<Receiver<Found>>,
    agents: Arc<Agents>,
    over: Arc<AtomicBool>,
    gone: AtomicBool,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // A question that is under way ends at its own deadline; nobody waits for it.
        self.over.store(true, Ordering::Relaxed);
    }
}

impl Worker {
    /// Starts the thread; `library` is what tools are chosen from.
    pub fn start(agents: Agents, library: Library) -> std::io::Result<Self> {
        let (requests, asked) = channel();
        let (tell, found) = channel();
        let (agents, over) = (Arc::new(agents), Arc::new(AtomicBool::new(false)));
        let room = agents.room();
        let mut desk = Desk {
            agents: agents.clone(),
            library,
            room,
            over: over.clone(),
            tell,
            by_task: BTreeSet::new(),
            last: BTreeMap::new(),
            prompts: [0; 2],
        };
        std::thread::Builder::new().name("agents".into()).spawn(move || desk.work(&asked))?;
        Ok(Self { requests, found: Mutex::new(found), agents, over, gone: AtomicBool::new(false) })
    }

    /// Asks for something; what comes of it is [`Worker::found`] later.
    pub fn ask(&self, request: Request) {
        if self.requests.send(request).is_err() && !self.gone.swap(true, Ordering::Relaxed) {
            tracing::warn!("the agents' thread has ended: the rewards stay as they are");
        }
    }

    /// What was found since the last time.
    pub fn found(&self) -> Vec<Found> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::new();
        loop {
            match found.try_recv() {
                Ok(one) => all.push(one),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return all,
            }
        }
    }

    /// What was asked so far, by role.
    pub fn tally(&self) -> Tally {
        self.agents.tally()
    }
}

/// Questions that may be asked however few prompts there are.
const FIRST: usize = 20;

/// What the thread works with.
struct Desk {
    agents: Arc<Agents>,
    library: Library,
    /// Bytes of reward models that may still be downloaded.
    room: u64,
    over: Arc<AtomicBool>,
    tell: Sender<Found>,
    /// Domains whose tools were chosen for all of their prompts.
    by_task: BTreeSet<String>,
    /// The last choice of each domain.
    last: BTreeMap<String, Vec<WeightedTool>>,
    /// Prompts that were asked for, and questions about them.
    prompts: [usize; 2],
}

impl Desk {
    /// Works until nobody asks any more. What a run lacks comes before what it could have better.
    fn work(&mut self, asked: &Receiver<Request>) {
        let mut waiting: VecDeque<(usize, Example)> = VecDeque::new();
        let mut breaches: VecDeque<(Breach, Vec<Example>)> = VecDeque::new();
        while !self.over.load(Ordering::Relaxed) {
            let idle = waiting.is_empty() && breaches.is_empty();
            let next = if idle { asked.recv().ok() } else { asked.try_recv().ok() };
            match next {
                Some(Request::Select(examples)) => {
                    self.prompts[0] += examples.len();
                    waiting.extend(examples);
                }
                Some(Request::Renew(breach, examples)) => breaches.push_back((breach, examples)),
                None if idle => return,
                None => {
                    if let Some((breach, examples)) = breaches.pop_front() {
                        let renewal = self.renew(breach, &examples);
                        let _ = self.tell.send(Found::Renewed(Box::new(renewal)));
                    } else if let Some((place, example)) = waiting.pop_front() {
                        self.select(place, &example);
                    }
                }
            }
        }
    }

    /// Chooses a prompt's tools, unless its domain has them; the builtin agent's choice stands where no other is made.
    fn select(&mut self, place: usize, example: &Example) {
        let Some(asker) = &self.agents.asker else { return };
        let domain = domain(example).to_owned();
        if self.by_task.contains(&domain) {
            return;
        }
        // Under one question to a hundred prompts, beyond a beginning.
        if self.prompts[1] >= FIRST + self.prompts[0] / 100 {
            return;
        }
        self.prompts[1] += 1;
        let task = self.agents.builtin_label(example);
        let candidates = eligible(&self.library, example, &task);
        match select(asker, example, &task, &candidates) {
            Ok(selected) => {
                let again = self.last.get(&domain) == Some(&selected.assignment.tools);
                self.last.insert(domain.clone(), selected.assignment.tools.clone());
                // What is said twice in a row holds for the others, too.
                let found = if (selected.by_task || again) && said(example).is_some() {
                    self.by_task.insert(domain.clone());
                    Found::Domain(domain, selected.assignment)
                } else {
                    Found::Prompt(place, selected.assignment)
                };
                let _ = self.tell.send(found);
            }
            Err(why) => {
                tracing::warn!("example `{}`: {why}; the builtin agent's choice stands", example.id);
                asker.fell_back("select");
            }
        }
    }

    /// Writes or finds a tool for a domain whose tools will not do.
    fn renew(&mut self, breach: Breach, examples: &[Example]) -> Renewal {
        let mut lines: Vec<String> = Vec::new();
        let some: Vec<&Example> = examples.iter().collect();
        let labels: Labels = self.agents.classify(&some[..some.len().min(3)]);
        let task = some.first().map_or_else(|| breach.domain.clone(), |e| labels.of(e));
        let known: Vec<(String, String)> = self.library.cards().map(|c| (c.name.clone(), c.measures.clone())).collect();
        let evidence = Evidence {
            what: match (breach.sign, breach.tools.is_empty()) {
                (Sign::Coverage, _) | (_, true) => breach.what.clone(),
                _ => format!("{} (the tools: {})", breach.what, breach.tools.join(", ")),
            },
            overpaid: breach.overpaid.clone(),
            code: breach.tools.iter().filter_map(|name| self.library.source(name)).collect(),
        };
        let order = Order {
            task: &task,
            examples: &some,
            steps: labels.steps.get(&task).map_or(&[], Vec::as_slice),
            known: &known,
            packages: &self.agents.means.packages.allowed,
            evidence: Some(&evidence),
        };
        let mut note = |news: News| {
            if let News::Line(line) = news {
                lines.push(line);
            }
        };
        let judges =
            |tool: &NewTool| ToolCard::parse("new".as_ref(), &tool.card).is_ok_and(|c| c.role != ToolRole::Constraint);
        let mut provided = self.agents.synthesise(&order, &|_| false, Some(1), &mut note);
        if !provided.admitted.iter().any(judges) {
            let taken = |name: &str| self.library.card(name).is_some();
            provided.add(self.agents.retrieve(&task, examples, &taken, &mut self.room, &mut note));
        }
        let written = [
            provided.written[0],
            provided.written[1],
            provided.admitted.iter().filter(|t| !t.source.is_empty()).count(),
        ];
        let tool = provided.admitted.into_iter().find(judges);
        let assignment = tool.as_ref().map(|tool| Assignment {
            example: breach.domain.clone(),
            tools: vec![WeightedTool { tool: tool.name.clone(), weight: 1.0, part: CombineAs::Term, least: None }],
            by: self.agents.asker.as_ref().map_or_else(|| "builtin".into(), crate::agents::ask::Asker::name),
            why: format!("{} at step {}: {}", breach.sign, breach.step, breach.what),
        });
        if let Some(tool) = &tool
            && let Err(e) = self.library.add_tool(tool, "new".as_ref())
        {
            tracing::warn!("{e}");
        }
        if tool.is_some() {
            // What is new is not up for choice.
            self.by_task.insert(breach.domain.clone());
        }
        let page = page(&breach, &task, &lines, tool.as_ref());
        Renewal { breach, tool, assignment, written, page }
    }
}

/// Admitted tools that suit an example: of its task, of the one that it looks like, or of any, and with the reference that
/// they need.
fn eligible<'l>(library: &'l Library, example: &Example, task: &str) -> Vec<&'l ToolCard> {
    let looks = looks(example);
    let fits = |t: &str| t == "any" || looks.contains(&t) || same(t, task) || said(example).is_some_and(|s| same(t, s));
    let suits = |c: &ToolCard| c.tasks.iter().any(|t| fits(t));
    let usable =
        |c: &&ToolCard| suits(c) && (!c.needs_reference || example.reference.is_some()) && library.is_admitted(&c.name);
    library.cards().filter(usable).collect()
}

fn page(breach: &Breach, task: &str, lines: &[String], tool: Option<&NewTool>) -> String {
    let tools = if breach.tools.is_empty() { "none".into() } else { breach.tools.join(", ") };
    let tried: Vec<String> = lines.iter().map(|l| format!("- {}", l.replace('\n', "\n  "))).collect();
    let tried = tried.join("\n");
    let changed = match tool {
        Some(tool) => format!(
            "From the next step on `{}` scores the prompts of the domain `{}`.\n\n```yaml\n{}\n```\n\n```python\n{}\n```\n",
            tool.name,
            breach.domain,
            tool.card.trim_end(),
            tool.source.trim_end()
        ),
        None => "Nothing: no new tool was admitted.\n".into(),
    };
    let overpaid: Vec<String> =
        breach.overpaid.iter().map(|c| format!("- {:?} to {:?}\n", c.reply, c.prompt)).collect();
    let overpaid = overpaid.concat();
    let overpaid = if overpaid.is_empty() { overpaid } else { format!("\nReplies that were paid for:\n\n{overpaid}") };
    format!(
        "# {} of `{}` at step {}\n\n## Noticed\n\n{}: {}.\nTools until then: {tools}.\n{overpaid}\n## Tried\n\nThe task was called \
         `{task}`.\n\n{tried}\n\n## Changed\n\n{changed}",
        breach.sign, breach.domain, breach.step, breach.what, breach.figures
    )
}
