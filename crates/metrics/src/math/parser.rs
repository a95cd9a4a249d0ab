//! The parser: turns the tokens of a formula into an expression.

use super::expr::{Expr, Number, Relation};
use super::lexer::{Exponents, Token, is, tokens};
use super::value::MathFunction;

/// Maximum length of a formula, in bytes; longer ones are not parsed.
const MAX_BYTES: usize = 4000;
/// Maximum depth of nested expressions in a formula; deeper ones are not parsed.
const MAX_DEPTH: usize = 60;
/// Maximum number of postfix operators after one factor, and maximum number of divisions in one product.
pub(super) const MAX_OPERATORS: usize = 12;
/// Maximum number of set signs such as `\cup` between sets.
const MAX_SETS: usize = 60;

/// Parses a formula. `None` if the text is not a formula, is too long or is nested too deeply.
pub fn parse(text: &str) -> Option<Expr> {
    parse_with(text, Exponents::OfTen)
}

/// Parses a formula that contains a number such as `2e-3`, and reads it as 2e − 3 with Euler's number instead of 0.002.
/// `None` if the formula contains no such number, or is invalid.
pub fn parse_with_euler(text: &str) -> Option<Expr> {
    let is_ambiguous = |w: &[u8]| w[0].is_ascii_digit() && w[1] == b'e' && matches!(w[2], b'+' | b'-');
    text.as_bytes().windows(3).any(is_ambiguous).then(|| parse_with(text, Exponents::Euler)).flatten()
}

fn parse_with(text: &str, exponents: Exponents) -> Option<Expr> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let tokens = tokens(text, exponents);
    let mut parser = Parser { tokens: &tokens, at: 0, depth: 0 };
    let answer = parser.answer()?;
    (parser.at == tokens.len()).then_some(answer)
}

/// A recursive-descent parser over the tokens of a formula. Its methods return `None` if the formula is invalid.
pub(super) struct Parser<'a> {
    pub(super) tokens: &'a [Token],
    /// The index of the next token to read.
    pub(super) at: usize,
    depth: usize,
}

/// Combines a list into one expression: a single item stays as it is, and several items are combined by `many`. `None`
/// for an empty list.
pub(super) fn one(mut items: Vec<Expr>, many: impl FnOnce(Vec<Expr>) -> Expr) -> Option<Expr> {
    match items.len() {
        0 => None,
        1 => items.pop(),
        _ => Some(many(items)),
    }
}

/// Makes a set of items. An item that is itself a set is replaced by its members.
pub(super) fn set(items: Vec<Expr>) -> Expr {
    let mut members = Vec::new();
    for item in items {
        match item {
            Expr::Set(more) => members.extend(more),
            other => members.push(other),
        }
    }
    Expr::Set(members)
}

