//! Classify: what task is this?

use std::collections::BTreeMap;

use rlar_data::Example;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::agents::ask::{Asker, Question, object, texts};
use crate::agents::builtin::BuiltinAgent;
use crate::agents::fence::{Fence, clip};
use crate::agents::tasks::{Tasks, said};

const TEMPLATE: &str = "classify-1";

/// Examples that stand for all that say the same of their task.
const SPOKESMEN: usize = 3;

/// Examples of one question.
const AT_ONCE: usize = 20;

/// Words of an instruction that is asked to be taken apart.
const LONG: usize = 60;

/// The tasks of examples, by label.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Labels {
    /// Of examples that say something of their task themselves: what they say, and the label.
    pub by_word: BTreeMap<String, String>,
    /// Of the others: id and prompt, and label.
    pub by_example: BTreeMap<String, String>,
    /// Steps of long instructions, by label.
    pub steps: BTreeMap<String, Vec<String>>,
}

impl Labels {
    /// An example's label; the builtin agent's where nobody gave it one.
    pub fn of(&self, example: &Example) -> String {
        let known = match said(example) {
            Some(word) => self.by_word.get(word),
            None => self.by_example.get(&place(example)),
        };
        known.cloned().unwrap_or_else(|| BuiltinAgent.label(example))
    }
}

/// Labels examples. Those that say the same of their task (`domain`, else `kind`) get one label, from a few of them; the
/// others get one each. Where there is no model, or it gives no usable answer, the builtin agent labels.
pub fn classify(asker: Option<&Asker>, examples: &[&Example], tasks: &mut Tasks) -> Labels {
    let mut labels = Labels::default();
    let mut words: BTreeMap<&str, Vec<&Example>> = BTreeMap::new();
    let mut silent: Vec<&Example> = Vec::new();
    for example in examples {
        match said(example) {
            Some(word) => words.entry(word).or_default().push(example),
            None => silent.push(example),
        }
    }
    for (word, examples) in words {
        let some = &examples[..examples.len().min(SPOKESMEN)];
        let (given, steps) = label(asker, word, some, tasks);
        let label = commonest(&given);
        if !steps.is_empty() {
            labels.steps.insert(label.clone(), steps);
        }
        labels.by_word.insert(word.to_owned(), label);
    }
    for (i, some) in silent.chunks(AT_ONCE).enumerate() {
        let (given, steps) = label(asker, &format!("prompts {}", i + 1), some, tasks);
        if let (false, Some(at)) = (steps.is_empty(), some.iter().position(|e| is_long(e))) {
            labels.steps.insert(given[at].clone(), steps);
        }
        labels.by_example.extend(some.iter().map(|e| place(e)).zip(given));
    }
    labels
}

/// What tells an example from others: ids are unique within a file only.
fn place(example: &Example) -> String {
    format!("{}: {}", example.id, example.prompt())
}

/// The label that most have, the first of those.
fn commonest(labels: &[String]) -> String {
    let count = |label: &String| labels.iter().filter(|l| *l == label).count();
    let most = labels.iter().map(count).max().unwrap_or(0);
    labels.iter().find(|l| count(l) == most).cloned().unwrap_or_default()
}

/// The labels of a few examples, and the steps of a long instruction among them.
fn label(asker: Option<&Asker>, about: &str, examples: &[&Example], tasks: &mut Tasks) -> (Vec<String>, Vec<String>) {
    let Some(asker) = asker else { return (builtin(examples, tasks), Vec::new()) };
    let question = question(about, examples, tasks);
    let known = tasks.clone();
    let answered = asker.ask(question, |reply| {
        let fields = object(&reply.text)?;
        let labels = texts(fields.get("labels"), "labels", 60)?;
        if labels.len() != examples.len() {
            return Err(format!("`labels` has {} entries for {} questions", labels.len(), examples.len()));
        }
        let mut tasks = known.clone();
        let labels = labels.iter().map(|l| tasks.add(l)).collect::<Result<Vec<_>, String>>()?;
        let steps = fields.get("steps").map_or(Ok(Vec::new()), |s| texts(Some(s), "steps", 200))?;
        if steps.len() > 6 {
            return Err("`steps` has more than 6 entries".into());
        }
        Ok((labels, steps, tasks))
    });
    match answered {
        Ok(answer) => {
            let (labels, steps, now) = answer.value;
            *tasks = now;
            let any = examples.iter().any(|e| is_long(e));
            (labels, if any { steps } else { Vec::new() })
        }
        Err(why) => {
            tracing::warn!("classify {about}: {why}; the builtin agent labels");
            asker.fell_back("classify");
            (builtin(examples, tasks), Vec::new())
        }
    }
}

/// Whether an example's instruction is taken apart.
fn is_long(example: &Example) -> bool {
    example.prompt().split_whitespace().count() > LONG
}

fn builtin(examples: &[&Example], tasks: &mut Tasks) -> Vec<String> {
    let label = |e: &&Example| tasks.add(&BuiltinAgent.label(e)).unwrap_or_else(|_| "question answering".into());
    examples.iter().map(label).collect()
}

fn question(about: &str, examples: &[&Example], tasks: &Tasks) -> Question {
    let shown: Vec<[String; 2]> =
        examples.iter().map(|e| [clip(e.prompt(), 800), clip(e.reference.as_deref().unwrap_or("none"), 200)]).collect();
    let all: Vec<&str> = shown.iter().flatten().map(String::as_str).collect();
    let fence = Fence::around(&all);
    let known: Vec<&str> = tasks.labels().collect();
    let n = examples.len();
    let system = format!(
        "You name tasks. {} For each question say which task it is: one of the known tasks wherever one fits, else a new name \
         of at most three words. Known tasks: {}.\nWhere an instruction is longer than {LONG} words and asks for several things, \
         list these in `steps`, at most 6, each as a short statement that is true of a good reply; else leave `steps` empty.\n\
         Answer with one JSON object and nothing else: {{\"labels\": [{n} names, in the order of the questions], \"steps\": [...]}}",
        fence.rule("question"),
        known.join(", ")
    );
    let one =
        |[question, reference]: &[String; 2]| fence.put("question", question) + &fence.put("reference", reference);
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["labels", "steps"],
        "properties": {
            "labels": { "type": "array", "items": { "type": "string" }, "minItems": n, "maxItems": n },
            "steps": { "type": "array", "items": { "type": "string" }, "maxItems": 6 },
        },
    });
    Question {
        role: "classify",
        template: TEMPLATE,
        task: about.to_owned(),
        asked: 0,
        said: [system, shown.iter().map(one).collect()],
        earlier: Vec::new(),
        max_tokens: 600,
        schema: Some(schema),
        functions: Vec::new(),
    }
}
