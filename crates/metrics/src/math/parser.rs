//! From tokens to an answer.

use super::expr::{Expr, Number, Relation};
use super::lexer::{Token, is, tokens};
use super::value::MathFunction;

/// Longest formula that is read, in bytes, and how deep its parts may nest.
const LONGEST: usize = 4000;
const DEEPEST: usize = 60;
/// Most signs behind a factor, and divisions in a product.
const MOST_SIGNS: usize = 12;

/// The answer that a formula is; nothing where it is none.
pub fn parse(text: &str) -> Option<Expr> {
    if text.len() > LONGEST {
        return None;
    }
    let tokens = tokens(text);
    let mut parser = Parser { tokens: &tokens, at: 0, depth: 0 };
    let answer = parser.answer()?;
    (parser.at == tokens.len()).then_some(answer)
}

pub(super) struct Parser<'a> {
    pub(super) tokens: &'a [Token],
    pub(super) at: usize,
    depth: usize,
}

pub(super) fn one(mut items: Vec<Expr>, many: impl FnOnce(Vec<Expr>) -> Expr) -> Option<Expr> {
    match items.len() {
        0 => None,
        1 => items.pop(),
        _ => Some(many(items)),
    }
}

/// Members of a set; sets among them are dissolved.
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
    pub(super) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    pub(super) fn sees(&self, mark: char) -> bool {
        self.peek() == Some(&Token::Mark(mark))
    }

    pub(super) fn takes(&mut self, mark: char) -> bool {
        let sees = self.sees(mark);
        self.at += usize::from(sees);
        sees
    }

    pub(super) fn sees_command(&self, names: &[&str]) -> bool {
        self.peek().is_some_and(|t| names.iter().any(|name| is(t, name)))
    }

    pub(super) fn takes_command(&mut self, names: &[&str]) -> bool {
        let sees = self.sees_command(names);
        self.at += usize::from(sees);
        sees
    }

    /// Deeper by one; nothing when that is too deep.
    pub(super) fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if self.depth >= DEEPEST {
            return None;
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// Groups apart by `;`, whose members are apart by `,`, `and`, `or`.
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

    fn ends(&self) -> bool {
        match self.peek() {
            None | Some(Token::Mark(')' | ']' | '}' | ';' | '&') | Token::End(_) | Token::Row) => true,
            Some(token) => is(token, "}"),
        }
    }

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
        // `\not=` was read before.
        Some(relation)
    }

    fn chain(&mut self) -> Option<Expr> {
        let approximated = |p: &Self| p.sees_command(&["approx", "simeq"]);
        // `= 5`, as in a table of equations.
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
                // What is in a set is told by the set.
                let of = self.union()?;
                sides = vec![of];
                relations.clear();
                continue;
            }
            // What follows an approximation says the same with less.
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

    fn union(&mut self) -> Option<Expr> {
        let mut parts = vec![self.sum()?];
        while self.takes_command(&["cup"]) || (is_set(parts.last()) && self.takes_letter('U')) {
            parts.push(self.sum()?);
        }
        one(parts, Expr::Union)
    }

    fn takes_letter(&mut self, letter: char) -> bool {
        let sees = self.peek() == Some(&Token::Letter(letter));
        self.at += usize::from(sees);
        sees
    }

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
                let before = one(std::mem::take(&mut terms), Expr::Sum).unwrap_or_else(|| zero().clone());
                terms.push(Expr::PlusMinus(Box::new(before), Box::new(term), plus));
            } else {
                terms.push(term);
            }
            if !(self.sees('+') || self.sees('-') || self.sees_command(&["pm", "mp"])) {
                return one(terms, Expr::Sum);
            }
        }
    }

    fn product(&mut self) -> Option<Expr> {
        let mut factors = vec![self.factor()?];
        let mut divisions = 0;
        loop {
            if self.takes('*') || self.takes_command(&["cdot", "times", "ast", "bullet"]) {
                let factor = self.signed_factor()?;
                factors.push(factor);
            } else if self.takes('/') || self.takes(':') || self.takes_command(&["div"]) {
                divisions += 1;
                if divisions > MOST_SIGNS {
                    return None;
                }
                let divisor = self.signed_factor()?;
                let product = one(std::mem::take(&mut factors), Expr::Product)?;
                factors.push(Expr::Quotient(Box::new(product), Box::new(divisor)));
            } else if let Some(Token::Text(text)) = self.peek() {
                // A unit, with its power; not where the text is all there is.
                let text = text.clone();
                self.at += 1;
                if self.takes('^') {
                    self.factor()?;
                }
                if self.takes('/') {
                    self.factor()?;
                }
                if factors.iter().all(|f| matches!(f, Expr::Symbol(_))) {
                    factors.push(Expr::Text(text));
                }
            } else if self.starts_factor() {
                // Two numbers side by side are no product.
                if matches!(factors.last(), Some(Expr::Number(_))) && matches!(self.peek(), Some(Token::Number(_))) {
                    return None;
                }
                let mixed = self.mixed(&factors);
                let factor = self.factor()?;
                if mixed {
                    let whole = factors.pop()?;
                    factors.push(Expr::Sum(vec![whole, factor]));
                } else {
                    factors.push(factor);
                }
            } else {
                return one(factors, Expr::Product);
            }
        }
    }

    pub(super) fn signed_factor(&mut self) -> Option<Expr> {
        if self.takes('-') {
            return Some(Expr::Negative(Box::new(self.deeper(Self::signed_factor)?)));
        }
        self.takes('+');
        self.factor()
    }

    /// Whether a whole number stands before a fraction of digits: a mixed number.
    fn mixed(&self, factors: &[Expr]) -> bool {
        let whole = matches!(factors, [Expr::Number(n)] if !n.digits.contains('.'));
        let fraction = self.sees_command(&["frac", "dfrac", "tfrac", "cfrac"]);
        let digits = |from: usize| match &self.tokens[self.at + from..] {
            [Token::Mark('{'), Token::Number(_), Token::Mark('}'), ..] => Some(3),
            [Token::Number(_), ..] => Some(1),
            _ => None,
        };
        let glued = matches!(self.tokens.get(self.at + 1), Some(Token::Number(d)) if d.len() == 2 && !d.contains('.'));
        whole
            && fraction
            && (glued || (self.at + 1 < self.tokens.len() && digits(1).is_some_and(|n| digits(1 + n).is_some())))
    }

    pub(super) fn starts_factor(&self) -> bool {
        match self.peek() {
            Some(Token::Number(_) | Token::Letter(_) | Token::Begin(_) | Token::Mark('(' | '[' | '{')) => true,
            Some(Token::Mark('|')) => self.depth_of_bars() == 0,
            Some(Token::Command(name)) => !matches!(
                name.as_str(),
                "and"
                    | "or"
                    | "in"
                    | "cup"
                    | "cap"
                    | "pm"
                    | "mp"
                    | "cdot"
                    | "times"
                    | "div"
                    | "le"
                    | "leq"
                    | "leqslant"
                    | "ge"
                    | "geq"
                    | "geqslant"
                    | "lt"
                    | "gt"
                    | "ne"
                    | "neq"
                    | "approx"
                    | "equiv"
                    | "simeq"
                    | "}"
                    | "rbrace"
                    | "rvert"
                    | "rfloor"
                    | "rceil"
                    | "rangle"
                    | "|"
            ),
            _ => false,
        }
    }

    /// Bars that are open before here: the next one closes, then.
    fn depth_of_bars(&self) -> usize {
        self.tokens[..self.at].iter().filter(|t| **t == Token::Mark('|')).count() % 2
    }

    pub(super) fn factor(&mut self) -> Option<Expr> {
        let mut base = self.deeper(Self::atom)?;
        // Signs behind it wrap it once more each: as deep as nesting.
        for _ in 0..MOST_SIGNS {
            if self.takes('^') {
                let power = self.deeper(Self::script)?;
                base = Expr::Power(Box::new(base), Box::new(power));
            } else if self.sees('!') {
                self.at += 1;
                base = Expr::Call(MathFunction::Factorial, Box::new(base));
            } else if self.takes('%') {
                base = Expr::Percent(Box::new(base));
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

    /// An exponent: a braced formula, or one token.
    pub(super) fn script(&mut self) -> Option<Expr> {
        if self.takes('-') {
            return Some(Expr::Negative(Box::new(self.deeper(Self::script)?)));
        }
        self.argument()
    }

    /// A subscript as it is written.
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

fn is_set(e: Option<&Expr>) -> bool {
    matches!(e, Some(Expr::Tuple(..) | Expr::Set(_) | Expr::Union(_)))
}

fn zero() -> Expr {
    Expr::Number(Number::new("0"))
}

pub(super) fn written(token: &Token) -> String {
    match token {
        Token::Number(n) => n.clone(),
        Token::Letter(c) | Token::Mark(c) => c.to_string(),
        Token::Command(n) => format!("\\{n}"),
        Token::Text(t) | Token::Begin(t) | Token::End(t) => t.clone(),
        Token::Row => String::new(),
    }
}
