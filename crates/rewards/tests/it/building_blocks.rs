//! Verifiers that use the building blocks (`rlar_tools`): their values, their identity, and those that only wrap one.

use std::fs;

use rlar_data::{Completion, Example};
use rlar_rewards::{Library, Outcome, Tool, is_wrapper};
use rlar_sandbox::BUILDING_BLOCKS;

use crate::kinds::folder;
use crate::{context, example, library_of};

/// Replies with references.
const PAIRS: [(&str, &str); 14] = [
    ("The cat sat on the mat.", "The cat sat on the mat."),
    ("the the the the", "The cat is on the mat"),
    ("", "something"),
    ("  Paris ", "paris"),
    ("Die Größe des Hauses beträgt 3,5 Meter.", "Das Haus ist 3,5 Meter groß."),
    ("„Guten Tag“, sagte er – und ging.", "\"Guten Tag\", sagte sie; dann ging sie."),
    ("Er läuft, läuft und läuft!", "Sie läuft und läuft."),
    ("It's 10-20 % (approx. 1,234.5) of $5.", "It is 10 - 20% (about 1,234.50) of 5 dollars."),
    ("A tea-\nspoon of salt &amp; pepper, e.g. the U.S. one", "a teaspoon of salt & pepper"),
    ("one\ttwo\n\nthree   four five", "one two three four five six seven eight nine ten"),
    ("x", "a much longer reference than the reply"),
    ("naïve café, Straße ÄÖÜ äöü ß", "NAÏVE CAFÉ, STRASSE äöü ÄÖÜ SS"),
    ("我今天很高兴。", "我今天非常高兴！"),
    ("Wholly different words here", "nothing equal"),
];

/// The tool of a library of one.
fn only_tool(folder: &tempfile::TempDir, name: &str) -> Tool {
    Library::load(folder.path()).unwrap().open(name, &context()).unwrap()
}

fn verifier(source: &str) -> Tool {
    only_tool(&library_of(source), "tool")
}

/// The outcomes of a tool on replies with references.
fn outcomes(tool: &Tool, pairs: &[(&str, &str)]) -> Vec<Outcome> {
    let rows: Vec<(Example, Completion)> = pairs
        .iter()
        .map(|&(reply, reference)| (example("How many?", Some(reference)), Completion::whole(reply)))
        .collect();
    let items: Vec<(&Example, &Completion)> = rows.iter().map(|(example, reply)| (example, reply)).collect();
    tool.score(&items).unwrap()
}

#[test]
fn a_building_block_gives_the_values_of_the_builtin_of_its_name() {
    for name in ["bleu", "chrf", "edit_similarity", "exact_match", "rouge_1", "rouge_2", "rouge_l", "token_f1"] {
        let card = "kind: builtin\nrole: quality\ntasks: [any]\nneeds_reference: true\nrange: [0, 1]\n";
        let builtin = outcomes(&only_tool(&folder(&[(name, card)]), name), &PAIRS);
        let source =
            format!("from rlar_tools import {name} as block\ndef compute_x(a, b, c):\n    return block(b, c)\n");
        let block = outcomes(&verifier(&source), &PAIRS);
        for ((pair, builtin), block) in PAIRS.iter().zip(&builtin).zip(&block) {
            let (builtin, block) = (builtin.score().unwrap(), block.score().unwrap());
            assert!((builtin - block).abs() < 1e-9, "{name} of {pair:?}: {block}, and not {builtin}");
        }
        let lowest = builtin.iter().filter_map(Outcome::score).fold(1.0, f64::min);
        let highest = builtin.iter().filter_map(Outcome::score).fold(0.0, f64::max);
        assert!(lowest < 0.5 && highest > 0.5, "{name} gave {builtin:?}, which tells nothing");
    }
}

#[test]
fn the_last_number_is_that_of_the_curated_tools() {
    let pairs = [
        ("7+8=15; 4+3+1=8; 85", "85"),
        ("it is 1,085", "1085"),
        ("85.0", "85"),
        ("-3", "-3"),
        ("-3", "3"),
        ("x = −3.50", "-3.5"),
        ("85 or 86", "85"),
        ("no number", "85"),
        ("", "85"),
        ("007", "7"),
        ("so 7-3", "3"),
        ("so 7-3", "-3"),
        ("Das sind 3,5", "5"),
        ("costs $.50.", "0.5"),
        ("12 %", "12"),
        ("He ran 42km", "42"),
    ];
    let source = "from rlar_tools import last_number, same_number\ndef compute_x(a, b, c):\n    \
                  return float(same_number(last_number(b), last_number(c)))\n";
    let card = "kind: builtin\nrole: correctness\ntasks: [any]\nneeds_reference: true\nrange: [0, 1]\n";
    let builtin = outcomes(&only_tool(&folder(&[("numeric_match", card)]), "numeric_match"), &pairs);
    for ((pair, builtin), block) in pairs.iter().zip(builtin).zip(outcomes(&verifier(source), &pairs)) {
        assert_eq!(block, builtin, "{pair:?}");
    }
}

