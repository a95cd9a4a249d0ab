//! Finds the answer in a text. The answer follows "final answer is", is in a `\boxed`, or follows "answer"; without any
//! of these, the last formula or number is the answer.

use super::expr::Expr;
use super::parser::parse;
use super::plain::{number, plain};
use super::whole::is_date;

/// Number of bytes at the end of a text in which the answer is searched.
const WINDOW: usize = 20_000;
/// Maximum number of boxes (`\boxed`) that are examined, counted from the end of the text.
const MAX_BOXES: usize = 64;
/// Maximum number of possible answers that are parsed.
const MAX_CANDIDATES: usize = 24;

/// An answer found in a text, as written and as a parsed expression.
#[derive(Clone, Debug)]
pub struct MathAnswer {
    /// The answer as it is written in the text.
    pub written: String,
    /// The answer as a parsed expression.
    pub expr: Expr,
}

impl MathAnswer {
    /// Parses an answer. `percent` says whether a percent sign follows the answer in the text. `None` if parsing fails.
    fn new(written: &str, percent: bool) -> Option<Self> {
        if is_date(written) {
            return Some(Self { written: written.to_owned(), expr: Expr::Opaque(written.to_owned()) });
        }
        let expr = parse(written)?;
        Some(Self {
            written: written.to_owned(),
            expr: if percent && !matches!(expr, Expr::Percent(_)) { Expr::Percent(expr.into()) } else { expr },
        })
    }
}

/// A possible answer in a text: a formula, several formulas that belong together, or a plain number or expression.
#[derive(Clone, Debug)]
pub(super) struct AnswerCandidate {
    /// The position of the candidate's first byte in the text.
    pub(super) start: usize,
    /// The position after the candidate's last byte in the text.
    pub(super) end: usize,
    pub(super) parts: Vec<CandidatePart>,
}

/// One formula, number or expression of an [`AnswerCandidate`].
#[derive(Clone, Debug)]
pub(super) struct CandidatePart {
    pub(super) text: String,
    /// Whether a percent sign follows the part in the text.
    pub(super) is_percent: bool,
}

impl AnswerCandidate {
    /// Parses the candidate. Several parts become a set. `None` if parsing fails.
    fn parse(&self) -> Option<MathAnswer> {
        let parse = |part: &CandidatePart| MathAnswer::new(&part.text, part.is_percent);
        if let [part] = &self.parts[..] {
            return parse(part);
        }
        let parts = self.parts.iter().map(parse).collect::<Option<Vec<_>>>()?;
        let written = self.parts.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join(", ");
        let mut members = Vec::new();
        for part in parts {
            match part.expr {
                Expr::Set(more) => members.extend(more),
                other => members.push(other),
            }
        }
        Some(MathAnswer { written, expr: Expr::Set(members) })
    }
}

/// Whether a text says where its answer is: in a formula between delimiters, in a box, or after the word "answer".
pub fn has_mark(text: &str) -> bool {
    text.contains("\\boxed") || text.to_ascii_lowercase().contains("answer") || !formulas(text).is_empty()
}

/// The content of the last box (`\boxed`) of a text; `None` if there is none.
pub fn last_box(text: &str) -> Option<String> {
    boxed(text).map(|found| found.parts.into_iter().map(|part| part.text).collect::<Vec<_>>().join(", "))
}

