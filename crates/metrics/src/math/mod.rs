//! Decides whether two answers are mathematically equal.
//!
//! [`extract`] finds the answer in a text, [`parser`] parses it, and [`compare`] compares two answers: numbers by
//! value, sets in any order, expressions and equations by their values at a few points. The conventions are those of
//! Math-Verify (Kydlíček et al., 2025), without its computer algebra.

mod atoms;
mod commands;
mod compare;
mod exact;
mod expr;
mod extract;
mod figures;
mod functions;
mod lexer;
mod measures;
mod members;
mod notation;
mod number_sets;
mod numerals;
mod parser;
mod plain;
mod product;
mod rewrite;
mod upright;
mod value;
mod whole;

pub use compare::MathRules;
use expr::Expr;
use extract::{MathAnswer, answer, closing, has_mark};
use notation::plain_notation;
use plain::{number, plain};

/// Maximum length, in bytes, of a reference that is searched for several numbers, which would make its answer unclear.
/// A longer reference is a whole solution, not only an answer.
const MAX_PROSE: usize = 20_000;

/// The answers of a reply and of a reference as they are written, and whether they are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComparedAnswers {
    /// Whether the two answers are equal.
    pub are_equal: bool,
    /// The answer of the reply, or the line in which it is; `None` if none is found.
    pub reply: Option<String>,
    /// The answer of the reference, or the line in which it is.
    pub reference: String,
}

/// Whether the answer of a reply equals the answer of a reference. Reply and reference may be whole texts or only
/// answers. A reference that is [`unclear`] equals only the same text.
pub fn equivalent(reply: &str, reference: &str, rules: MathRules) -> bool {
    compare_answers(reply, reference, rules).are_equal
}

/// Compares the answer of a reply with the answer of a reference, as [`equivalent`] does, and also returns both answers
/// as they are written.
pub fn compare_answers(reply: &str, reference: &str, rules: MathRules) -> ComparedAnswers {
    if let (Some(a), Some(b)) = (lone_number(reply), lone_number(reference))
        && a == b
    {
        return ComparedAnswers::new(true, Some(reply), reference);
    }
    let (reply, reference) = (plain_notation(reply), plain_notation(reference));
    let is_same_text = || tidy(&reply) == tidy(&reference) && !tidy(&reply).is_empty();
    if may_have_parts(&reference) {
        let named = || (whole::named_answer(&reply), whole::named_answer(&reference));
        if let Some(whole) = whole::in_reference(&reference) {
            let found = whole::in_reply(&reply, &whole);
            let are_equal = is_same_text() || found.as_ref().is_some_and(|found| whole.equals(found));
            let (reply, reference) = named();
            let reply = (are_equal || found.is_some()).then(|| last_line(&reply));
            return ComparedAnswers::new(are_equal, reply, last_line(&reference));
        }
        if has_several_numbers(&reference) {
            let (named_reply, named_reference) = named();
            return ComparedAnswers::new(is_same_text(), Some(last_line(&named_reply)), last_line(&named_reference));
        }
    }
    let (reference_answers, reply_answers) = (answers(&reference), answers(&reply));
    let (Some(first), Some(found)) = (reference_answers.first(), reply_answers.first()) else {
        let found = reply_answers.first().map(|answer| answer.written.as_str());
        let wanted = reference_answers.first().map_or(&*reference, |answer| answer.written.as_str());
        return ComparedAnswers::new(is_same_text(), found, wanted);
    };
    let equal = |a: &MathAnswer, b: &MathAnswer| tidy(&a.written) == tidy(&b.written) || rules.equal(&a.expr, &b.expr);
    let pair = reference_answers.iter().find_map(|a| Some((a, reply_answers.iter().find(|b| equal(a, b))?)));
    let (wanted, found) = pair.unwrap_or((first, found));
    ComparedAnswers::new(pair.is_some(), Some(&found.written), &wanted.written)
}

impl ComparedAnswers {
    fn new(are_equal: bool, reply: Option<&str>, reference: &str) -> Self {
        let owned = |text: &str| text.trim().to_owned();
        Self { are_equal, reply: reply.map(owned).filter(|text| !text.is_empty()), reference: owned(reference) }
    }
}

/// The last line of a text that is not blank; the whole text if all of its lines are blank.
fn last_line(text: &str) -> &str {
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or(text)
}

/// Why a reference cannot be compared with replies, as a sentence; `None` for a reference that can be.
pub fn unclear(reference: &str) -> Option<&'static str> {
    let reference = plain_notation(reference);
    let is_unclear =
        may_have_parts(&reference) && whole::in_reference(&reference).is_none() && has_several_numbers(&reference);
    is_unclear.then_some(
        "the reference is prose with several numbers, and nothing says which of them is the answer; write the answer \
         alone, in `\\boxed{…}` or after `####`",
    )
}

