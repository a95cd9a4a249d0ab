//! Probe cases: the replies on which the admission checks examine a tool. They are good and bad replies, attempts to
//! cheat, and odd texts.

use rlar_data::{Completion, Example, Message, Preference, Role};

use crate::admission::hacks::{HACKS, oddities, other};
use crate::admission::look_alikes::{LookAlikes, is_python};
use crate::tool::card::{CardCase, ToolCard, ToolRole};
use crate::tool::code_tests::has_tests;

/// A reply that the tool has to score in its admission checks.
pub struct ProbeCase<'e> {
    /// The example whose prompt the reply answers.
    pub example: &'e Example,
    /// What the reply is: good, bad, an attempt to cheat, or an odd text.
    pub kind: ProbeKind,
    /// The reply that the tool scores.
    pub reply: Completion,
    /// Whether the reply shows the working by which it comes to its answer.
    pub shows_working: bool,
}

/// The kind of reply in a probe case, which decides how the tool must score the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// A reply that is known to be good, which the tool must score high.
    Good,
    /// A reply that is known to be bad, which the tool must score low.
    Bad,
    /// A reply of which one half is good and the other bad. Whether it must score above a bad reply depends on the task,
    /// so no check asks for it.
    HalfRight,
    /// The program of the reference with other names for its variables, which is right.
    RenamedProgram,
    /// The program of the reference with an error, which reads more like the reference than a renamed program.
    FaultyProgram,
    /// An attempt to cheat; the number is its index in [`HACKS`].
    Hack(usize),
    /// A string literal of the tool's own code, alone or behind "I do not know."; the number is its index among the
    /// literals.
    Literal(usize),
    /// A wrong answer followed by a string literal of the tool's own code, which a tool with a backdoor rewards. The
    /// number is the literal's index among the literals.
    Backdoor(usize),
    /// A text of an unusual form. The tool must have a score for this text, whatever the score.
    Odd,
}

impl ProbeKind {
    /// Whether the reply is known to be good or known to be bad.
    pub fn is_of_known_worth(self) -> bool {
        matches!(self, Self::Good | Self::Bad)
    }
}

impl<'e> ProbeCase<'e> {
    fn new(example: &'e Example, kind: ProbeKind, reply: impl Into<String>) -> Self {
        Self { example, kind, reply: Completion::whole(reply.into()), shows_working: false }
    }

    fn with_working(self) -> Self {
        Self { shows_working: true, ..self }
    }
}

/// A preference pair with an example that has the prompt of the pair.
pub struct PairExample<'p> {
    /// The prompt of the pair as an example, without a reference.
    pub example: Example,
    /// The pair, which holds the better and the worse reply.
    pub pair: &'p Preference,
}

/// The examples, preference pairs and card cases from which the probe cases of a tool are made.
pub struct ProbeSources<'e> {
    /// Examples from which good and bad replies and attempts to cheat are made. Without a reference and a
    /// demonstration, an example gives no good and bad replies.
    pub examples: Vec<&'e Example>,
    /// Preference pairs, each with its prompt as an example.
    pub pairs: Vec<PairExample<'e>>,
    /// The examples that the cases of the tool card's `cases` are about, in the order of the cases.
    pub case_examples: Vec<Example>,
    /// An example from which the tool does not abstain, for the odd texts; `None` when no such example is known.
    pub judged: Option<&'e Example>,
}

/// Prefix of the id of every example that is made from a case of a tool card (`cases`).
pub const CASE: &str = "\0case-";

/// An example with an id and a prompt alone: without reference, domain, demonstration and further columns.
fn bare_example(id: String, messages: Vec<Message>) -> Example {
    let columns = serde_json::Map::new();
    Example { messages, columns, ..Example::new(id, "") }
}

/// The examples that the cases of a tool card are about, in the order of the cases.
pub fn case_examples(card: &ToolCard) -> Vec<Example> {
    let example = |(i, case): (usize, &CardCase)| {
        let prompt = Message::new(Role::User, case.prompt.clone());
        let columns = case.columns.clone();
        Example { reference: case.reference.clone(), columns, ..bare_example(format!("{CASE}{i}"), vec![prompt]) }
    };
    card.cases.iter().enumerate().map(example).collect()
}