/// Finds the answer in a text; `None` if there is none.
pub fn answer(text: &str) -> Option<MathAnswer> {
    let mut from = text.len().saturating_sub(WINDOW);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let text = &text[from..];
    let formulas = formulas(text);
    let plain = plain(text);
    let lower = text.to_ascii_lowercase();
    let last_valid = |mut candidates: Vec<AnswerCandidate>| {
        candidates.sort_by_key(|c| (std::cmp::Reverse(c.end), c.start));
        candidates.into_iter().take(MAX_CANDIDATES).find_map(|c| c.parse())
    };
    // Numbers within a formula that cannot be parsed are not taken as answers; these are the places of such formulas.
    let invalid: Vec<(usize, usize)> = formulas
        .iter()
        .rev()
        .take(MAX_CANDIDATES)
        .filter(|c| c.parts.iter().any(|part| part.text.contains('\\')) && c.parse().is_none())
        .map(|c| (c.start, c.end))
        .collect();
    let outside_invalid = |p: &&AnswerCandidate| !invalid.iter().any(|(start, end)| (start..end).contains(&&p.start));
    let all = || formulas.iter().chain(plain.iter().filter(outside_invalid));
    let gap_after = |word_end: usize, most: usize, allowed: &dyn Fn(&str) -> bool| -> Vec<AnswerCandidate> {
        let follows = |p: &&AnswerCandidate| {
            p.start >= word_end && p.start - word_end <= most && text.get(word_end..p.start).is_some_and(allowed)
        };
        all().filter(follows).cloned().collect()
    };
    let blank = |s: &str| s.trim_start_matches(':').trim().is_empty();

    // Finds answers in sentences like "The final answer is … . I hope it is correct."
    let final_answers: Vec<AnswerCandidate> = ends(&lower, "final answer is")
        .into_iter()
        .flat_map(|end| gap_after(end, 8, &blank))
        .filter(|p| lower[p.end..].trim_start_matches('.').trim_start().starts_with("i hope"))
        .collect();
    if let Some(found) = last_valid(final_answers) {
        return Some(found);
    }
    let mut boxed_or_final: Vec<AnswerCandidate> = boxed(text).into_iter().collect();
    for end in ends(&lower, "final answer") {
        let Some(is) = lower.get(end..(end + 110).min(lower.len())).and_then(|rest| rest.find(" is")) else { continue };
        boxed_or_final.extend(gap_after(end + is + 3, 8, &blank));
    }
    if let Some(found) = last_valid(boxed_or_final) {
        return Some(found);
    }
    if let Some(found) = formula_after(text, &lower) {
        return Some(found);
    }
    for word in ["answer:", "answer"] {
        let named = ends(&lower, word).into_iter().rev().take(MAX_CANDIDATES).filter_map(|end| {
            let near = gap_after(end, 50, &|_| true);
            near.into_iter().min_by_key(|p| (p.start, std::cmp::Reverse(p.end)))
        });
        if let Some(found) = last_valid(named.collect()) {
            return Some(found);
        }
    }
    last_valid(all().cloned().collect())
}

/// The answer after the last "answer is", up to the end of the sentence, if this is a formula without delimiters such
/// as dollars. `None` if it is a single number or no formula. `lower` is `text` in lower case.
fn formula_after(text: &str, lower: &str) -> Option<MathAnswer> {
    let rest = &text[*ends(lower, "answer is").last()?..];
    let line = rest.lines().next().unwrap_or("").trim_start_matches(':').trim();
    let sentence = line.split(". ").next().unwrap_or("").trim_end_matches(['.', '!']).trim();
    let is_formula =
        sentence.len() < 200 && super::words(sentence) == 0 && !sentence.contains('$') && !sentence.contains("\\(");
    if !is_formula || number(sentence).is_some_and(|(_, len)| len == sentence.len()) {
        return None;
    }
    MathAnswer::new(sentence, false)
}

/// The positions in a text at which the occurrences of a word end.
fn ends(text: &str, word: &str) -> Vec<usize> {
    text.match_indices(word).map(|(at, _)| at + word.len()).collect()
}

/// The content of the last box (`\boxed`) of a text. Boxes before it, with little text in between, are further parts of
/// the same answer.
fn boxed(text: &str) -> Option<AnswerCandidate> {
    let mut found: Vec<(usize, usize, &str)> = Vec::new();
    let mut marks: Vec<(usize, &str)> = text.match_indices("\\boxed").chain(text.match_indices("\\fbox")).collect();
    marks.sort_unstable();
    for (at, word) in marks.split_off(marks.len().saturating_sub(MAX_BOXES)) {
        let open = at + word.len();
        let Some(inner) = text[open..].trim_start().strip_prefix('{') else { continue };
        let start = text.len() - inner.len();
        let Some(len) = closing(inner) else { continue };
        // A box within another box is a part of the content of the outer one.
        if found.last().is_none_or(|(_, end, _)| at >= *end) {
            found.push((at, start + len + 1, &text[start..start + len]));
        }
    }
    let (mut start, end, last) = found.pop()?;
    let percent = |end: usize| is_percent(&text[end..]);
    let mut parts = vec![CandidatePart {
        text: last.to_owned(),
        is_percent: percent(end.min(text.len())) || dollar_percent(&text[end..]),
    }];
    while let Some((before, before_end, inner)) = found.pop() {
        let between = &text[before_end..start];
        let joined = between.len() <= 40
            && (!between.contains(|c: char| c.is_alphabetic() && !"quad".contains(c))
                || between.split(|c: char| !c.is_alphabetic()).any(|w| w == "and" || w == "or"));
        if !joined || parts.len() >= 40 {
            break;
        }
        parts.insert(0, CandidatePart { text: inner.to_owned(), is_percent: false });
        start = before;
    }
    Some(AnswerCandidate { start, end, parts })
}

/// The position of the brace that closes a brace opened just before the text; `None` if there is none.
pub(super) fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut escaped) = (1, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(i);
                }
            }
            _ => {}
        }
    }
    None
}

/// Whether a text begins with a percent sign or with the word "percent".
pub(super) fn is_percent(rest: &str) -> bool {
    let rest = rest.trim_start().trim_start_matches('\\');
    rest.starts_with('%') || ["percent", "Percent", "pct", "Pct"].iter().any(|w| rest.starts_with(w))
}

