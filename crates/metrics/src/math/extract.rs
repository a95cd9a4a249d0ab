//! Where in a text its answer stands: after "final answer is", in a box, after "answer", else the last formula or number.

use super::expr::Expr;
use super::parser::parse;

/// How much of a text is looked at, in bytes from its end: an answer stands there.
const WINDOW: usize = 20_000;
/// How many boxes are looked into, the last ones.
const MOST_BOXES: usize = 64;
/// How many places are tried.
const TRIES: usize = 24;

/// An answer that was found: how it was written, and what it is.
#[derive(Clone, Debug)]
pub struct MathAnswer {
    pub written: String,
    pub expr: Expr,
}

impl MathAnswer {
    fn new(written: &str, percent: bool) -> Option<Self> {
        let expr = parse(written)?;
        Some(Self {
            written: written.to_owned(),
            expr: if percent && !matches!(expr, Expr::Percent(_)) { Expr::Percent(expr.into()) } else { expr },
        })
    }
}

/// A formula, several that belong together, or a plain number or expression, from `start` to `end` of the text.
#[derive(Clone, Debug)]
struct Candidate {
    start: usize,
    end: usize,
    parts: Vec<(String, bool)>,
}

impl Candidate {
    fn read(&self) -> Option<MathAnswer> {
        if let [(text, percent)] = &self.parts[..] {
            return MathAnswer::new(text, *percent);
        }
        let parts = self.parts.iter().map(|(t, p)| MathAnswer::new(t, *p)).collect::<Option<Vec<_>>>()?;
        let written = self.parts.iter().map(|(t, _)| t.as_str()).collect::<Vec<_>>().join(", ");
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

/// The answer of a text; nothing where it has none.
pub fn answer(text: &str) -> Option<MathAnswer> {
    let mut from = text.len().saturating_sub(WINDOW);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let text = &text[from..];
    let formulas = formulas(text);
    let plain = plain(text);
    let lower = text.to_ascii_lowercase();
    let by_end = |mut places: Vec<Candidate>| {
        places.sort_by_key(|p| (std::cmp::Reverse(p.end), p.start));
        places.into_iter().take(TRIES).find_map(|p| p.read())
    };
    // A number out of the middle of a formula that cannot be read is not its answer.
    let unread: Vec<(usize, usize)> = formulas
        .iter()
        .rev()
        .take(TRIES)
        .filter(|p| p.parts.iter().any(|(t, _)| t.contains('\\')) && p.read().is_none())
        .map(|p| (p.start, p.end))
        .collect();
    let whole = |p: &&Candidate| !unread.iter().any(|(start, end)| (start..end).contains(&&p.start));
    let all = || formulas.iter().chain(plain.iter().filter(whole));
    let gap_after = |word_end: usize, most: usize, allowed: &dyn Fn(&str) -> bool| -> Vec<Candidate> {
        let follows = |p: &&Candidate| {
            p.start >= word_end && p.start - word_end <= most && text.get(word_end..p.start).is_some_and(allowed)
        };
        all().filter(follows).cloned().collect()
    };
    let blank = |s: &str| s.trim_start_matches(':').trim().is_empty();

    // "The final answer is … . I hope"
    let said: Vec<Candidate> = ends(&lower, "final answer is")
        .into_iter()
        .flat_map(|end| gap_after(end, 8, &blank))
        .filter(|p| lower[p.end..].trim_start_matches('.').trim_start().starts_with("i hope"))
        .collect();
    if let Some(found) = by_end(said) {
        return Some(found);
    }
    let mut boxed_or_said: Vec<Candidate> = boxed(text).into_iter().collect();
    for end in ends(&lower, "final answer") {
        let Some(is) = lower.get(end..(end + 110).min(lower.len())).and_then(|rest| rest.find(" is")) else { continue };
        boxed_or_said.extend(gap_after(end + is + 3, 8, &blank));
    }
    if let Some(found) = by_end(boxed_or_said) {
        return Some(found);
    }
    if let Some(found) = formula_after(text, &lower) {
        return Some(found);
    }
    for word in ["answer:", "answer"] {
        let named = ends(&lower, word).into_iter().rev().take(TRIES).filter_map(|end| {
            let near = gap_after(end, 50, &|_| true);
            near.into_iter().min_by_key(|p| (p.start, std::cmp::Reverse(p.end)))
        });
        if let Some(found) = by_end(named.collect()) {
            return Some(found);
        }
    }
    by_end(all().cloned().collect())
}

/// A formula without marks of one, after the last "answer is" and up to the end of its sentence; a lone number is none.
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

/// Where the occurrences of a word end.
fn ends(text: &str, word: &str) -> Vec<usize> {
    text.match_indices(word).map(|(at, _)| at + word.len()).collect()
}

/// The contents of the last boxes of a text, those together that hardly anything stands between.
fn boxed(text: &str) -> Option<Candidate> {
    let mut found: Vec<(usize, usize, &str)> = Vec::new();
    let mut marks: Vec<(usize, &str)> = text.match_indices("\\boxed").chain(text.match_indices("\\fbox")).collect();
    marks.sort_unstable();
    for (at, word) in marks.split_off(marks.len().saturating_sub(MOST_BOXES)) {
        let open = at + word.len();
        let Some(inner) = text[open..].trim_start().strip_prefix('{') else { continue };
        let start = text.len() - inner.len();
        let Some(len) = closing(inner) else { continue };
        // A box in a box: the outer one has it.
        if found.last().is_none_or(|(_, end, _)| at >= *end) {
            found.push((at, start + len + 1, &text[start..start + len]));
        }
    }
    let (mut start, end, last) = found.pop()?;
    let percent = |end: usize| is_percent(&text[end..]);
    let mut parts = vec![(last.to_owned(), percent(end.min(text.len())) || dollar_percent(&text[end..]))];
    while let Some((before, before_end, inner)) = found.pop() {
        let between = &text[before_end..start];
        let joined = between.len() <= 40
            && (!between.contains(|c: char| c.is_alphabetic() && !"quad".contains(c))
                || between.split(|c: char| !c.is_alphabetic()).any(|w| w == "and" || w == "or"));
        if !joined || parts.len() >= 40 {
            break;
        }
        parts.insert(0, (inner.to_owned(), false));
        start = before;
    }
    Some(Candidate { start, end, parts })
}

/// Where the brace closes that is open before a text.
fn closing(text: &str) -> Option<usize> {
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

fn is_percent(rest: &str) -> bool {
    let rest = rest.trim_start().trim_start_matches('\\');
    rest.starts_with('%') || ["percent", "Percent", "pct", "Pct"].iter().any(|w| rest.starts_with(w))
}

/// A percent sign after the formula in which a box stands.
fn dollar_percent(rest: &str) -> bool {
    let rest = rest.trim_start().trim_start_matches("$$").trim_start_matches('$');
    let rest = rest.trim_start_matches("\\)").trim_start_matches("\\]");
    is_percent(rest)
}

/// The formulas of a text: between dollars, `\( \)`, `\[ \]`, and single fractions of numbers; several together where
/// only `and`, `or` or a comma stands between them.
fn formulas(text: &str) -> Vec<Candidate> {
    let bytes = text.as_bytes();
    let mut found: Vec<Candidate> = Vec::new();
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
        let Some((open, inner_end, width)) = hit else {
            at += 1;
            while !text.is_char_boundary(at) {
                at += 1;
            }
            continue;
        };
        let (mut start, mut end) = (at, at + width);
        let mut inner = text[at + open..at + inner_end].to_owned();
        if open == 0 && start > 0 && bytes[start - 1] == b'-' {
            start -= 1;
            inner.insert(0, '-');
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
                last.parts.push((inner, percent));
                last.end = end;
            }
            _ => found.push(Candidate { start, end, parts: vec![(inner, percent)] }),
        }
    }
    found
}

/// Of a formula that a text starts with: where its inside begins and ends, and where it ends itself.
fn delimited(text: &str, open: usize, close: &str, lines: bool) -> Option<(usize, usize, usize)> {
    let mut from = open;
    loop {
        let at = from + text[from..].find(close)?;
        if at > open && text.as_bytes()[at - 1] == b'\\' && close.starts_with('$') {
            from = at + 1;
            continue;
        }
        let inner = &text[open..at];
        return (at > open && (lines || !inner.contains('\n'))).then_some((open, at, at + close.len()));
    }
}

fn fraction(text: &str) -> Option<(usize, usize, usize)> {
    let number = |s: &str| {
        let digits = s.strip_prefix('-').unwrap_or(s);
        !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit() || c == '.')
    };
    let above = text.strip_prefix("\\frac{")?;
    let (first, rest) = above.split_once('}')?;
    let (second, _) = rest.strip_prefix('{')?.split_once('}')?;
    let width = 6 + first.len() + 2 + second.len() + 1;
    (number(first) && number(second)).then_some((0, width, width))
}

