//! Parses products: factors with or without multiplication signs, divisions, mixed numbers and units.

use super::expr::{Expr, Number};
use super::lexer::Token;
use super::parser::{MAX_OPERATORS, Parser, one};

impl Parser<'_> {
    /// Parses factors with or without multiplication signs between them, divisions, mixed numbers and units.
    pub(super) fn product(&mut self) -> Option<Expr> {
        let mut factors = vec![self.factor()?];
        let mut divisions = 0;
        loop {
            if self.takes('*') || self.takes_command(&["cdot", "times", "ast", "bullet"]) {
                if !self.takes_unit(&mut factors)? {
                    let factor = self.signed_factor()?;
                    factors.push(factor);
                }
            } else if self.takes('/') || self.takes(':') || self.takes_command(&["div"]) {
                divisions += 1;
                if divisions > MAX_OPERATORS {
                    return None;
                }
                if self.takes_unit(&mut factors)? {
                    continue;
                }
                let divisor = self.signed_factor()?;
                let product = one(std::mem::take(&mut factors), Expr::Product)?;
                factors.push(Expr::Quotient(Box::new(product), Box::new(divisor)));
            } else if self.takes_unit(&mut factors)? {
            } else if self.starts_factor() {
                self.next_to(&mut factors)?;
            } else {
                return one(factors, Expr::Product);
            }
        }
    }

    /// Skips the unit that comes next, with its power. Two kinds of text are not skipped: if `factors` holds nothing
    /// but symbols, the text is a part of the answer and is added to it; and a unit of degrees makes the last factor an
    /// angle. Returns false if the next token is no text; `None` if the power, or what follows a `/`, is invalid.
    fn takes_unit(&mut self, factors: &mut Vec<Expr>) -> Option<bool> {
        let Some(Token::Text(text)) = self.peek() else { return Some(false) };
        let text = text.clone();
        self.at += 1;
        if self.takes('^') {
            self.deeper(Self::script)?;
        }
        if self.takes('/') {
            self.factor()?;
        }
        if factors.iter().all(|f| matches!(f, Expr::Symbol(_))) {
            factors.push(Expr::Text(text));
        } else if is_degree(&text) {
            let angle = factors.pop()?;
            factors.push(Expr::Degrees(Box::new(angle)));
        }
        Some(true)
    }

    /// Parses a factor that follows the previous one without a sign between them, and adds it to `factors`. A fraction
    /// behind a whole number makes a mixed number, as in `2 1/3`. `None` if the factor is invalid.
    fn next_to(&mut self, factors: &mut Vec<Expr>) -> Option<()> {
        if matches!(self.peek(), Some(Token::Number(_)))
            && matches!(factors.last(), Some(Expr::Number(_) | Expr::Degrees(_)))
        {
            // Two numbers side by side are not a product but an error, except in a mixed number such as `2 1/3`.
            let fraction = self.proper_fraction()?;
            let is_whole = matches!(factors.last(), Some(Expr::Number(n)) if !n.rounded);
            let whole = factors.pop().filter(|_| is_whole)?;
            factors.push(Expr::Sum(vec![whole, fraction]));
            return Some(());
        }
        let is_mixed = self.mixed(factors);
        let factor = self.factor()?;
        if is_mixed {
            let whole = factors.pop()?;
            factors.push(Expr::Sum(vec![whole, factor]));
        } else if !matches!(factor, Expr::Text(_)) || factors.iter().all(|f| matches!(f, Expr::Symbol(_))) {
            // A unit in a group of its own, such as `{\rm cm}`, is skipped.
            factors.push(factor);
        }
        Some(())
    }

    /// Consumes a fraction of two whole numbers below 1, such as `1/3`; `None` if no such fraction follows, or if it is
    /// a part of a longer expression.
    fn proper_fraction(&mut self) -> Option<Expr> {
        let [Token::Number(above), Token::Mark('/'), Token::Number(below), rest @ ..] = &self.tokens[self.at..] else {
            return None;
        };
        let whole = |digits: &str| digits.parse::<u32>().ok();
        let is_proper = whole(above)? < whole(below)?;
        let goes_on = matches!(rest.first(), Some(Token::Mark('/' | '^' | '_' | '!') | Token::Number(_)));
        if !is_proper || goes_on {
            return None;
        }
        let number = |digits: &str| Box::new(Expr::Number(Number::new(digits)));
        let fraction = Expr::Quotient(number(above), number(below));
        self.at += 3;
        Some(fraction)
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
                    | "setminus"
                    | "smallsetminus"
                    | "backslash"
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

/// Whether a text behind a number is the unit of degrees, such as `deg`.
pub(super) fn is_degree(text: &str) -> bool {
    matches!(text, "degree" | "degrees" | "deg")
}
