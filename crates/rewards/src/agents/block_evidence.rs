//! Which building blocks (functions of `rlar_tools`) tell good replies of a task from bad ones: each that compares two
//! texts is measured on the task's examples, so that the language model composes from what works.

use std::fmt;

use rlar_data::Example;
use rlar_sandbox::{BuildingBlock, building_blocks};

use crate::admission::examine::examine;
use crate::admission::ranking::LOOK_ALIKES;
use crate::library::folder::Library;
use crate::tool::card::{ToolCard, ToolKind, ToolRole};
use crate::tool::scoring::ToolContext;

/// Largest number of building blocks (functions of `rlar_tools`) that the language model is shown.
const MAX_BLOCKS: usize = 8;
/// Lowest AUC with which a building block that compares two texts is shown to the language model.
const LEAST_AUC: f64 = 0.75;

/// If at least this many building blocks pass every admission check, those that fail a check are left out.
const ENOUGH_ADMITTED: usize = 4;

/// Building blocks that compare two texts: the name of each, and the Python call of it that is measured.
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
    ("same_program", "same_program(code_block(candidate_response), reference_response)"),
];

/// Building blocks that prepare a text for a comparison, whatever the reference is.
const FOR_ALL: [&str; 1] = ["words"];
/// Building blocks that prepare a text for a comparison, for references that are numbers.
const FOR_NUMBERS: [&str; 3] = ["last_number", "numbers", "final_answer"];
/// Building blocks that prepare a text for a comparison, for the task `code`.
const FOR_CODE: [&str; 3] = ["code_block", "python_parses", "defined_functions"];
/// Building blocks that prepare a text for a comparison, for references that are other texts.
const FOR_TEXTS: [&str; 2] = ["sentences", "ngrams"];

/// A building block, and how well it alone ranks the replies to a task.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredBlock {
    /// The building block.
    pub block: BuildingBlock,
    /// The Python call with which it compares a reply with the reference; `None` if it compares no texts.
    pub call: Option<&'static str>,
    /// The AUC with which the building block alone ranks good replies above bad ones, from 0 to 1; `None` if it
    /// compares no texts, or if nothing was measured of it.
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

/// The building blocks that the language model is shown for a task's verifiers: first those that compare texts, the
/// best ranking first, then those that prepare a text for a comparison. Without examples, only those that prepare
/// texts.
pub fn measured_blocks(task: &str, examples: &[&Example], context: &ToolContext) -> Vec<MeasuredBlock> {
    let examples: Vec<Example> = examples.iter().map(|e| (*e).clone()).collect();
    let all = building_blocks();
    let find = |name: &str| all.iter().find(|block| block.name == name).copied();
    let comparisons = if examples.is_empty() { &[][..] } else { &COMPARISONS[..] };
    let measured = comparisons.iter().filter_map(|(name, call)| measure(find(name)?, call, task, &examples, context));
    let mut blocks: Vec<MeasuredBlock> = measured.filter(|m| m.auc.is_none_or(|auc| auc >= LEAST_AUC)).collect();
    blocks.sort_by(|a, b| {
        let rank = |m: &MeasuredBlock| (m.is_admitted, m.auc.unwrap_or(0.0));
        let ((a_admitted, a_auc), (b_admitted, b_auc)) = (rank(a), rank(b));
        b_admitted.cmp(&a_admitted).then(b_auc.total_cmp(&a_auc))
    });
    // Those that fail an admission check are left out where there are enough that pass.
    let admitted = blocks.iter().filter(|m| m.is_admitted).count();
    if admitted >= ENOUGH_ADMITTED {
        blocks.truncate(admitted);
    }
    let helpers = helpers(task, &examples);
    blocks.truncate(MAX_BLOCKS - helpers.len().min(4));
    let plain = helpers.iter().filter_map(|name| find(name));
    blocks.extend(plain.map(|block| MeasuredBlock { block, call: None, auc: None, is_admitted: false }));
    blocks
}

/// The names of the building blocks that prepare texts of a task for a comparison.
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

/// Runs the admission checks of a verifier that returns the value of `call`, a Python call of a building block; `None`
/// if they cannot be run, and for one that pays for a wrong program because it looks like the right one.
fn measure(
    block: BuildingBlock,
    call: &'static str,
    task: &str,
    examples: &[Example],
    context: &ToolContext,
) -> Option<MeasuredBlock> {
    let name = format!("block_{}", block.name);
    let is_used = |name: &&str| call.contains(&format!("{name}("));
    let used: Vec<&str> = building_blocks().iter().map(|block| block.name).filter(is_used).collect();
    let source = format!(
        "from rlar_tools import {}\n\n\ndef compute_{name}(prompt, candidate_response, reference_response):\n    return float({call})\n",
        used.join(", ")
    );
    let card = ToolCard {
        name: name.clone(),
        kind: ToolKind::Verifier {
            function: format!("compute_{name}"),
            file: "verifier.py".into(),
            requires: Vec::new(),
        },
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
    if admission.failed().any(|check| check.name == LOOK_ALIKES) {
        return None;
    }
    let is_admitted = admission.failed().next().is_none();
    Some(MeasuredBlock { block, call: Some(call), auc: admission.auc, is_admitted })
}