const CURRENCY: &str = "$€£¥₹₽₪₩₫฿₡₢₣₤₥₦₧₨₭₮₯₰₱₲₳₴₵₶₷₸₺₻₼₾₿";

/// Numbers and expressions of digits that stand on their own in a text.
fn plain(text: &str) -> Vec<Candidate> {
    let mut found = Vec::new();
    let mut before = None;
    let (mut skip_to, mut expression_to) = (0, 0);
    for (at, c) in text.char_indices() {
        let opens = before.is_none_or(|b: char| b.is_whitespace() || b == '=');
        before = Some(c);
        if !opens || at < skip_to {
            continue;
        }
        let stars = if text[at..].starts_with("**") { 2 } else { 0 };
        let rest = &text[at + stars..];
        if at >= expression_to
            && let Some(len) = expression(rest)
        {
            let start = at + stars;
            expression_to = start + len;
            let part = rest[..len].replace('\n', " ");
            found.push(Candidate { start, end: start + len, parts: vec![(part, false)] });
        }
        let currency = rest.chars().next().filter(|c| CURRENCY.contains(*c)).map_or(0, char::len_utf8);
        // `2x` and `3√2` are no numbers.
        let is_part =
            |after: &str| after.starts_with(['x', 'y', 'z', 'π', '√', '^', '\\', '(']) && !after.starts_with("x ");
        if let Some((number, len)) = number(&rest[currency..]).filter(|(_, len)| !is_part(&rest[currency + len..])) {
            let start = at + stars + currency;
            let mut end = start + len;
            skip_to = end;
            let percent = is_percent(&text[end..]);
            if percent {
                let word = text[end..].trim_start().trim_start_matches(|c: char| c == '%' || c.is_alphabetic());
                end = text.len() - word.len();
            }
            found.push(Candidate { start: at, end, parts: vec![(number, percent)] });
        }
    }
    found
}