/// Whether a text may be a range, a date, a time or prose with several numbers: it has numbers, and something other than
/// commands and operators of formulas.
fn may_have_parts(text: &str) -> bool {
    let mut in_command = false;
    let (mut numbers, mut separators, mut slashes_and_points) = (0, 0, 0);
    for b in text.bytes() {
        in_command = b == b'\\' || (in_command && b.is_ascii_alphabetic());
        match b {
            b'0'..=b'9' => numbers += 1,
            b'a'..=b'z' | b'A'..=b'Z' => separators += u32::from(!in_command),
            b':' | b'-' | b'\'' | 128.. => separators += 1,
            b'/' | b'.' => slashes_and_points += 1,
            _ => {}
        }
    }
    numbers > 0 && (separators > 0 || slashes_and_points > 1)
}

/// Whether a reference is prose with several numbers, without an equals sign or another mark of the answer.
fn has_several_numbers(reference: &str) -> bool {
    let bare = marked(reference).unwrap_or(reference).trim();
    if bare.len() > MAX_PROSE || words(bare) == 0 || bare.contains('=') || has_mark(bare) {
        return false;
    }
    if formula_with_unit(bare).is_some() {
        return false;
    }
    let mut end = 0;
    let mut numbers = 0;
    for candidate in plain(bare) {
        numbers += u32::from(candidate.start >= end);
        end = end.max(candidate.end);
    }
    numbers + u32::from(["and a half", "and a quarter"].iter().any(|part| bare.contains(part))) > 1
}

/// Whether a reply only repeats its prompt: all of the prompt, most of it, or a formula of the prompt that is not
/// worked out. Such a reply can be equivalent to the reference although it solves nothing, for example where a prompt
/// says "simplify" or "expand".
pub fn is_echo(reply: &str, prompt: &str, reference: &str) -> bool {
    let (tidy_reply, prompt, reference) = (tidy(reply), tidy(prompt), tidy(reference));
    if prompt.is_empty() || tidy_reply.is_empty() || tidy_reply == reference {
        return false;
    }
    let rest = tidy_reply.replace(&prompt, "");
    let is_most_of_prompt = prompt.contains(&tidy_reply) && 10 * tidy_reply.len() >= 6 * prompt.len();
    if rest.trim_matches('.').is_empty() || is_most_of_prompt {
        return true;
    }
    let answers = answers(&plain_notation(reply));
    answers.iter().any(|a| {
        let written = tidy(&a.written);
        written != reference && written.len() > 2 && prompt.contains(&written) && !is_worked_out(&a.expr)
    })
}

/// Whether an expression is a result that needs no further work: a number, a fraction in lowest terms, or an expression
/// without operations.
fn is_worked_out(e: &Expr) -> bool {
    let whole = |e: &Expr| match e {
        Expr::Number(n) => n.digits.parse::<u64>().ok(),
        _ => None,
    };
    match e {
        Expr::Negative(inner) | Expr::Percent(inner) | Expr::Degrees(inner) => is_worked_out(inner),
        Expr::Quotient(a, b) => match (whole(a), whole(b)) {
            (Some(mut a), Some(mut b)) => {
                while b > 0 {
                    (a, b) = (b, a % b);
                }
                a == 1
            }
            _ => false,
        },
        Expr::Sum(_)
        | Expr::Product(_)
        | Expr::Power(..)
        | Expr::Root(..)
        | Expr::Log(..)
        | Expr::Call(..)
        | Expr::Binomial(..) => false,
        _ => true,
    }
}

/// The digits of a text that consists of one number and nothing else; `None` for other texts.
fn lone_number(text: &str) -> Option<String> {
    let text = text.trim();
    if text.len() > 40 {
        return None;
    }
    number(text).filter(|(_, len)| *len == text.len()).map(|(digits, _)| digits)
}

/// The marked answer of a text: what follows the last `####`, or else what follows `A:` or `Answer:` at the beginning
/// of the last line. `None` if there is no mark.
fn marked(text: &str) -> Option<&str> {
    if let Some((_, last)) = text.rsplit_once("####") {
        return Some(last.trim());
    }
    let line = text.trim_end().rsplit('\n').next()?.trim().trim_matches('*');
    ["A:", "Answer:", "answer:", "ANSWER:"].iter().find_map(|mark| line.strip_prefix(mark)).map(str::trim)
}

/// The possible answers of a text. A short text that is itself a formula or a number is the answer; in other texts the
/// answer is searched. A text has two possible answers if it can be read in two ways: `1,5` is a decimal number or a list,
/// and `2e-3` is a number with a power of ten or a difference.
fn answers(text: &str) -> Vec<MathAnswer> {
    let mut found = first_answers(text);
    let with_euler = |a: &MathAnswer| {
        let expr = parser::parse_with_euler(&a.written)?;
        Some(MathAnswer { written: a.written.clone(), expr })
    };
    found.extend(found.iter().filter_map(with_euler).collect::<Vec<_>>());
    found
}

