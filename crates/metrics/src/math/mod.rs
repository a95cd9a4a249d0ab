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
mod lexer;
mod members;
mod numerals;
mod parser;
mod plain;
mod product;
mod rewrite;
mod value;

pub use compare::MathRules;
use expr::Expr;
use extract::{MathAnswer, answer};
use plain::number;

/// Whether the answer of a reply equals the answer of a reference. Reply and reference may be whole texts or only
/// answers.
pub fn equivalent(reply: &str, reference: &str, rules: MathRules) -> bool {
    if let (Some(a), Some(b)) = (lone_number(reply), lone_number(reference))
        && a == b
    {
        return true;
    }
    let (reference_answers, reply_answers) = (answers(reference), answers(reply));
    if reference_answers.is_empty() || reply_answers.is_empty() {
        return tidy(reply) == tidy(reference) && !tidy(reply).is_empty();
    }
    let equal = |a: &MathAnswer, b: &MathAnswer| tidy(&a.written) == tidy(&b.written) || rules.equal(&a.expr, &b.expr);
    reference_answers.iter().any(|a| reply_answers.iter().any(|b| equal(a, b)))
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
    let answers = answers(reply);
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
        Expr::Negative(inner) | Expr::Percent(inner) => is_worked_out(inner),
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
/// answer is searched. A text with an ambiguous comma, such as `1,5`, has two possible answers: a decimal number and a
/// list.
fn answers(text: &str) -> Vec<MathAnswer> {
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
    let is_marked = ["$", "\\(", "\\[", "\\boxed", "\n"].iter().any(|m| bare.contains(m));
    // For example, `5 apples` is the number 5, a single word is an answer, and `12\text{ cm}` is a formula.
    let one_word = words(bare) == 1 && (bare.contains('\\') || !bare.contains(|c: char| c.is_ascii_digit()));
    if !is_marked
        && bare.len() <= 300
        && (words(bare) == 0 || one_word)
        && let Some(answer) = read(bare)
    {
        return vec![answer];
    }
    let found = answer(bare).or_else(|| {
        let opaque = || MathAnswer { written: bare.to_owned(), expr: Expr::Opaque(tidy(bare)) };
        (!bare.is_empty() && bare.len() <= 300).then(opaque)
    });
    found.into_iter().collect()
}

/// The number of words of at least two letters in a text, without commands and names of functions.
fn words(text: &str) -> usize {
    const FUNCTIONS: &[&str] = &[
        "sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "sqrt", "pi", "and", "or", "pmatrix", "bmatrix",
        "matrix", "array", "align",
    ];
    let parts = text.split(|c: char| !(c.is_alphabetic() || c == '\\' || c == '\''));
    parts.filter(|w| w.chars().count() > 1 && !w.contains('\\') && !FUNCTIONS.contains(w)).count()
}

/// A formula in a form for comparison as a text: without white space, dollars, commands for size and a full stop at its
/// end.
fn tidy(text: &str) -> String {
    let mut text = text.replace("\\left", "").replace("\\right", "").replace("\\!", "").replace("\\,", "");
    text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac");
    text.retain(|c| !c.is_whitespace() && c != '$');
    text.trim_end_matches('.').to_owned()
}
