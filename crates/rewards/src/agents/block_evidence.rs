//! Which building blocks (functions of `rlar_tools`) tell good replies of a task from bad ones: each that compares two
//! texts is measured on the task's examples, so that the language model composes from what works.

use std::fmt;

use rlar_data::Example;
use rlar_sandbox::{BuildingBlock, building_blocks};

use crate::admission::examine::examine;
use crate::library::folder::Library;
use crate::tool::card::{ToolCard, ToolKind, ToolRole};
use crate::tool::scoring::ToolContext;

/// Largest number of building blocks that the model sees, and lowest AUC of those that are measured.
const MAX_BLOCKS: usize = 9;
const LEAST_AUC: f64 = 0.75;

/// Building blocks that compare two texts, each with the call that is measured.
const COMPARISONS: [(&str, &str); 11] = [
    ("same_number", "same_number(candidate_response, reference_response)"),
    ("exact_match", "exact_match(candidate_response, reference_response)"),
    ("token_f1", "token_f1(candidate_response, reference_response)"),
    ("rouge_1", "rouge_1(candidate_response, reference_response)"),
    ("rouge_2", "rouge_2(candidate_response, reference_response)"),
    ("rouge_l", "rouge_l(candidate_response, reference_response)"),
    ("bleu", "bleu(candidate_response, reference_response)"),
    ("chrf", "chrf(candidate_response, reference_response)"),
    ("edit_similarity", "edit_similarity(candidate_response, reference_response)"),
    ("length_ratio", "length_ratio(candidate_response, reference_response)"),
    ("same_program", "same_program(candidate_response, reference_response)"),
];

/// Building blocks that prepare a text for others, by the kind of reference that they suit.
const FOR_ALL: [&str; 1] = ["words"];
const FOR_NUMBERS: [&str; 3] = ["last_number", "numbers", "final_answer"];
const FOR_CODE: [&str; 3] = ["code_block", "python_parses", "defined_functions"];
const FOR_TEXTS: [&str; 2] = ["sentences", "ngrams"];

/// A building block, and how well it alone ranks the replies to a task.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredBlock {
    /// The building block.
    pub block: BuildingBlock,
    /// The AUC of the building block alone, from 0 to 1; `None` where it compares nothing.
    pub auc: Option<f64>,
    /// Whether the building block alone would be admitted as a tool.
    pub is_admitted: bool,
}

impl fmt::Display for MeasuredBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BuildingBlock { signature, summary, .. } = self.block;
        write!(f, "{signature}: {summary}")?;
        match self.auc {
            Some(auc) => write!(f, " (alone right in {:.0} % of pairs)", 100.0 * auc),
            None => Ok(()),
        }
    }
}

/// The building blocks for a task's verifiers, those that rank its replies best first, then those that prepare texts.
/// Blocks that cannot be measured, as when the examples have no references, are listed without evidence.
pub fn measured_blocks(task: &str, examples: &[&Example], context: &ToolContext) -> Vec<MeasuredBlock> {
    let examples: Vec<Example> = examples.iter().map(|e| (*e).clone()).collect();
    let all = building_blocks();
    let find = |name: &str| all.iter().find(|block| block.name == name).copied();
    let measured = COMPARISONS.iter().filter_map(|(name, call)| measure(find(name)?, call, task, &examples, context));
    let mut blocks: Vec<MeasuredBlock> =
        measured.filter(|m| m.auc.is_none_or(|auc| auc >= LEAST_AUC)).collect();
    blocks.sort_by(|a, b| {
        let rank = |m: &MeasuredBlock| (m.is_admitted, m.auc.unwrap_or(0.0));
        let ((a_admitted, a_auc), (b_admitted, b_auc)) = (rank(a), rank(b));
        b_admitted.cmp(&a_admitted).then(b_auc.total_cmp(&a_auc))
    });
    let helpers = helpers(task, &examples);
    blocks.truncate(MAX_BLOCKS - helpers.len().min(4));
    let plain = helpers.iter().filter_map(|name| find(name));
    blocks.extend(plain.map(|block| MeasuredBlock { block, auc: None, is_admitted: false }));
    blocks
}

/// The names of building blocks that prepare texts of a task.
fn helpers(task: &str, examples: &[Example]) -> Vec<&'static str> {
    let references = examples.iter().filter_map(|e| e.reference.as_deref());
    let is_number = |text: &str| text.trim().parse::<f64>().is_ok();
    let numbers = references.clone().filter(|text| is_number(text)).count();
    let special: &[&str] = if task == "code" {
        &FOR_CODE
    } else if numbers * 2 > references.count() {
        &FOR_NUMBERS
    } else {
        &FOR_TEXTS
    };
    FOR_ALL.iter().chain(special).copied().collect()
}

/// Examines a verifier that returns what a building block returns; `None` if it cannot be examined.
fn measure(
    block: BuildingBlock,
    call: &str,
    task: &str,
    examples: &[Example],
    context: &ToolContext,
) -> Option<MeasuredBlock> {
    let name = format!("block_{}", block.name);
    let source = format!(
        "from rlar_tools import {}\n\n\ndef compute_{name}(prompt, candidate_response, reference_response):\n    return float({call})\n",
        block.name
    );
    let card = ToolCard {
        name: name.clone(),
        kind: ToolKind::Verifier { function: format!("compute_{name}"), file: "verifier.py".into(), requires: Vec::new() },
        role: ToolRole::Quality,
        measures: block.summary.to_owned(),
        tasks: vec![task.to_owned()],
        needs_reference: true,
        bare: true,
        range: [0.0, 1.0],
        cases: Vec::new(),
        origin: "a building block".into(),
    };
    let mut library = Library::default();
    library.add("block/tool.yaml".as_ref(), serde_yaml::to_string(&card).ok()?, source, None).ok()?;
    let tool = library.open(&name, context).ok()?.for_admission();
    let admission = examine(&tool, examples, &[]).ok()?;
    let is_admitted = admission.failed().next().is_none();
    Some(MeasuredBlock { block, auc: admission.auc, is_admitted })
}
