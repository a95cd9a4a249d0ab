//! The agent role `classify`: gives every prompt a label of its task, such as `math`.
//!
//! Prompts that declare the same task, or whose features show the same one, form a group. A known task that the prompts
//! declare is their label. Of each other group, the language model names the task of a few prompts, one question at a
//! time; the majority decides, and what the prompts declare and show counts as evidence that a single answer does not
//! overrule.

use std::collections::BTreeMap;

use rlar_data::Example;
use rlar_net::llm::ChatReply;
use serde::Serialize;

use crate::agents::builtin::{BuiltinAgent, shown_label};
use crate::agents::client::{LlmClient, LlmFailure};
use crate::agents::numbered::numbered_lines;
use crate::agents::parse::{object, text, texts};
use crate::agents::plain_text::clip;
use crate::agents::prompt::{DATA_INSTRUCTION, Prompt};
use crate::agents::request::LlmRequest;
use crate::agents::tasks::{TaskList, clean, declared_task, known_task, names_task};
use crate::library::folder::Library;

const TEMPLATE: &str = "classify-2";
const STEPS_TEMPLATE: &str = "classify-steps-1";

/// Largest number of prompts of a group about which the model is asked.
const SAMPLES: usize = 5;

/// Largest number of prompts of a group that are labelled one by one, when the language model's answers about a few of
/// them differ.
const MAX_ONE_BY_ONE: usize = 60;

/// Votes of a known task that the examples of a group declare. Every answer of the language model is one vote.
const DECLARED_WEIGHT: usize = 3;
/// Votes of a task that the features of a group's examples show. Every answer of the language model is one vote.
const SHOWN_WEIGHT: usize = 2;
/// Votes of a declared name that is no known task. Every answer of the language model is one vote.
const NEW_NAME_WEIGHT: usize = 1;

/// The prompts of the examples in the question. Small models repeat their words as labels.
const EXAMPLE_PROMPTS: [&str; 2] = ["Say in French: good night", "Which vowel does not occur in this word: tree?"];

/// An instruction with more words than this is split into its separate requirements, the steps.
const LONG_INSTRUCTION_WORDS: usize = 60;

/// Largest number of steps (separate requirements) that are taken from one long instruction.
const MAX_STEPS: usize = 6;
/// Largest number of characters of a step (a requirement of an instruction); longer ones are cut.
const MAX_STEP_CHARS: usize = 200;

/// Tasks whose prompts hold material to work on rather than requirements, so that a long prompt has no steps.
const WITHOUT_STEPS: [&str; 7] =
    ["math", "code", "translation", "summarisation", "question answering", "paraphrasing", "cloze"];

/// The task labels that were found for a set of examples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskLabels {
    /// Labels of the examples that declare a task, by the declared task.
    pub by_declared_task: BTreeMap<String, String>,
    /// Labels of the examples that declare no task, by id and prompt as one text.
    pub by_example: BTreeMap<String, String>,
    /// The separate requirements of long instructions, by task label.
    pub steps: BTreeMap<String, Vec<String>>,
    /// How every group of examples got its label, in the order of the groups' names.
    pub votes: Vec<GroupVotes>,
}

/// How a group of examples got its label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupVotes {
    /// The name of the group: the task that its examples declare, or else the task that their features show.
    pub group: String,
    /// Number of examples in the group.
    pub examples: usize,
    /// The label that most examples of the group got.
    pub label: String,
    /// The labels that the language model gave to single prompts, each with how often.
    pub answers: BTreeMap<String, usize>,
}

impl TaskLabels {
    /// The task label of an example; for an example that was not labelled, the label that the builtin agent (fixed
    /// rules) gives.
    pub fn label_of(&self, example: &Example) -> String {
        let label = match declared_task(example) {
            Some(task) => self.by_declared_task.get(task),
            None => self.by_example.get(&key(example)),
        };
        label.cloned().unwrap_or_else(|| BuiltinAgent.label(example))
    }
}

