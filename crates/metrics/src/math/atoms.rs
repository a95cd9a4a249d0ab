//! Parses the atoms of a formula (its smallest operands): numbers, symbols, brackets, commands and environments.

use super::expr::{Expr, Number};
use super::lexer::Token;
use super::parser::{Parser, one, set, written};
use super::value::MathFunction;

impl Parser<'_> {
    /// Parses the argument of a command: a group in braces, or a single token.
    pub(super) fn argument(&mut self) -> Option<Expr> {
        self.deeper(Self::atom)
    }

    /// Parses the two arguments of a command. In `\frac12` each argument is one digit.
    fn two_arguments(&mut self) -> Option<(Expr, Expr)> {
        if let Some(Token::Number(digits)) = self.peek() {
            let digits = digits.clone();
            self.at += 1;
            let number = |s: &str| Expr::Number(Number::new(s));
            if digits.len() > 1 && !digits.contains('.') {
                let (first, second) = digits.split_at(1);
                let (second, rest) = second.split_at(1);
                if !rest.is_empty() {
                    return None;
                }
                return Some((number(first), number(second)));
            }
            return Some((number(&digits), self.argument()?));
        }
        let first = self.argument()?;
        // `\frac{1}23` is read as 1/23, although LaTeX takes only the digit 2: 1/23 is what the author means.
        Some((first, self.argument()?))
    }

    /// Parses a number, symbol, text, bracketed expression, command or environment.
    pub(super) fn atom(&mut self) -> Option<Expr> {
        let token = self.peek()?.clone();
        self.at += 1;
        match token {
            Token::Number(digits) => Some(Expr::Number(Number::new(&digits))),
            Token::Letter('e') => Some(Expr::E),
            Token::Letter('i') => Some(Expr::I),
            Token::Letter(c) => Some(self.letter(c)),
            Token::Text(text) => {
                // An example is the text `Area` in `\text{Area} = 5`.
                Some(Expr::Text(text))
            }
            Token::Mark('(') => self.bracketed(false),
            Token::Mark('[') => self.bracketed(true),
            Token::Mark('{') => {
                let items = self.items()?;
                self.takes('}').then_some(())?;
                if items.is_empty() {
                    // An empty group of braces is skipped.
                    return if self.starts_factor() { self.atom() } else { None };
                }
                one(items, set)
            }
            Token::Mark('|') => {
                let inner = self.sum()?;
                self.takes('|').then_some(Expr::Call(MathFunction::Abs, Box::new(inner)))
            }
            Token::Mark('-') => Some(Expr::Negative(Box::new(self.factor()?))),
            Token::Mark('+') => self.factor(),
            Token::Begin(name) => self.environment(&name),
            Token::Command(name) => self.command(&name),
            _ => None,
        }
    }

    /// Makes a symbol of a letter. Function notation such as `f(x)`, with a single symbol or number in brackets, is one
    /// symbol too.
    fn letter(&mut self, c: char) -> Expr {
        if matches!(c, 'f' | 'g' | 'h' | 'F' | 'G' | 'H' | 'P' | 'Q' | 'W')
            && let [Token::Mark('('), inner @ (Token::Letter(_) | Token::Number(_)), Token::Mark(')'), ..] =
                &self.tokens[self.at..]
        {
            self.at += 3;
            return Expr::Symbol(format!("{c}({})", written(inner)));
        }
        Expr::Symbol(c.to_string())
    }

    /// Parses the members within brackets, which are separated by `,` or `;`.
    fn items(&mut self) -> Option<Vec<Expr>> {
        let mut items = self.list()?;
        while self.takes(';') {
            items.extend(self.list()?);
        }
        Some(items)
    }

    /// Parses a bracketed expression, tuple or interval after its opening bracket. `closed` says whether this bracket
    /// is `[`.
    fn bracketed(&mut self, closed: bool) -> Option<Expr> {
        let mut items = self.items()?;
        let closes = if self.takes(')') {
            false
        } else if self.takes(']') {
            true
        } else {
            return None;
        };
        if items.len() == 1 && closed == closes {
            items.pop()
        } else {
            (!items.is_empty()).then_some(Expr::Tuple(closed, items, closes))
        }
    }

    /// Parses an environment after its `\begin`. The result is a matrix or, for an aligned formula, its last cell,
    /// which holds the formula's result. `name` is the name of the environment.
    fn environment(&mut self, name: &str) -> Option<Expr> {
        let mut rows = vec![Vec::new()];
        loop {
            if self.sees('&') || self.peek() == Some(&Token::Row) {
                let ends_row = !self.sees('&');
                self.at += 1;
                if ends_row {
                    rows.push(Vec::new());
                }
                continue;
            }
            if let Some(Token::End(_)) = self.peek() {
                self.at += 1;
                break;
            }
            self.peek()?;
            let cell = one(self.list()?, set)?;
            rows.last_mut()?.push(cell);
        }
        rows.retain(|row| !row.is_empty());
        match name {
            "pmatrix" | "bmatrix" | "matrix" | "Bmatrix" | "array" | "smallmatrix" => Some(Expr::Matrix(rows)),
            "vmatrix" => None,
            _ => rows.pop()?.pop(),
        }
    }

    /// Parses what follows a command other than the functions in [`Self::command`], such as `\frac`, `\sqrt` or `\pi`.
    pub(super) fn other_command(&mut self, name: &str) -> Option<Expr> {
        match name {
            "frac" | "dfrac" | "tfrac" | "cfrac" => {
                let (above, below) = self.deeper(Self::two_arguments)?;
                Some(Expr::Quotient(Box::new(above), Box::new(below)))
            }
            "binom" | "dbinom" | "tbinom" => {
                let (above, below) = self.deeper(Self::two_arguments)?;
                Some(Expr::Binomial(Box::new(above), Box::new(below)))
            }
            "sqrt" => {
                let mut index = Expr::Number(Number::new("2"));
                if self.takes('[') {
                    index = self.deeper(Self::sum)?;
                    self.takes(']').then_some(())?;
                }
                let argument = self.argument()?;
                Some(Expr::Root(Box::new(index), Box::new(argument)))
            }
            "log" | "lg" => {
                let mut base = Expr::Number(Number::new("10"));
                if name == "log" && !self.sees('_') {
                    base = Expr::E;
                }
                if self.takes('_') {
                    base = self.deeper(Self::script)?;
                }
                let argument = self.function_argument()?;
                Some(Expr::Log(Box::new(base), Box::new(argument)))
            }
            "exp" => {
                let argument = self.function_argument()?;
                Some(Expr::Power(Box::new(Expr::E), Box::new(argument)))
            }
            "pi" => Some(Expr::Pi),
            "infty" => Some(Expr::Infinity),
            "imath" => Some(Expr::I),
            "{" | "lbrace" => {
                let items = self.items()?;
                self.takes_command(&["}", "rbrace"]).then(|| set(items))
            }
            "emptyset" | "varnothing" => Some(Expr::Set(Vec::new())),
            "lvert" | "|" | "vert" => {
                let inner = self.sum()?;
                self.takes_command(&["rvert", "|", "vert"]).then_some(Expr::Call(MathFunction::Abs, Box::new(inner)))
            }
            "lfloor" => {
                let inner = self.sum()?;
                self.takes_command(&["rfloor"]).then_some(Expr::Call(MathFunction::Floor, Box::new(inner)))
            }
            "lceil" => {
                let inner = self.sum()?;
                self.takes_command(&["rceil"]).then_some(Expr::Call(MathFunction::Ceil, Box::new(inner)))
            }
            "langle" => {
                let items = self.items()?;
                self.takes_command(&["rangle"]).then_some(Expr::Tuple(false, items, false))
            }
            "coth" | "sech" | "csch" | "arcsec" | "arccsc" | "arccot" | "cbrt" | "log2" | "log10" => {
                self.derived_function(name)
            }
            "R" | "Reals" | "reals" => self.real_numbers(),
            "Z" | "N" | "Q" | "C" => {
                let script = self.set_script().unwrap_or_default();
                Some(Expr::Symbol(format!("\\{name}{script}")))
            }
            "sum" | "prod" | "int" | "lim" | "max" | "min" | "det" => None,
            // Any other command is taken as a symbol, such as a Greek letter.
            _ => Some(Expr::Symbol(format!("\\{name}"))),
        }
    }
}