#[test]
fn the_identity_covers_the_building_blocks_of_verifiers_that_use_them() {
    let identity = |source: &str| {
        let folder = library_of(source);
        let card = fs::read_to_string(folder.path().join("tool/tool.yaml")).unwrap();
        let hash = |more: &str| rlar_run::sha256(format!("{card}\0{source}{more}").as_bytes())[..16].to_owned();
        let identity = Library::load(folder.path()).unwrap().identity("tool").unwrap();
        (identity, hash(""), hash(&format!("\0{BUILDING_BLOCKS}")))
    };
    let (identity_without, without, _) = identity("def compute_x(a, b, c): return 0.0\n");
    assert_eq!(identity_without, without);
    let (identity_with, _, with) = identity("from rlar_tools import chrf\ndef compute_x(a, b, c): return chrf(b, c)\n");
    assert_eq!(identity_with, with);
}

/// A verifier whose function has this body.
fn with_body(body: &str) -> String {
    format!(
        "import re\nfrom rlar_tools import chrf, rouge_l, exact_match, last_number, length_ratio, same_number, words\n\n\n\
         def compute_x(prompt: str, candidate_response: str, reference_response: str) -> float:\n    'Compares.'\n    \
         {}\n",
        body.replace('\n', "\n    ")
    )
}

#[test]
fn a_verifier_that_only_hands_its_arguments_to_a_building_block_is_a_wrapper() {
    let bodies = [
        "return chrf(candidate_response, reference_response)",
        "# The best metric, times 1.\nreturn float(chrf(candidate_response, reference_response))",
        "candidate = candidate_response.strip()\nif not candidate or not reference_response.strip():\n    return 0.0\n\
         score = chrf(candidate, reference_response.lower())\nreturn max(0.0, min(1.0, float(score)))",
        "return 1.0 if exact_match(candidate_response, reference_response) else 0.0",
        "if exact_match(candidate_response, reference_response):\n    return 1.0\nelse:\n    return -1.0",
        "if not exact_match(candidate_response, reference_response):\n    return 0.0\nreturn 1.0",
        "try:\n    return rouge_l(candidate_response, reference_response)\nexcept Exception as error:\n    return 0.0",
        "if len(candidate_response) == 0: return 0.0\nif reference_response is None or reference_response == \"\": return 0.0\n\
         result: float = chrf(\n    candidate_response,\n    reference_response,\n)\nreturn round(result, 4)",
        "return round(last_number(candidate_response) or 0.0, 2)",
        "from rlar_tools import bleu as b\nreturn b(candidate_response, reference_response) if candidate_response else 0.0",
    ];
    for body in bodies {
        assert!(is_wrapper(&with_body(body), "compute_x"), "{body}");
    }
    for source in [
        "import rlar_tools as t\ndef compute_x(a, b, c): return t.chrf(b, c)",
        "from rlar_tools import *\n\"A docstring.\"\ndef compute_x(a, b, c):\n    return chrf(b, c)",
        "from rlar_tools import (\n    chrf,\n)\ndef compare(b, c):\n    return chrf(b, c)\n\ndef compute_x(a, b, c):\n    \
         return compare(b, c)",
        "from rlar_tools import chrf\ndef unused(b):\n    return [len(w) for w in b]\n\ndef compute_x(a, b, c):\n    \
         return chrf(b, c)",
    ] {
        assert!(is_wrapper(source, "compute_x"), "{source}");
    }
}

#[test]
fn a_verifier_that_composes_or_computes_is_no_wrapper() {
    let bodies = [
        "return 0.5 * chrf(candidate_response, reference_response) + 0.5",
        "return chrf(candidate_response, reference_response) * length_ratio(candidate_response, reference_response)",
        "return min(chrf(candidate_response, reference_response), rouge_l(candidate_response, reference_response))",
        "return 1.0 - chrf(candidate_response, reference_response)",
        "return 1.0 if chrf(candidate_response, reference_response) > 0.5 else 0.0",
        "score = chrf(candidate_response, reference_response)\nreturn 1.0 if score > 0.5 else 0.0",
        "if last_number(candidate_response) == float(reference_response):\n    return 1.0\nreturn 0.0",
        "return float(same_number(last_number(candidate_response), last_number(reference_response)))",
        "if len(candidate_response) > 500:\n    return 0.0\nreturn chrf(candidate_response, reference_response)",
        "if \"therefore\" not in candidate_response:\n    return 0.0\nreturn chrf(candidate_response, reference_response)",
        "best = 0.0\nfor word in candidate_response.split():\n    best = chrf(word, reference_response)\nreturn best",
        "return chrf(re.sub(\"[a-z]\", \"\", candidate_response), reference_response)",
        "return len(words(candidate_response)) / 100",
        "return float(candidate_response == reference_response)",
        "# chrf(candidate_response, reference_response)\nreturn 0.0",
    ];
    for body in bodies {
        assert!(!is_wrapper(&with_body(body), "compute_x"), "{body}");
    }
    for source in [
        "def compute_x(a, b, c):\n    return chrf(b, c)",
        "from rlar_tools import chrf\ndef compute_y(a, b, c):\n    return chrf(b, c)",
        "from rlar_tools import chrf\ndef score(b, c):\n    return chrf(b, c)\n\ndef compute_x(a, b, c):\n    \
         return max(score(b, c), score(b, a))",
        "from rlar_tools import chrf\ndef compute_x(a, b, c):\n    return max(map(chrf, b, c))",
        "from rlar_tools import chrf\nWEIGHT = 0.5\ndef compute_x(a, b, c):\n    return WEIGHT * chrf(b, c)",
        "from rlar_tools import contains_all\ndef compute_x(a, b, c):\n    return contains_all(b, [\"first\", \"then\"])",
        "if",
        "",
    ] {
        assert!(!is_wrapper(source, "compute_x"), "{source}");
    }
}