/// Gives examples the labels of their tasks. Examples that declare the same task (in `domain`, otherwise in the column
/// `kind`) share one label; so do those that declare none and whose features show the same task. Whoever declares a known
/// task knows it, so the language model is not asked. Without a language model, or when the model gives no usable reply,
/// the builtin agent (fixed rules) labels.
pub fn classify(client: Option<&LlmClient>, examples: &[&Example], tasks: &mut TaskList) -> TaskLabels {
    let mut labels = TaskLabels::default();
    for group in groups(examples) {
        let voted = match (group.declared.and_then(known_task), client) {
            (Some(known), _) => Voted::without_answers(known.to_owned()),
            (None, Some(client)) => vote(client, &group, tasks),
            (None, None) => Voted::without_answers(group.builtin_label(tasks)),
        };
        let steps = client.and_then(|client| ask_steps(client, &group, &voted.label));
        if let Some(steps) = steps.filter(|steps| !steps.is_empty()) {
            labels.steps.insert(voted.label.clone(), steps);
        }
        if let Some(task) = group.declared {
            labels.by_declared_task.insert(task.to_owned(), voted.label.clone());
        } else {
            let label = |e: &&Example| voted.one_by_one.get(&key(e)).unwrap_or(&voted.label).clone();
            labels.by_example.extend(group.examples.iter().map(|e| (key(e), label(e))));
        }
        let Voted { label, answers, .. } = voted;
        labels.votes.push(GroupVotes { group: group.name(), examples: group.examples.len(), label, answers });
    }
    labels
}

/// The key of an example among the labels: its id and its prompt, because an id is unique only within its file.
fn key(example: &Example) -> String {
    format!("{}: {}", example.id, example.prompt())
}

/// The label of an example's task: the one that the agents gave it when they filled the library, otherwise the one that
/// the builtin agent (fixed rules) gives.
pub fn task_label(library: &Library, example: &Example) -> String {
    known_task_label(library, example).map_or_else(|| BuiltinAgent.label(example), str::to_owned)
}

/// The label that the agents gave to the task of an example, or of prompts like it, when they filled the library; `None`
/// when they gave none.
pub(crate) fn known_task_label<'l>(library: &'l Library, example: &Example) -> Option<&'l str> {
    library.task_label(example, group_name(declared_task(example), shown_label(example)).as_deref())
}

/// The name of a group of examples that declare or show a task, in logs and recordings; `None` when they do neither.
fn group_name(declared: Option<&str>, shown: Option<&str>) -> Option<String> {
    declared.map(str::to_owned).or_else(|| Some(format!("like {}", shown?)))
}

/// Examples that declare the same task, or whose features show the same one.
struct Group<'e> {
    declared: Option<&'e str>,
    shown: Option<&'static str>,
    examples: Vec<&'e Example>,
}

fn groups<'e>(examples: &[&'e Example]) -> Vec<Group<'e>> {
    let mut groups: BTreeMap<(Option<&str>, String), Vec<&Example>> = BTreeMap::new();
    for example in examples {
        let declared = declared_task(example);
        let label = if declared.is_some() { String::new() } else { BuiltinAgent.label(example) };
        groups.entry((declared, label)).or_default().push(example);
    }
    let group = |((declared, _), examples): ((Option<&'e str>, String), Vec<&'e Example>)| {
        // The first example stands for the others.
        let shown = examples.first().and_then(|e| shown_label(e));
        Group { declared, shown, examples }
    };
    groups.into_iter().map(group).collect()
}

impl Group<'_> {
    /// The name of the group in logs and recordings.
    fn name(&self) -> String {
        group_name(self.declared, self.shown).unwrap_or_else(|| {
            format!("perhaps {}", self.examples.first().map_or(String::new(), |e| BuiltinAgent.label(e)))
        })
    }

    /// A few examples, spread evenly over the group.
    fn samples(&self) -> Vec<&Example> {
        let n = self.examples.len().min(SAMPLES);
        (0..n).map(|i| self.examples[i * self.examples.len() / n]).collect()
    }

    /// The task labels that the group's examples suggest, by the task that they declare and by the features that they
    /// show; each with its number of votes.
    fn evidence(&self, tasks: &TaskList) -> Vec<Evidence> {
        let declared = self.declared.map(|task| match tasks.find_within(task) {
            Some(known) => Evidence { label: known.to_owned(), weight: DECLARED_WEIGHT },
            None => Evidence { label: clean(task), weight: NEW_NAME_WEIGHT },
        });
        let shown = self.shown.map(|label| Evidence { label: label.to_owned(), weight: SHOWN_WEIGHT });
        declared.filter(|evidence| names_task(&evidence.label)).into_iter().chain(shown).collect()
    }

    fn builtin_label(&self, tasks: &mut TaskList) -> String {
        let label = self.examples.first().map(|e| BuiltinAgent.label(e)).unwrap_or_default();
        tasks.add(&label).unwrap_or_else(|_| "question answering".into())
    }
}

