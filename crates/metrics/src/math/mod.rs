//! Whether the answer of a reply is a reference's, mathematically.
//!
//! [`extract`] finds the answer in a text, [`parser`] reads it, [`compare`] says whether two are the same: numbers as
//! numbers, sets in any order, expressions and equations by their values at a few points. The conventions are those of
//! Math-Verify (Kydlíček et al., 2025), without its computer algebra.

mod atoms;
mod compare;
mod exact;
mod expr;
mod extract;
mod lexer;
mod members;
mod parser;
mod value;

pub use compare::MathRules;
use expr::Expr;
use extract::{MathAnswer, answer, number};

/// Whether the answer of a reply is that of a reference.
pub fn equivalent(reply: &str, reference: &str, rules: MathRules) -> bool {
    if let (Some(a), Some(b)) = (lone_number(reply), lone_number(reference))
        && a == b
    {
        return true;
    }
    let (gold, said) = (answers(reference), answers(reply));
    if gold.is_empty() || said.is_empty() {
        return tidy(reply) == tidy(reference) && !tidy(reply).is_empty();
    }
    let same = |g: &MathAnswer, s: &MathAnswer| tidy(&g.written) == tidy(&s.written) || rules.equal(&g.expr, &s.expr);
    gold.iter().any(|g| said.iter().any(|s| same(g, s)))
}

/// Whether a reply only repeats its prompt: all or most of it, or a formula out of it that is still to be worked out. "Simplify"
/// and "expand" ask for what is the same as their own formula.
pub fn is_echo(reply: &str, prompt: &str, reference: &str) -> bool {
    let (said, asked, wanted) = (tidy(reply), tidy(prompt), tidy(reference));
    if asked.is_empty() || said.is_empty() || said == wanted {
        return false;
    }
    let rest = said.replace(&asked, "");
    if rest.trim_matches('.').is_empty() || (asked.contains(&said) && 10 * said.len() >= 6 * asked.len()) {
        return true;
    }
    let answers = answers(reply);
    answers.iter().any(|a| {
        let written = tidy(&a.written);
        written != wanted && written.len() > 2 && asked.contains(&written) && !is_worked_out(&a.expr)
    })
}

/// Whether nothing is left to do: a number, a fraction in lowest terms, or something without operations.
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

/// A text that is a number and nothing else.
fn lone_number(text: &str) -> Option<String> {
    let text = text.trim();
    if text.len() > 40 {
        return None;
    }
    number(text).filter(|(_, len)| *len == text.len()).map(|(digits, _)| digits)
}

/// What stands on the last line after `A:` or `Answer:`, or after `####`.
fn marked(text: &str) -> Option<&str> {
    if let Some((_, last)) = text.rsplit_once("####") {
        return Some(last.trim());
    }
    let line = text.trim_end().rsplit('\n').next()?.trim().trim_matches('*');
    ["A:", "Answer:", "answer:", "ANSWER:"].iter().find_map(|mark| line.strip_prefix(mark)).map(str::trim)
}

/// The answer of a text: of a short one that is a formula or a number itself, else what is found in it. There are two
/// where a comma may be a decimal point.
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
    // `5 apples` is 5, a word alone is one, `12\\text{ cm}` is a formula.
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

/// Words of a text that are no commands or functions.
fn words(text: &str) -> usize {
    const FUNCTIONS: &[&str] = &[
        "sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "sqrt", "pi", "and", "or", "pmatrix", "bmatrix",
        "matrix", "array", "align",
    ];
    let parts = text.split(|c: char| !(c.is_alphabetic() || c == '\\' || c == '\''));
    parts.filter(|w| w.chars().count() > 1 && !w.contains('\\') && !FUNCTIONS.contains(w)).count()
}

/// A formula without what does not matter for it.
fn tidy(text: &str) -> String {
    let mut text = text.replace("\\left", "").replace("\\right", "").replace("\\!", "").replace("\\,", "");
    text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac");
    text.retain(|c| !c.is_whitespace() && c != '$');
    text.trim_end_matches('.').to_owned()
}