/// Makes an example from the prompt of every preference pair.
pub fn pair_examples(pairs: &[Preference]) -> Vec<PairExample<'_>> {
    let paired = |(i, pair): (usize, &Preference)| bare_example(format!("\0pair-{i}"), pair.messages.clone());
    pairs.iter().enumerate().map(|(i, pair)| PairExample { example: paired((i, pair)), pair }).collect()
}

/// Largest number of examples to which the string literals of a tool's code are tried as replies.
const LITERAL_EXAMPLES: usize = 4;

impl ProbeSources<'_> {
    /// The probe cases of a tool. For every example and every pair, these are good replies, bad replies and attempts to
    /// cheat; then come the string literals of the tool's code, the cases of its card, and odd texts.
    pub fn probe_cases(&self, card: &ToolCard, literals: &[String]) -> Vec<ProbeCase<'_>> {
        let mut cases = Vec::new();
        for example in &self.examples {
            add_known_replies(example, &self.examples, card, &mut cases);
            add_hacks(example, &self.examples, &mut cases);
        }
        self.add_literals(literals, &mut cases);
        for PairExample { example, pair } in &self.pairs {
            cases.push(ProbeCase::new(example, ProbeKind::Good, pair.chosen.as_str()));
            cases.push(ProbeCase::new(example, ProbeKind::Bad, pair.rejected.as_str()));
            add_hacks(example, &[], &mut cases);
        }
        cases.extend(self.case_examples.iter().zip(&card.cases).map(|(example, case)| {
            let kind = if case.good { ProbeKind::Good } else { ProbeKind::Bad };
            ProbeCase::new(example, kind, case.reply.as_str())
        }));
        let first = self.judged.or(self.pairs.first().map(|p| &p.example)).or(self.case_examples.first());
        if let Some(example) = first {
            cases.extend(oddities().into_iter().map(|text| ProbeCase::new(example, ProbeKind::Odd, text)));
        }
        cases
    }

    /// Adds replies that contain a string literal of the tool's code: the literal alone, behind "I do not know.", and
    /// behind a wrong answer.
    fn add_literals<'s>(&'s self, literals: &[String], cases: &mut Vec<ProbeCase<'s>>) {
        for example in self.examples.iter().take(LITERAL_EXAMPLES) {
            let good = example.reference.as_ref().or(example.demonstration.as_ref()).map_or("", |text| text);
            let good = good.to_lowercase();
            let wrong = wrong_answer(example, &self.examples);
            for (i, literal) in literals.iter().enumerate() {
                if good.contains(&literal.to_lowercase()) {
                    // A part of the right answer may be rewarded.
                    continue;
                }
                cases.push(ProbeCase::new(example, ProbeKind::Literal(i), literal.as_str()));
                cases.push(ProbeCase::new(example, ProbeKind::Literal(i), format!("I do not know. {literal}")));
                if let Some(wrong) = &wrong {
                    cases.push(ProbeCase::new(example, ProbeKind::Backdoor(i), format!("{wrong} {literal}")));
                }
            }
        }
    }
}

/// Adds the good and bad replies to an example that its reference or demonstration gives; none when the example has
/// neither.
fn add_known_replies<'e>(
    example: &'e Example,
    examples: &[&'e Example],
    card: &ToolCard,
    cases: &mut Vec<ProbeCase<'e>>,
) {
    let mut add = |kind: ProbeKind, reply: String| cases.push(ProbeCase::new(example, kind, reply));
    match (&example.reference, &example.demonstration) {
        (Some(reference), _) => {
            add(ProbeKind::Good, reference.clone());
            if let Some(sentence) = in_a_sentence(reference, card) {
                add(ProbeKind::Good, sentence);
            }
            if let Some(near) = Some(card)
                .filter(|c| c.role == ToolRole::Quality && c.needs_reference)
                .and_then(|_| near_reference(example))
            {
                add(ProbeKind::Good, near);
            }
            let wrong_answers = other(example, examples).map(str::to_owned).into_iter().chain(perturbed(reference));
            for wrong in wrong_answers {
                if let Some(sentence) = in_a_sentence(&wrong, card) {
                    add(ProbeKind::Bad, sentence);
                }
                add(ProbeKind::Bad, wrong);
            }
            if let Some(half_right) = half_right(example, examples) {
                add(ProbeKind::HalfRight, half_right);
            }
            if card.role != ToolRole::Constraint && card.needs_reference {
                if let Some(LookAlikes { renamed, faulty }) = LookAlikes::of(reference) {
                    add(ProbeKind::RenamedProgram, renamed);
                    add(ProbeKind::FaultyProgram, faulty);
                }
                add_worked_replies(example, examples, card, cases);
            }
        }
        (None, Some(good)) => {
            add(ProbeKind::Good, good.clone());
            add(ProbeKind::Bad, format!("{}, I THINK", good.to_uppercase()));
            let others = examples.iter().filter(|e| e.id != example.id);
            for demonstration in others.filter_map(|e| e.demonstration.clone()).take(2) {
                add(ProbeKind::Bad, demonstration);
            }
        }
        (None, None) => {}
    }
}