/// Whether a text begins with the end of a formula (such as `$`) and then a percent sign.
fn dollar_percent(rest: &str) -> bool {
    let rest = rest.trim_start().trim_start_matches("$$").trim_start_matches('$');
    let rest = rest.trim_start_matches("\\)").trim_start_matches("\\]");
    is_percent(rest)
}

/// The formulas of a text: those between dollars, `\( \)` or `\[ \]`, and fractions of two numbers. Formulas with only
/// `and`, `or` or a comma between them are one candidate.
fn formulas(text: &str) -> Vec<AnswerCandidate> {
    let bytes = text.as_bytes();
    let mut found: Vec<AnswerCandidate> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let escaped = at > 0 && bytes[at - 1] == b'\\';
        let after_digit = at > 0 && bytes[at - 1].is_ascii_digit();
        let rest = &text[at..];
        let hit = match bytes[at] {
            b'$' if rest.starts_with("$$") && !escaped => delimited(rest, 2, "$$", true),
            b'$' if !escaped && !after_digit => delimited(rest, 1, "$", false),
            b'\\' if rest.starts_with("\\[") && !escaped => delimited(rest, 2, "\\]", true),
            b'\\' if rest.starts_with("\\(") && !escaped => delimited(rest, 2, "\\)", false),
            b'\\' if rest.starts_with("\\frac{") => fraction(rest),
            _ => None,
        };
        let Some(Delimited { open, inner_end, width }) = hit else {
            at += 1;
            while !text.is_char_boundary(at) {
                at += 1;
            }
            continue;
        };
        let (mut start, mut end) = (at, at + width);
        let mut inner = text[at + open..at + inner_end].to_owned();
        if open == 0 {
            // A fraction outside of dollars has its sign and its whole part before it: `-2\frac{1}{2}`.
            let digits = bytes[..start].iter().rev().take_while(|b| b.is_ascii_digit()).count();
            let sign = usize::from(bytes[..start - digits].last() == Some(&b'-'));
            inner.insert_str(0, &text[start - digits - sign..start]);
            start -= digits + sign;
        }
        let percent = is_percent(&text[end..]);
        if percent {
            let rest = text[end..].trim_start();
            let word = rest.trim_start_matches('\\').trim_start_matches(|c: char| c == '%' || c.is_alphabetic());
            end = text.len() - word.len();
        }
        at = end.max(at + width);
        let joined = found.last().filter(|p| p.parts.len() < 6).is_some_and(|p| {
            let between = text[p.end..start].trim();
            matches!(between, "and" | "or" | "," | ", and" | ", or" | ",and" | ",or")
        });
        match found.last_mut() {
            Some(last) if joined => {
                last.parts.push(CandidatePart { text: inner, is_percent: percent });
                last.end = end;
            }
            _ => {
                let parts = vec![CandidatePart { text: inner, is_percent: percent }];
                found.push(AnswerCandidate { start, end, parts });
            }
        }
    }
    found
}

/// The position of a formula that begins at the start of a text.
struct Delimited {
    /// Number of bytes in the opening delimiter; 0 if there is none.
    open: usize,
    /// The position after the last byte of the formula's content.
    inner_end: usize,
    /// Number of bytes in the formula together with both delimiters.
    width: usize,
}

/// Finds the formula at the start of a text, between an opening delimiter of `open` bytes and the delimiter `close`.
/// `lines` says whether the formula may contain line breaks. `None` if the formula does not end or is empty.
fn delimited(text: &str, open: usize, close: &str, lines: bool) -> Option<Delimited> {
    let mut from = open;
    loop {
        let at = from + text[from..].find(close)?;
        if at > open && text.as_bytes()[at - 1] == b'\\' && close.starts_with('$') {
            from = at + 1;
            continue;
        }
        let inner = &text[open..at];
        // In `$5 and $6`, the dollars are currency signs.
        let digit = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
        let is_currency = close == "$" && digit(open) && digit(at + 1) && inner.ends_with(' ');
        let is_valid = at > open && !is_currency && (lines || !inner.contains('\n'));
        return is_valid.then_some(Delimited { open, inner_end: at, width: at + close.len() });
    }
}

/// Finds a `\frac` of two numbers at the start of a text; `None` if there is none.
fn fraction(text: &str) -> Option<Delimited> {
    let number = |s: &str| {
        let digits = s.strip_prefix('-').unwrap_or(s);
        !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit() || c == '.')
    };
    let above = text.strip_prefix("\\frac{")?;
    let (first, rest) = above.split_once('}')?;
    let (second, _) = rest.strip_prefix('{')?.split_once('}')?;
    let width = 6 + first.len() + 2 + second.len() + 1;
    (number(first) && number(second)).then_some(Delimited { open: 0, inner_end: width, width })
}