fn first_answers(text: &str) -> Vec<MathAnswer> {
    let bare = marked(text).unwrap_or(text).trim();
    let read = |written: &str| parser::parse(written).map(|expr| MathAnswer { written: written.to_owned(), expr });
    if let Some(digits) = lone_number(bare) {
        let members = if digits.contains('.') && bare.contains(',') && !bare.contains('.') {
            read(&bare.replace(',', ", "))
        } else {
            None
        };
        return read(&digits).into_iter().chain(members).collect();
    }
    let opaque = || {
        let content = bare.strip_prefix("\\text{").and_then(|inner| inner.strip_suffix('}')).unwrap_or(bare);
        MathAnswer { written: bare.to_owned(), expr: Expr::Opaque(tidy(content)) }
    };
    if whole::is_date(bare) {
        return vec![opaque()];
    }
    let is_marked = ["$", "\\(", "\\[", "\\boxed", "\n"].iter().any(|m| bare.contains(m));
    // For example, `5 apples` is the number 5, a single word is an answer, and `12\text{ cm}` is a formula.
    let one_word = words(bare) == 1 && (bare.contains('\\') || !bare.contains(|c: char| c.is_ascii_digit()));
    if !is_marked && bare.len() <= 300 {
        let is_angle = words(bare) == 1 && ["degrees", "degree", "deg"].iter().any(|unit| bare.ends_with(unit));
        if (words(bare) == 0 || one_word || is_angle)
            && let Some(answer) = read(bare)
        {
            return vec![answer];
        }
        if let Some(answer) = formula_with_unit(bare) {
            return vec![answer];
        }
    }
    let found = answer(bare).or_else(|| (!bare.is_empty() && bare.len() <= 300).then(opaque));
    found.into_iter().collect()
}

/// A formula behind which only the words of a unit stand, such as `6\sqrt{3}\text{ square meters}`; `None` for other
/// texts.
fn formula_with_unit(text: &str) -> Option<MathAnswer> {
    if !text.contains('\\') || text.len() > 300 {
        return None;
    }
    let read = |written: &str| parser::parse(written).map(|expr| MathAnswer { written: written.to_owned(), expr });
    if words(&without_texts(text)?) == 0 {
        return read(text).filter(|answer| !has_text(&answer.expr));
    }
    let is_unit = |at: &usize| {
        let (formula, unit) = text.split_at(*at);
        unit.chars().all(|c| c.is_alphabetic() || matches!(c, ' ' | '.')) && words(unit) > 0 && words(formula) == 0
    };
    let at = text.match_indices(' ').map(|(at, _)| at).find(is_unit)?;
    read(&text[..at])
}

/// A formula without the texts in it, such as `\text{ cm}`. `None` if the formula begins with such a text, or if the
/// closing brace of a text is missing.
fn without_texts(formula: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = formula;
    while let Some(at) = rest.find('\\') {
        let (before, command) = rest.split_at(at);
        out.push_str(before);
        let name = &command[1..=command[1..].bytes().take_while(u8::is_ascii_alphabetic).count()];
        let inner = command[1 + name.len()..].strip_prefix('{');
        rest = match inner {
            Some(inner) if commands::TEXTS.contains(&name) || commands::UPRIGHT.contains(&name) => {
                if out.trim().is_empty() {
                    return None;
                }
                &inner[closing(inner)? + 1..]
            }
            _ => {
                out.push('\\');
                &command[1..]
            }
        };
    }
    out.push_str(rest);
    Some(out)
}

fn has_text(e: &Expr) -> bool {
    matches!(e, Expr::Text(_)) || e.parts().into_iter().any(has_text)
}

/// The number of words of at least two letters in a text, without commands and names of functions.
fn words(text: &str) -> usize {
    const OTHERS: &[&str] = &["and", "or", "pmatrix", "bmatrix", "matrix", "array", "align"];
    let is_function =
        |w: &str| OTHERS.contains(&w) || commands::WORDS.iter().any(|(word, command)| *word == w && *command != "%");
    let parts = text.split(|c: char| !(c.is_alphabetic() || c == '\\' || c == '\''));
    parts.filter(|w| w.chars().count() > 1 && !w.contains('\\') && !is_function(w)).count()
}

/// A formula in a form for comparison as a text: without dollars, commands for size, white space except between digits,
/// and a full stop at its end.
fn tidy(text: &str) -> String {
    let mut text = text.replace("\\left", "").replace("\\right", "").replace("\\!", "").replace("\\,", "");
    text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac");
    text.retain(|c| c != '$');
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        // `2 3/4` is not `23/4`.
        let digit = |c: char| c.is_ascii_digit();
        if out.ends_with(digit) && word.starts_with(digit) {
            out.push(' ');
        }
        out.push_str(word);
    }
    out.truncate(out.trim_end_matches('.').len());
    out
}
