//! Parses products: factors with or without multiplication signs, divisions, mixed numbers and units.

use super::expr::Expr;
use super::lexer::Token;
use super::parser::{MAX_OPERATORS, Parser, one};

impl Parser<'_> {
    /// Parses factors with or without multiplication signs between them, divisions, mixed numbers and units.
    pub(super) fn product(&mut self) -> Option<Expr> {
        let mut factors = vec![self.factor()?];
        let mut divisions = 0;
        loop {
            if self.takes('*') || self.takes_command(&["cdot", "times", "ast", "bullet"]) {
                let factor = self.signed_factor()?;
                factors.push(factor);
            } else if self.takes('/') || self.takes(':') || self.takes_command(&["div"]) {
                divisions += 1;
                if divisions > MAX_OPERATORS {
                    return None;
                }
                let divisor = self.signed_factor()?;
                let product = one(std::mem::take(&mut factors), Expr::Product)?;
                factors.push(Expr::Quotient(Box::new(product), Box::new(divisor)));
            } else if let Some(Token::Text(text)) = self.peek() {
                // A unit is skipped with its power. If there are only symbols before, the text is a part of the answer
                // instead.
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
                // Two numbers side by side are not a product but an error.
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

    /// Parses a factor with the signs before it.
    pub(super) fn signed_factor(&mut self) -> Option<Expr> {
        if self.takes('-') {
            return Some(Expr::Negative(Box::new(self.deeper(Self::signed_factor)?)));
        }
        self.takes('+');
        self.factor()
    }

    /// Whether `factors` and the next tokens are a mixed number: a whole number before a fraction of two numbers.
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

    /// Whether a factor can begin with the next token.
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

    /// 1 if a bar `|` has been opened and not yet closed, or else 0.
    fn depth_of_bars(&self) -> usize {
        self.tokens[..self.at].iter().filter(|t| **t == Token::Mark('|')).count() % 2
    }
}