/// A task label that the examples of a group (examples that look alike) suggest, with its number of votes.
struct Evidence {
    label: String,
    /// Number of votes for the label; an answer of the language model is one vote.
    weight: usize,
}

/// The result of a vote on the label of a group.
struct Voted {
    label: String,
    /// How often the model gave each label.
    answers: BTreeMap<String, usize>,
    /// Labels of single examples, by [`key`]. Empty unless the language model's answers about the group differed.
    one_by_one: BTreeMap<String, String>,
}

impl Voted {
    fn without_answers(label: String) -> Self {
        Self { label, answers: BTreeMap::new(), one_by_one: BTreeMap::new() }
    }
}

/// Lets the model name the task of a few examples of a group, and adds the label with the most votes to `tasks`.
fn vote(client: &LlmClient, group: &Group, tasks: &mut TaskList) -> Voted {
    let name = group.name();
    let evidence = group.evidence(tasks);
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    let mut attempts = 0;
    let mut ask = |example: &Example, answers: &mut BTreeMap<String, usize>| {
        let request = LlmRequest { attempt: attempts, ..request(&name, example, group.declared, tasks) };
        let parsed = client.complete(request, |reply| parse(reply, tasks));
        match parsed {
            Ok(reply) => {
                attempts = reply.attempts;
                *answers.entry(reply.value.clone()).or_default() += 1;
                Ok(reply.value)
            }
            Err(why) => {
                attempts += 3;
                Err(why)
            }
        }
    };
    let samples = group.samples();
    for (i, example) in samples.iter().enumerate() {
        if let Err(why) = ask(example, &mut answers) {
            tracing::warn!("classify {name}: {why}");
            // A model that cannot name the first two tasks is not asked about the others.
            if matches!(why, LlmFailure::Unavailable(_)) || (i == 1 && answers.is_empty()) {
                break;
            }
        }
    }
    let asked: usize = answers.values().sum();
    let differ = answers.len() > 1 && group.declared.is_none() && group.shown.is_none();
    let mut one_by_one = BTreeMap::new();
    if differ {
        for example in group.examples.iter().take(MAX_ONE_BY_ONE) {
            if let Ok(label) = ask(example, &mut answers) {
                one_by_one.insert(key(example), label);
            }
        }
    }
    let mut votes = answers.clone();
    for Evidence { label, weight } in &evidence {
        *votes.entry(label.clone()).or_default() += weight;
    }
    // Where all answers agree, they decide among equally many votes; otherwise the evidence does.
    let is_unanimous = answers.len() == 1;
    let best = votes
        .iter()
        .max_by_key(|(label, votes)| (**votes, evidence.iter().any(|e| e.label == **label) != is_unanimous));
    // A new name that the model gave only once says nothing about a group.
    let is_trusted = |label: &String, votes: usize| votes > 1 || asked <= 1 || tasks.find(label).is_some();
    let label = best.filter(|(label, votes)| is_trusted(label, **votes)).map(|(label, _)| label.clone());
    let label = if asked == 0 { None } else { label };
    let label = label.and_then(|label| tasks.add(&label).ok()).unwrap_or_else(|| {
        client.count_fallback("classify");
        group.builtin_label(tasks)
    });
    // A name that only one prompt got is no task of its own.
    one_by_one.retain(|_, own| answers.get(own).copied().unwrap_or(0) > 1 && tasks.add(own).is_ok());
    Voted { label, answers, one_by_one }
}