/// The number that a text starts with, without separators, and its length.
pub fn number(text: &str) -> Option<(String, usize)> {
    let bytes = text.as_bytes();
    let digit = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_digit);
    let sign = usize::from(bytes.first() == Some(&b'-'));
    let run = |from: usize| (from..bytes.len()).take_while(|i| digit(*i)).count();
    let whole = run(sign);
    let decimals = |from: usize| if bytes.get(from) == Some(&b'.') && digit(from + 1) { 1 + run(from + 1) } else { 0 };
    if whole == 0 {
        let len = decimals(0);
        return (len > 0).then(|| (format!("0{}", &text[..len]), len));
    }
    // Groups of three after a comma or a space.
    let mut end = sign + whole;
    if whole <= 3 && bytes[sign] != b'0' {
        while matches!(bytes.get(end), Some(b',' | b' ')) && run(end + 1) == 3 {
            end += 4;
        }
    }
    if end == sign + whole && bytes.get(end) == Some(&b',') && digit(end + 1) {
        let len = end + 1 + run(end + 1);
        return Some((text[..len].replace(',', "."), len));
    }
    let len = end + decimals(end);
    Some((text[..len].replace([',', ' '], ""), len))
}

/// The length of the expression of digits and operators that a text starts with: it has an operator, and something that
/// is no part of one follows.
fn expression(text: &str) -> Option<usize> {
    let operator = |c: char| matches!(c, '+' | '-' | '*' | '×' | '/' | '^' | '(' | ')' | '÷');
    let rest = text.strip_prefix('-').unwrap_or(text);
    let rest = rest.strip_prefix('(').unwrap_or(rest);
    let rest = rest.strip_prefix('-').unwrap_or(rest);
    if !rest.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let start = text.len() - rest.len();
    let run = rest
        .char_indices()
        .find(|(i, c)| *i > 1000 || !(c.is_ascii_digit() || *c == '.' || c.is_whitespace() || operator(*c)));
    let end = start + run.map_or(rest.len(), |(i, _)| i);
    let suffix = |at: usize| {
        text[at..].chars().next().is_none_or(|c| matches!(c, '.' | ',' | ':' | ')' | '$') || c.is_whitespace())
    };
    // The longest part that something else follows, with an operator and something behind it.
    let (mut best, mut has_operator) = (None, false);
    for (i, c) in text[start..end].char_indices() {
        has_operator |= operator(c);
        let at = start + i + c.len_utf8();
        if has_operator && (c.is_ascii_digit() || c == ')') && suffix(at) {
            best = Some(at);
        }
    }
    best
}