impl Parser<'_> {
    /// The next token, which is not consumed; `None` at the end.
    pub(super) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    /// Whether the next token is this mark, which is not consumed.
    pub(super) fn sees(&self, mark: char) -> bool {
        self.peek() == Some(&Token::Mark(mark))
    }

    /// Consumes the next token if it is this mark. Returns whether it is.
    pub(super) fn takes(&mut self, mark: char) -> bool {
        let sees = self.sees(mark);
        self.at += usize::from(sees);
        sees
    }

    /// Whether the next token is one of the commands with these names.
    pub(super) fn sees_command(&self, names: &[&str]) -> bool {
        self.peek().is_some_and(|t| names.iter().any(|name| is(t, name)))
    }

    /// Consumes the next token if it is one of the commands with these names. Returns whether it is.
    pub(super) fn takes_command(&mut self, names: &[&str]) -> bool {
        let sees = self.sees_command(names);
        self.at += usize::from(sees);
        sees
    }

    /// Calls `read` one level of nesting deeper; `None` beyond [`MAX_DEPTH`].
    pub(super) fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if self.depth >= MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// Parses a whole answer: groups separated by `;`, whose members are separated by `,`, `and` or `or`.
    fn answer(&mut self) -> Option<Expr> {
        let mut groups = vec![self.list()?];
        while self.takes(';') {
            if self.peek().is_none() {
                break;
            }
            groups.push(self.list()?);
        }
        if groups.len() == 1 {
            return one(groups.pop()?, set);
        }
        let group = |items: Vec<Expr>| one(items, |items| Expr::Tuple(false, items, false));
        Some(set(groups.into_iter().map(group).collect::<Option<_>>()?))
    }

    /// Parses a list of members, which are separated by `,`, `and` or `or`.
    pub(super) fn list(&mut self) -> Option<Vec<Expr>> {
        let mut items = Vec::new();
        loop {
            while self.takes(',') || self.takes_command(&["and", "or"]) {}
            if self.ends() {
                break;
            }
            items.push(self.deeper(Self::chain)?);
            if !(self.sees(',') || self.sees_command(&["and", "or"])) {
                break;
            }
        }
        Some(items)
    }

    /// Whether a list ends before the next token: at the end of the formula, or before a closing bracket, `;`, `&`, or
    /// the end of a row or of an environment.
    fn ends(&self) -> bool {
        match self.peek() {
            None | Some(Token::Mark(')' | ']' | '}' | ';' | '&') | Token::End(_) | Token::Row) => true,
            Some(token) => is(token, "}"),
        }
    }

    /// Consumes a relation sign such as `=` or `\le`; `None` if the next token is no relation sign.
    fn relation(&mut self) -> Option<Relation> {
        let relation = match self.peek()? {
            Token::Mark('=') => Relation::Equal,
            Token::Mark('<') => Relation::Less,
            Token::Mark('>') => Relation::Greater,
            Token::Command(name) => match name.as_str() {
                "le" | "leq" | "leqslant" => Relation::LessEqual,
                "ge" | "geq" | "geqslant" => Relation::GreaterEqual,
                "lt" => Relation::Less,
                "gt" => Relation::Greater,
                "ne" | "neq" => Relation::NotEqual,
                "approx" | "equiv" | "simeq" => Relation::Equal,
                _ => return None,
            },
            _ => return None,
        };
        self.at += 1;
        Some(relation)
    }

    /// Parses an expression, or several expressions with relation signs between them (a chain of relations).
    fn chain(&mut self) -> Option<Expr> {
        let approximated = |p: &Self| p.sees_command(&["approx", "simeq"]);
        // Skips the signs at the start of a line of aligned equations, such as the `=` of `= 5`.
        while self.sees('=') || self.sees('&') {
            self.at += 1;
        }
        let mut sides = vec![self.union()?];
        let mut relations = Vec::new();
        loop {
            if self.sees('&') {
                self.at += 1;
            }
            if self.takes_command(&["in"]) {
                // In `x \in S`, the answer is the set S.
                let set = self.union()?;
                sides = vec![set];
                relations.clear();
                continue;
            }
            // In `x = 1/3 \approx 0.33`, the approximation after the exact value is skipped.
            if approximated(self) && !relations.is_empty() {
                self.at += 1;
                self.union()?;
                continue;
            }
            let Some(relation) = self.relation() else { break };
            sides.push(self.union()?);
            relations.push(relation);
        }
        if relations.is_empty() { sides.pop() } else { Some(Expr::Chain(sides, relations)) }
    }

    /// Parses a sum, or several sets with the signs of unions, intersections and differences between them.
    fn union(&mut self) -> Option<Expr> {
        let mut parts = vec![self.sum_or_difference()?];
        for _ in 0..MAX_SETS {
            if self.takes_command(&["cup"]) || (is_set(parts.last()) && self.takes_letter('U')) {
                parts.push(self.sum_or_difference()?);
            } else if self.takes_command(&["cap"]) {
                let right = self.sum_or_difference()?;
                let left = one(std::mem::take(&mut parts), Expr::Union)?;
                parts.push(Expr::Intersection(vec![left, right]));
            } else if self.takes_command(&["setminus", "smallsetminus", "backslash"]) {
                let mut right = self.sum_or_difference()?;
                if !is_set(Some(&right)) && right.symbols().is_empty() {
                    right = Expr::Set(vec![right]);
                }
                let left = one(std::mem::take(&mut parts), Expr::Union)?;
                parts.push(Expr::Difference(Box::new(left), Box::new(right)));
            } else {
                return one(parts, Expr::Union);
            }
        }
        None
    }

    /// Parses a sum, or a set minus a set in braces, such as `\mathbb{R} - \{0\}`.
    fn sum_or_difference(&mut self) -> Option<Expr> {
        Some(match self.sum()? {
            Expr::Sum(mut terms) if terms.len() == 2 && is_set(terms.first()) => match terms.pop()? {
                Expr::Negative(right) if matches!(*right, Expr::Set(_)) => {
                    Expr::Difference(Box::new(terms.pop()?), right)
                }
                other => Expr::Sum(vec![terms.pop()?, other]),
            },
            other => other,
        })
    }

    /// Consumes the next token if it is this letter. Returns whether it is.
    fn takes_letter(&mut self, letter: char) -> bool {
        let sees = self.peek() == Some(&Token::Letter(letter));
        self.at += usize::from(sees);
        sees
    }

    /// Parses terms with `+`, `-` and `±` between them.
    pub(super) fn sum(&mut self) -> Option<Expr> {
        let mut terms: Vec<Expr> = Vec::new();
        loop {
            let mut negative = false;
            let mut signed = None;
            loop {
                if self.takes('+') {
                } else if self.takes('-') {
                    negative = !negative;
                } else if self.takes_command(&["pm"]) {
                    signed = Some(true);
                } else if self.takes_command(&["mp"]) {
                    signed = Some(false);
                } else {
                    break;
                }
            }
            let term = self.product()?;
            let term = if negative { Expr::Negative(Box::new(term)) } else { term };
            if let Some(plus) = signed {
                let before = one(std::mem::take(&mut terms), Expr::Sum).unwrap_or_else(zero);
                terms.push(Expr::PlusMinus(Box::new(before), Box::new(term), plus));
            } else {
                terms.push(term);
            }
            if !(self.sees('+') || self.sees('-') || self.sees_command(&["pm", "mp"])) {
                return one(terms, Expr::Sum);
            }
        }
    }

    /// Parses an atom and the postfix operators after it: powers, factorials, percent signs, subscripts and primes.
    pub(super) fn factor(&mut self) -> Option<Expr> {
        let mut base = self.deeper(Self::atom)?;
        // The number of operators is limited because each nests the expression one level deeper.
        for _ in 0..MAX_OPERATORS {
            if self.takes('^') {
                let power = self.deeper(Self::script)?;
                base = Expr::Power(Box::new(base), Box::new(power));
            } else if self.sees('!') {
                self.at += 1;
                base = Expr::Call(MathFunction::Factorial, Box::new(base));
            } else if self.takes('%') {
                base = Expr::Percent(Box::new(base));
            } else if self.takes('°') {
                base = Expr::Degrees(Box::new(base));
            } else if self.takes('_') {
                let below = self.deeper(Self::script_text)?;
                base = match base {
                    Expr::Symbol(name) => Expr::Symbol(format!("{name}_{below}")),
                    Expr::Number(n) => Expr::Symbol(format!("{}_{below}", n.digits)),
                    _ => return None,
                };
            } else if self.takes('\'') {
                base = match base {
                    Expr::Symbol(name) => Expr::Symbol(format!("{name}'")),
                    other => other,
                };
            } else {
                return Some(base);
            }
        }
        None
    }

    /// Parses an exponent, or the base of a logarithm: a group in braces or a single token, perhaps with minus signs
    /// before it.
    pub(super) fn script(&mut self) -> Option<Expr> {
        if self.takes('-') {
            return Some(Expr::Negative(Box::new(self.deeper(Self::script)?)));
        }
        self.argument()
    }

    /// Reads a subscript as text, because it becomes a part of a symbol's name.
    fn script_text(&mut self) -> Option<String> {
        if !self.takes('{') {
            self.at += 1;
            return self.tokens.get(self.at - 1).map(written);
        }
        let (mut depth, mut text) = (1, String::new());
        while let Some(token) = self.tokens.get(self.at) {
            self.at += 1;
            depth += i32::from(*token == Token::Mark('{')) - i32::from(*token == Token::Mark('}'));
            if depth == 0 {
                return Some(text);
            }
            text += &written(token);
        }
        None
    }
}

/// Whether an expression is a set, tuple, interval, union, intersection or difference of sets; false for `None`.
fn is_set(e: Option<&Expr>) -> bool {
    matches!(e, Some(Expr::Tuple(..) | Expr::Set(_) | Expr::Union(_) | Expr::Difference(..) | Expr::Intersection(_)))
}

/// The number 0 as an expression.
fn zero() -> Expr {
    Expr::Number(Number::new("0"))
}

/// A token as text, much as it was written in the formula.
pub(super) fn written(token: &Token) -> String {
    match token {
        Token::Number(n) => n.clone(),
        Token::Letter(c) | Token::Mark(c) => c.to_string(),
        Token::Command(n) => format!("\\{n}"),
        Token::Text(t) | Token::Begin(t) | Token::End(t) => t.clone(),
        Token::Row => String::new(),
    }
}