/// The label in a reply: the last line of a text, or the label in a JSON object.
fn parse(reply: &ChatReply, tasks: &TaskList) -> Result<String, String> {
    if reply.finish == "length" || reply.finish == "repetition" {
        return Err("it is no name of a task".into());
    }
    let reply = reply.text.as_str();
    let written = match object(reply) {
        Ok(fields) if fields.contains_key("labels") => {
            texts(fields.get("labels"), "labels", 60)?.first().cloned().unwrap_or_default()
        }
        Ok(fields) => text(&fields, "label", 60).or_else(|_| text(&fields, "task", 60))?,
        Err(_) => last_line(reply),
    };
    if let Some(known) = tasks.find_within(&written) {
        return Ok(known.to_owned());
    }
    let repeats = |prompt: &str| {
        let prompt = clean(prompt);
        clean(&written).split(' ').all(|word| prompt.split(' ').any(|known| known == word))
    };
    if EXAMPLE_PROMPTS.into_iter().any(repeats) {
        return Err(format!(
            "{:?} is from the prompt of an example; name the task of the last prompt",
            clip(&written, 60)
        ));
    }
    if !names_task(&written) {
        let shown = clip(&written, 60);
        return Err(format!("{shown:?} is no name of a task; one to three words are wanted, such as `translation`"));
    }
    tasks.clone().add(&written)
}

/// The last line with text, without what models write around a name: "Task:", quotes, list signs and a full stop.
fn last_line(reply: &str) -> String {
    let line = reply.lines().rev().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("```"));
    let line = line.unwrap_or_default();
    let name = line.rsplit_once(':').map_or(line, |(_, name)| name);
    name.trim_matches(|c: char| !c.is_alphanumeric()).to_owned()
}

fn request(group: &str, example: &Example, declared: Option<&str>, tasks: &TaskList) -> LlmRequest {
    let known: Vec<&str> = tasks.labels().collect();
    let [french, vowels] = EXAMPLE_PROMPTS;
    let system = format!(
        "You name the task that a prompt gives to a language model. {DATA_INSTRUCTION} Answer with the name of the task and \
         nothing else: one of the known tasks if one fits, otherwise a new name of at most three words.\nKnown tasks: {}.\n\
         Example: the prompt \"{french}\" with the reference \"bonne nuit\" is the task\ntranslation\n\
         Example: the prompt \"{vowels}\" with the reference \"a, i, o, u\" is the \
         task\nletter puzzle\n",
        known.join(", ")
    );
    let mut user = Prompt::default().data("prompt", clip(example.prompt(), 800));
    if let Some(reference) = &example.reference {
        user = user.data("reference", clip(reference, 200));
    }
    if let Some(declared) = declared {
        user = user.words("The data set calls it:\n").data("kind", clip(declared, 60));
    }
    LlmRequest {
        role: "classify",
        template: TEMPLATE,
        task: group.to_owned(),
        system,
        user: user.words("Which task is it? Answer with its name alone."),
        max_tokens: 40,
        ..LlmRequest::default()
    }
}

/// The separate requirements of the first long instruction of a group; `None` when there is no long instruction, when
/// the task is one of [`WITHOUT_STEPS`], or when the model gives no usable reply.
fn ask_steps(client: &LlmClient, group: &Group, label: &str) -> Option<Vec<String>> {
    let is_long = |e: &&&Example| e.prompt().split_whitespace().count() > LONG_INSTRUCTION_WORDS;
    let example = group.examples.iter().find(is_long).filter(|_| !WITHOUT_STEPS.contains(&label))?;
    let system = format!(
        "You read what a prompt asks for. {DATA_INSTRUCTION} List what a good reply must do, at most {MAX_STEPS} things, as a \
         numbered list of short statements that are true of a good reply. If the prompt asks for one thing only, answer: none"
    );
    let request = LlmRequest {
        role: "classify",
        template: STEPS_TEMPLATE,
        task: group.name(),
        system,
        user: Prompt::default().data("prompt", clip(example.prompt(), 3000)),
        max_tokens: 300,
        ..LlmRequest::default()
    };
    let parsed = client.complete(request, |reply| Ok(parse_steps(&reply.text)));
    parsed.map_err(|why| tracing::warn!("classify {}: {why}; no steps", group.name())).ok().map(|reply| reply.value)
}

/// The steps (separate requirements) that a reply lists. Long ones are cut, and those beyond the largest number are
/// left out.
fn parse_steps(reply: &str) -> Vec<String> {
    let listed = object(reply).ok().and_then(|fields| texts(fields.get("steps"), "steps", 2000).ok());
    let listed = listed.unwrap_or_else(|| numbered_lines(reply));
    listed.iter().take(MAX_STEPS).map(|step| clip(step, MAX_STEP_CHARS)).collect()
}
