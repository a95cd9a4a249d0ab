//! The agent role `classify`: gives every prompt a label of its task, such as `math`.

use std::collections::BTreeMap;

use rlar_data::Example;
use rlar_net::llm::ChatReply;
use serde_json::json;

use crate::agents::builtin::BuiltinAgent;
use crate::agents::client::{LlmClient, LlmRequest};
use crate::agents::fence::{Fence, clip};
use crate::agents::parse::{object, texts};
use crate::agents::tasks::{TaskList, declared_task};

const TEMPLATE: &str = "classify-1";

/// Largest number of examples that a request shows of a declared task.
const EXAMPLES_PER_TASK: usize = 3;

/// Largest number of examples in one request when the examples declare no task.
const BATCH_SIZE: usize = 20;

/// An instruction with more words than this is split into its separate requirements, the steps.
const LONG_INSTRUCTION_WORDS: usize = 60;

/// The task labels that were found for a set of examples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskLabels {
    /// Labels of the examples that declare a task, by the declared task.
    pub by_declared_task: BTreeMap<String, String>,
    /// Labels of the examples that declare no task, by id and prompt as one text.
    pub by_example: BTreeMap<String, String>,
    /// The separate requirements of long instructions, by task label.
    pub steps: BTreeMap<String, Vec<String>>,
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
/// `kind`) share one label, which is found from a few of them; each of the others gets its own label. Without a
/// language model, or when the model gives no usable reply, the builtin agent (fixed rules) labels.
pub fn classify(client: Option<&LlmClient>, examples: &[&Example], tasks: &mut TaskList) -> TaskLabels {
    let mut labels = TaskLabels::default();
    let mut declared: BTreeMap<&str, Vec<&Example>> = BTreeMap::new();
    let mut undeclared: Vec<&Example> = Vec::new();
    for example in examples {
        match declared_task(example) {
            Some(task) => declared.entry(task).or_default().push(example),
            None => undeclared.push(example),
        }
    }
    for (task, examples) in declared {
        let shown = &examples[..examples.len().min(EXAMPLES_PER_TASK)];
        let batch = label_batch(client, task, shown, tasks);
        let label = most_common(&batch.labels);
        if !batch.steps.is_empty() {
            labels.steps.insert(label.clone(), batch.steps);
        }
        labels.by_declared_task.insert(task.to_owned(), label);
    }
    for (i, shown) in undeclared.chunks(BATCH_SIZE).enumerate() {
        let batch = label_batch(client, &format!("prompts {}", i + 1), shown, tasks);
        if let (false, Some(index)) = (batch.steps.is_empty(), shown.iter().position(|e| is_long(e))) {
            labels.steps.insert(batch.labels[index].clone(), batch.steps);
        }
        labels.by_example.extend(shown.iter().map(|e| key(e)).zip(batch.labels));
    }
    labels
}

/// The key of an example among the labels: its id and its prompt, because an id is unique only within its file.
fn key(example: &Example) -> String {
    format!("{}: {}", example.id, example.prompt())
}

/// The most common of the labels; the first one among equally common labels, and empty for no labels.
fn most_common(labels: &[String]) -> String {
    let count = |label: &String| labels.iter().filter(|l| *l == label).count();
    let most = labels.iter().map(count).max().unwrap_or(0);
    labels.iter().find(|l| count(l) == most).cloned().unwrap_or_default()
}

/// The task labels of the examples of one request.
struct LabelBatch {
    /// One task label per example, in the order of the examples.
    labels: Vec<String>,
    /// The separate requirements of a long instruction among the examples; empty when there is no long instruction.
    steps: Vec<String>,
}

/// Labels the examples of one request and adds new labels to the list `tasks`. `subject` names the request in logs and
/// recordings.
fn label_batch(client: Option<&LlmClient>, subject: &str, examples: &[&Example], tasks: &mut TaskList) -> LabelBatch {
    let Some(client) = client else { return builtin_labels(examples, tasks) };
    let parsed =
        client.complete(request(subject, examples, tasks), |reply| parse(reply, examples.len(), tasks.clone()));
    match parsed {
        Ok(reply) => {
            let (mut batch, extended) = reply.value;
            *tasks = extended;
            if !examples.iter().any(|e| is_long(e)) {
                batch.steps.clear();
            }
            batch
        }
        Err(why) => {
            tracing::warn!("classify {subject}: {why}; the builtin agent labels");
            client.count_fallback("classify");
            builtin_labels(examples, tasks)
        }
    }
}

/// Reads the labels of `n` examples from a reply, and adds new ones to the list of labels, which is returned too.
fn parse(reply: &ChatReply, n: usize, mut tasks: TaskList) -> Result<(LabelBatch, TaskList), String> {
    let fields = object(&reply.text)?;
    let labels = texts(fields.get("labels"), "labels", 60)?;
    if labels.len() != n {
        return Err(format!("`labels` has {} entries for {n} questions", labels.len()));
    }
    let labels = labels.iter().map(|l| tasks.add(l)).collect::<Result<Vec<_>, String>>()?;
    let steps = fields.get("steps").map_or(Ok(Vec::new()), |s| texts(Some(s), "steps", 200))?;
    if steps.len() > 6 {
        return Err("`steps` has more than 6 entries".into());
    }
    Ok((LabelBatch { labels, steps }, tasks))
}

/// Whether an example's instruction is so long that it is split into separate requirements.
fn is_long(example: &Example) -> bool {
    example.prompt().split_whitespace().count() > LONG_INSTRUCTION_WORDS
}

fn builtin_labels(examples: &[&Example], tasks: &mut TaskList) -> LabelBatch {
    let label = |e: &&Example| tasks.add(&BuiltinAgent.label(e)).unwrap_or_else(|_| "question answering".into());
    LabelBatch { labels: examples.iter().map(label).collect(), steps: Vec::new() }
}

fn request(subject: &str, examples: &[&Example], tasks: &TaskList) -> LlmRequest {
    let prompts: Vec<String> = examples.iter().map(|e| clip(e.prompt(), 800)).collect();
    let references: Vec<String> =
        examples.iter().map(|e| clip(e.reference.as_deref().unwrap_or("none"), 200)).collect();
    let untrusted: Vec<&str> = prompts.iter().zip(&references).flat_map(|(p, r)| [p.as_str(), r]).collect();
    let fence = Fence::around(&untrusted);
    let known: Vec<&str> = tasks.labels().collect();
    let n = examples.len();
    let system = format!(
        "You name tasks. {} For each question say which task it is: one of the known tasks wherever one fits, else a new name \
         of at most three words. Known tasks: {}.\nWhere an instruction is longer than {LONG_INSTRUCTION_WORDS} words and asks for several things, \
         list these in `steps`, at most 6, each as a short statement that is true of a good reply; else leave `steps` empty.\n\
         Answer with one JSON object and nothing else: {{\"labels\": [{n} names, in the order of the questions], \"steps\": [...]}}",
        fence.instruction("question"),
        known.join(", ")
    );
    let user = prompts
        .iter()
        .zip(&references)
        .map(|(prompt, reference)| fence.enclose("question", prompt) + &fence.enclose("reference", reference))
        .collect();
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["labels", "steps"],
        "properties": {
            "labels": { "type": "array", "items": { "type": "string" }, "minItems": n, "maxItems": n },
            "steps": { "type": "array", "items": { "type": "string" }, "maxItems": 6 },
        },
    });
    LlmRequest {
        role: "classify",
        template: TEMPLATE,
        task: subject.to_owned(),
        system,
        user,
        max_tokens: 600,
        schema: Some(schema),
        ..LlmRequest::default()
    }
}
