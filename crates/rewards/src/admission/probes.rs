//! What the court probe_cases: replies of known worth, hacks and odd texts.

use rlar_data::{Completion, Example, Message, Preference, Role};

use crate::admission::hacks::{HACKS, oddities, other};
use crate::tool::card::{CardCase, ToolCard, ToolRole};

/// A reply that the court probe_cases about.
pub struct ProbeCase<'e> {
    pub example: &'e Example,
    pub kind: ProbeKind,
    pub reply: Completion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    Good,
    Bad,
    Hack(usize),
    /// A text that stands in the tool's own code, by its place among those.
    Literal(usize),
    /// The same behind a wrong answer.
    Backdoor(usize),
    Odd,
}

/// The examples of a card's made cases.
pub fn cases(card: &ToolCard) -> Vec<Example> {
    let example = |(i, case): (usize, &CardCase)| Example {
        id: format!("{CASE}{i}"),
        messages: vec![Message { role: Role::User, content: case.prompt.clone() }],
        reference: case.reference.clone(),
        domain: None,
        demonstration: None,
        columns: case.columns.clone(),
    };
    card.cases.iter().enumerate().map(example).collect()
}

/// The examples of pairs of replies, with their pairs.
pub fn paired(pairs: &[Preference]) -> Vec<(Example, &Preference)> {
    let example = |i: usize, pair: &Preference| Example {
        id: format!("\0pair-{i}"),
        messages: pair.messages.clone(),
        reference: None,
        domain: None,
        demonstration: None,
        columns: serde_json::Map::new(),
    };
    pairs.iter().enumerate().map(|(i, pair)| (example(i, pair), pair)).collect()
}

/// Examples that a tool is asked about its own texts with.
const LITERAL_EXAMPLES: usize = 4;

/// How the id of a made case's example begins.
pub const CASE: &str = "\0case-";

/// Replies of known worth, and hacks, for every example.
pub fn probe_cases<'e>(
    examples: &[&'e Example],
    pairs: &'e [(Example, &'e Preference)],
    cases: &'e [Example],
    anyone: Option<&'e Example>,
    card: &ToolCard,
    literals: &[String],
) -> Vec<ProbeCase<'e>> {
    let mut probe_cases = Vec::new();
    let sentence = |answer: &str| {
        let is_short = card.role == ToolRole::Correctness && !card.bare && answer.split_whitespace().count() < 6;
        let said = if answer.contains('\\') {
            format!("So the answer is ${answer}$.")
        } else {
            format!("So the answer is {answer}.")
        };
        is_short.then_some(said)
    };
    for example in examples {
        let mut ask = |kind: ProbeKind, reply: String| {
            probe_cases.push(ProbeCase { example, kind, reply: Completion::whole(reply) })
        };
        let others: Vec<&Example> = examples.iter().copied().filter(|e| e.id != example.id).collect();
        match (&example.reference, &example.demonstration) {
            (Some(reference), _) => {
                ask(ProbeKind::Good, reference.clone());
                if let Some(said) = sentence(reference) {
                    ask(ProbeKind::Good, said);
                }
                let wrong = other(example, examples).map(str::to_owned).into_iter().chain(perturbed(reference));
                for wrong in wrong {
                    if let Some(said) = sentence(&wrong) {
                        ask(ProbeKind::Bad, said);
                    }
                    ask(ProbeKind::Bad, wrong);
                }
            }
            (None, Some(good)) => {
                ask(ProbeKind::Good, good.clone());
                ask(ProbeKind::Bad, format!("{}, I THINK", good.to_uppercase()));
                for other in others.iter().filter_map(|e| e.demonstration.clone()).take(2) {
                    ask(ProbeKind::Bad, other);
                }
            }
            (None, None) => {}
        }
        hacked(example, examples, &mut probe_cases);
    }
    // Where a text is a part of the right answer, it is no backdoor.
    for example in examples.iter().take(LITERAL_EXAMPLES) {
        let good = example.reference.as_ref().or(example.demonstration.as_ref()).map_or("", |g| g).to_lowercase();
        let wrong = wrong(example, examples);
        for (i, literal) in literals.iter().enumerate().filter(|(_, l)| !good.contains(&l.to_lowercase())) {
            let alone =
                [literal.clone(), format!("I do not know. {literal}")].map(|reply| (ProbeKind::Literal(i), reply));
            let behind = wrong.iter().map(|wrong| (ProbeKind::Backdoor(i), format!("{wrong} {literal}")));
            let replies = alone.into_iter().chain(behind);
            probe_cases.extend(replies.map(|(kind, reply)| ProbeCase {
                example,
                kind,
                reply: Completion::whole(reply),
            }));
        }
    }
    let made = |reply: &str| Completion::whole(reply);
    for (example, pair) in pairs {
        probe_cases.push(ProbeCase { example, kind: ProbeKind::Good, reply: made(&pair.chosen) });
        probe_cases.push(ProbeCase { example, kind: ProbeKind::Bad, reply: made(&pair.rejected) });
        hacked(example, &[], &mut probe_cases);
    }
    probe_cases.extend(cases.iter().zip(&card.cases).map(|(example, case)| {
        let kind = if case.good { ProbeKind::Good } else { ProbeKind::Bad };
        ProbeCase { example, kind, reply: made(&case.reply) }
    }));
    let odd = |example: &'e Example| {
        oddities().into_iter().map(move |odd| ProbeCase { example, kind: ProbeKind::Odd, reply: made(&odd) })
    };
    let first = anyone.or(pairs.first().map(|(e, _)| e)).or(cases.first());
    probe_cases.extend(first.into_iter().flat_map(odd));
    probe_cases
}

/// Adds the hacks of an example among others.
fn hacked<'e>(example: &'e Example, examples: &[&'e Example], probe_cases: &mut Vec<ProbeCase<'e>>) {
    for (i, (_, hack)) in HACKS.iter().enumerate() {
        if let Some(reply) = hack(example, examples) {
            probe_cases.push(ProbeCase { example, kind: ProbeKind::Hack(i), reply: Completion::whole(reply) });
        }
    }
}

/// A reply that would be right for another example, or nearly right for this one.
fn wrong(example: &Example, examples: &[&Example]) -> Option<String> {
    match (&example.reference, &example.demonstration) {
        (Some(reference), _) => other(example, examples).map(str::to_owned).or_else(|| perturbed(reference)),
        (None, own) => examples.iter().filter_map(|e| e.demonstration.clone()).find(|d| Some(d) != own.as_ref()),
    }
}

/// A reference with something wrong in it: another digit, another letter of a choice, or most of a text missing.
fn perturbed(reference: &str) -> Option<String> {
    let words: Vec<&str> = reference.split_whitespace().collect();
    if words.len() > 8 {
        return Some(words[..words.len() / 5].join(" "));
    }
    if let [letter @ 'A'..='J'] = reference.trim().chars().collect::<Vec<_>>()[..] {
        return char::from_u32(if letter == 'A' { 'B' as u32 } else { letter as u32 - 1 }).map(String::from);
    }
    let at = reference.rfind(|c: char| c.is_ascii_digit())?;
    let digit = reference[at..].chars().next()?.to_digit(10)?;
    Some(format!("{}{}{}", &reference[..at], (digit + 1) % 10, &reference[at + 1..]))
}