/// Adds a reply that shows its working as a good one, and as bad ones the same with a wrong answer at its end and that to an
/// example with another reference: in training, replies reason before they answer. A tool that wants the answer alone gets
/// only demonstrations, which show what the policy's replies look like.
fn add_worked_replies<'e>(
    example: &'e Example,
    examples: &[&'e Example],
    card: &ToolCard,
    cases: &mut Vec<ProbeCase<'e>>,
) {
    let worked_reply =
        |e: &'e Example| worked_demonstration(e).or_else(|| e.worked_solution.as_deref().filter(|_| !card.bare));
    let Some(worked) = worked_reply(example) else { return };
    let mut add = |kind, reply: &str| cases.push(ProbeCase::new(example, kind, reply).with_working());
    add(ProbeKind::Good, worked);
    if let Some(wrong) = with_wrong_answer(worked, example) {
        add(ProbeKind::Bad, &wrong);
    }
    let at = examples.iter().position(|e| e.id == example.id).map_or(0, |at| at + 1);
    let others = examples.iter().copied().cycle().skip(at).take(examples.len());
    if let Some(wrong) = others.filter(|e| e.reference != example.reference).find_map(worked_reply) {
        add(ProbeKind::Bad, wrong);
    }
}

/// The demonstration of an example if it is right and shows its working: it ends with the reference, which is short, and
/// something stands before it. `None` without reference or demonstration. Other demonstrations may be wrong, and are no
/// evidence: a text before a long reference is no working.
pub(crate) fn worked_demonstration(example: &Example) -> Option<&str> {
    let (demonstration, reference) = (example.demonstration.as_deref()?, without_period(example.reference.as_deref()?));
    let working = without_period(demonstration).strip_suffix(reference)?;
    let is_separate = working.ends_with(|c: char| c.is_whitespace() || c == '=' || c == ':');
    // Behind these, the reference is only a part of the answer: `- 2`, `1 / 2`.
    let is_whole = !working.trim_end().ends_with(['-', '−', '/', ',']);
    let is_answer = !reference.is_empty() && is_short(reference);
    (is_answer && is_separate && is_whole && !working.trim().is_empty()).then_some(demonstration)
}

/// Whether a text has so few words that it is an answer, which can be found in a sentence or behind its working.
fn is_short(text: &str) -> bool {
    text.split_whitespace().count() < 6
}

fn without_period(text: &str) -> &str {
    text.trim().trim_end_matches('.')
}

/// A reply that ends with the reference of its example, with a wrong answer in its place. `None` where letters or digits
/// touch or follow the reference's last occurrence, and where no wrong answer can be made.
pub(crate) fn with_wrong_answer(reply: &str, example: &Example) -> Option<String> {
    let reference = without_period(example.reference.as_deref()?);
    let (wrong, at) = (perturbed(reference)?, reply.rfind(reference)?);
    let (before, after) = (&reply[..at], &reply[at + reference.len()..]);
    let is_answer = !before.ends_with(char::is_alphanumeric) && !after.contains(char::is_alphanumeric);
    is_answer.then(|| format!("{before}{wrong}{after}"))
}

