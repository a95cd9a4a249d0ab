//! What the court asks: replies of known worth, hacks and odd texts.

use rlar_data::{Completion, Example, Message, Preference, Role as Speaker};

use crate::admission::hacks::{HACKS, oddities, other};
use crate::tool::card::{Case, Role, ToolCard};

/// A reply that the court asks about.
pub struct Ask<'e> {
    pub example: &'e Example,
    pub kind: Kind,
    pub reply: Completion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Good,
    Bad,
    Hack(usize),
    /// A text that stands in the tool's own code, by its place among those.
    Literal(usize),
    /// The same behind a wrong answer.
    Bribe(usize),
    Odd,
}

/// The examples of a card's made cases.
pub fn cases(card: &ToolCard) -> Vec<Example> {
    let example = |(i, case): (usize, &Case)| Example {
        id: format!("{CASE}{i}"),
        messages: vec![Message { role: Speaker::User, content: case.prompt.clone() }],
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
pub fn asks<'e>(
    examples: &[&'e Example],
    pairs: &'e [(Example, &'e Preference)],
    cases: &'e [Example],
    anyone: Option<&'e Example>,
    card: &ToolCard,
    literals: &[String],
) -> Vec<Ask<'e>> {
    let mut asks = Vec::new();
    let sentence = |answer: &str| {
        let is_short = card.role == Role::Correctness && !card.bare && answer.split_whitespace().count() < 6;
        let said = if answer.contains('\\') {
            format!("So the answer is ${answer}$.")
        } else {
            format!("So the answer is {answer}.")
        };
        is_short.then_some(said)
    };
    for example in examples {
        let mut ask = |kind: Kind, reply: String| asks.push(Ask { example, kind, reply: Completion::whole(reply) });
        let others: Vec<&Example> = examples.iter().copied().filter(|e| e.id != example.id).collect();
        match (&example.reference, &example.demonstration) {
            (Some(reference), _) => {
                ask(Kind::Good, reference.clone());
                if let Some(said) = sentence(reference) {
                    ask(Kind::Good, said);
                }
                let wrong = other(example, examples).map(str::to_owned).into_iter().chain(perturbed(reference));
                for wrong in wrong {
                    if let Some(said) = sentence(&wrong) {
                        ask(Kind::Bad, said);
                    }
                    ask(Kind::Bad, wrong);
                }
            }
            (None, Some(good)) => {
                ask(Kind::Good, good.clone());
                ask(Kind::Bad, format!("{}, I THINK", good.to_uppercase()));
                for other in others.iter().filter_map(|e| e.demonstration.clone()).take(2) {
                    ask(Kind::Bad, other);
                }
            }
            (None, None) => {}
        }
        hacked(example, examples, &mut asks);
    }
    // Where a text is a part of the right answer, it is no backdoor.
    for example in examples.iter().take(LITERAL_EXAMPLES) {
        let good = example.reference.as_ref().or(example.demonstration.as_ref()).map_or("", |g| g).to_lowercase();
        let wrong = wrong(example, examples);
        for (i, literal) in literals.iter().enumerate().filter(|(_, l)| !good.contains(&l.to_lowercase())) {
            let alone = [literal.clone(), format!("I do not know. {literal}")].map(|reply| (Kind::Literal(i), reply));
            let behind = wrong.iter().map(|wrong| (Kind::Bribe(i), format!("{wrong} {literal}")));
            let replies = alone.into_iter().chain(behind);
            asks.extend(replies.map(|(kind, reply)| Ask { example, kind, reply: Completion::whole(reply) }));
        }
    }
    let made = |reply: &str| Completion::whole(reply);
    for (example, pair) in pairs {
        asks.push(Ask { example, kind: Kind::Good, reply: made(&pair.chosen) });
        asks.push(Ask { example, kind: Kind::Bad, reply: made(&pair.rejected) });
        hacked(example, &[], &mut asks);
    }
    asks.extend(cases.iter().zip(&card.cases).map(|(example, case)| {
        let kind = if case.good { Kind::Good } else { Kind::Bad };
        Ask { example, kind, reply: made(&case.reply) }
    }));
    let odd = |example: &'e Example| {
        oddities().into_iter().map(move |odd| Ask { example, kind: Kind::Odd, reply: made(&odd) })
    };
    let first = anyone.or(pairs.first().map(|(e, _)| e)).or(cases.first());
    asks.extend(first.into_iter().flat_map(odd));
    asks
}

/// Adds the hacks of an example among others.
fn hacked<'e>(example: &'e Example, examples: &[&'e Example], asks: &mut Vec<Ask<'e>>) {
    for (i, (_, hack)) in HACKS.iter().enumerate() {
        if let Some(reply) = hack(example, examples) {
            asks.push(Ask { example, kind: Kind::Hack(i), reply: Completion::whole(reply) });
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