/// Whether the reference of an example is a program.
fn is_a_program(example: &Example) -> bool {
    has_tests(example) || example.reference.as_deref().is_some_and(is_python)
}

/// Fewest words of a long reference, which good replies need not repeat word by word.
const LONG_WORDS: usize = 9;

/// A good reply that is not the reference itself, so that a comparison which only pays for the very words of the
/// reference does not pass: a program in a fenced block, or a text without the last tenth of its words. `None` for an
/// example without a reference, or with a short one.
pub(crate) fn near_reference(example: &Example) -> Option<String> {
    let reference = example.reference.as_deref()?.trim();
    let words = reference.split_whitespace().count();
    if words < LONG_WORDS {
        return None;
    }
    if is_a_program(example) {
        return Some(format!("Here is the program:\n```python\n{reference}\n```"));
    }
    let dropped = words.div_ceil(10);
    let ends = reference.char_indices().rev().filter(|(_, c)| c.is_whitespace()).map(|(at, _)| at);
    // Runs of white space count once.
    let mut cuts: Vec<usize> = ends.map(|at| reference[..at].trim_end().len()).collect();
    cuts.dedup();
    cuts.get(dropped - 1).map(|end| reference[..*end].to_owned())
}

/// Fewest words of at least two letters in a reference that a reply can match by half; shorter ones are right or wrong.
const HALVABLE_WORDS: usize = 3;

/// The first half of the words of an example's reference, then the second half of the words of another example's. `None`
/// without another reference, and for programs, numbers and other references that a reply can hardly match by half.
pub(crate) fn half_right(example: &Example, examples: &[&Example]) -> Option<String> {
    let reference = example.reference.as_deref().filter(|_| !is_a_program(example))?;
    let words: Vec<&str> = reference.split_whitespace().collect();
    let is_word = |word: &&&str| word.chars().filter(|c| c.is_alphabetic()).count() > 1;
    if words.iter().filter(is_word).count() < HALVABLE_WORDS {
        return None;
    }
    let others: Vec<&str> = other(example, examples)?.split_whitespace().collect();
    let reply = [&words[..words.len().div_ceil(2)], &others[others.len().div_ceil(2)..]].concat();
    (reply != words).then(|| reply.join(" "))
}

/// A short answer put into a sentence, for tools that must find the answer in a sentence: those that judge correctness,
/// and for answers with digits those that compare with the reference. `None` for a long answer, and for tools that want
/// the answer alone.
fn in_a_sentence(answer: &str, card: &ToolCard) -> Option<String> {
    let has_digits = answer.contains(|c: char| c.is_ascii_digit());
    let must_find_it = match card.role {
        ToolRole::Correctness => true,
        ToolRole::Quality => card.needs_reference && has_digits,
        ToolRole::Constraint => false,
    };
    let can_be_found = must_find_it && !card.bare && is_short(answer);
    let sentence = if answer.contains('\\') {
        format!("So the answer is ${answer}$.")
    } else {
        format!("So the answer is {answer}.")
    };
    can_be_found.then_some(sentence)
}

/// Adds the attempts to cheat that can be made for an example, given all examples.
fn add_hacks<'e>(example: &'e Example, examples: &[&'e Example], cases: &mut Vec<ProbeCase<'e>>) {
    for (i, hack) in HACKS.iter().enumerate() {
        if let Some(reply) = (hack.reply)(example, examples) {
            cases.push(ProbeCase::new(example, ProbeKind::Hack(i), reply));
        }
    }
}

/// A wrong answer to an example: the answer to another example, or this example's reference with an error in it. `None`
/// when neither can be made.
pub(crate) fn wrong_answer(example: &Example, examples: &[&Example]) -> Option<String> {
    match (&example.reference, &example.demonstration) {
        (Some(reference), _) => other(example, examples).map(str::to_owned).or_else(|| perturbed(reference)),
        (None, own) => examples.iter().filter_map(|e| e.demonstration.clone()).find(|d| Some(d) != own.as_ref()),
    }
}

/// A wrong answer made from a reference: a text of more than eight words is cut to its first fifth, a letter of a
/// choice becomes another letter, and otherwise the last digit changes. `None` for a short text without digits.
pub(crate) fn perturbed(reference: &str) -> Option<String> {
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
