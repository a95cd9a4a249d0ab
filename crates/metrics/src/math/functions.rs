//! Parses functions with their arguments.

use super::expr::{Expr, Number};
use super::lexer::Token;
use super::parser::{Parser, one};
use super::product::is_degree;
use super::value::MathFunction;

impl Parser<'_> {
    /// Parses a function such as `\sin` with its argument, or another command.
    pub(super) fn command(&mut self, name: &str) -> Option<Expr> {
        let function = match name {
            "sin" => MathFunction::Sin,
            "cos" => MathFunction::Cos,
            "tan" | "tg" => MathFunction::Tan,
            "cot" | "ctg" => MathFunction::Cot,
            "sec" => MathFunction::Sec,
            "csc" => MathFunction::Csc,
            "arcsin" => MathFunction::Arcsin,
            "arccos" => MathFunction::Arccos,
            "arctan" | "arctg" => MathFunction::Arctan,
            "sinh" => MathFunction::Sinh,
            "cosh" => MathFunction::Cosh,
            "tanh" => MathFunction::Tanh,
            "arsinh" | "arcsinh" => MathFunction::Arsinh,
            "arcosh" | "arccosh" => MathFunction::Arcosh,
            "artanh" | "arctanh" => MathFunction::Artanh,
            "abs" => MathFunction::Abs,
            "floor" => MathFunction::Floor,
            "ceil" => MathFunction::Ceil,
            "ln" => MathFunction::Ln,
            _ => return self.other_command(name),
        };
        if self.takes('^') {
            let power = self.deeper(Self::script)?;
            let value = Expr::Call(function, Box::new(self.function_argument()?));
            if power == Expr::Negative(Box::new(Expr::Number(Number::new("1")))) {
                return match function {
                    MathFunction::Sin => inverse(MathFunction::Arcsin, value),
                    MathFunction::Cos => inverse(MathFunction::Arccos, value),
                    MathFunction::Tan => inverse(MathFunction::Arctan, value),
                    MathFunction::Sinh => inverse(MathFunction::Arsinh, value),
                    MathFunction::Cosh => inverse(MathFunction::Arcosh, value),
                    MathFunction::Tanh => inverse(MathFunction::Artanh, value),
                    _ => None,
                };
            }
            return Some(Expr::Power(Box::new(value), Box::new(power)));
        }
        Some(Expr::Call(function, Box::new(self.function_argument()?)))
    }

    /// Parses the argument of a function. Without brackets, the argument ends before the next operator or function; only
    /// an angle such as `\pi/6` goes on behind the division.
    pub(super) fn function_argument(&mut self) -> Option<Expr> {
        if self.sees('(') || self.sees('{') || self.sees('[') {
            return self.factor();
        }
        let mut factors = vec![self.signed_factor()?];
        while matches!(self.peek(), Some(Token::Number(_) | Token::Letter(_)))
            || self.sees_command(&["pi", "frac", "theta"])
        {
            factors.push(self.factor()?);
        }
        if let Some(Token::Text(unit)) = self.peek()
            && is_degree(unit)
        {
            self.at += 1;
            return Some(Expr::Degrees(Box::new(one(factors, Expr::Product)?)));
        }
        let is_angle = matches!(&factors[..], [Expr::Pi] | [Expr::Number(_), Expr::Pi]);
        if is_angle && self.sees('/') && matches!(self.tokens.get(self.at + 1), Some(Token::Number(_))) {
            self.at += 1;
            let below = self.factor()?;
            return Some(Expr::Quotient(Box::new(one(factors, Expr::Product)?), Box::new(below)));
        }
        one(factors, Expr::Product)
    }

    /// Parses a function that is defined by another one, such as the hyperbolic cotangent; `None` for other commands.
    pub(super) fn derived_function(&mut self, name: &str) -> Option<Expr> {
        let number = |n: &str| Expr::Number(Number::new(n));
        let inverted = |e: Expr| Expr::Quotient(Box::new(number("1")), Box::new(e));
        let call = |f: MathFunction, e: Expr| Expr::Call(f, Box::new(e));
        let argument = self.function_argument()?;
        Some(match name {
            "coth" => inverted(call(MathFunction::Tanh, argument)),
            "sech" => inverted(call(MathFunction::Cosh, argument)),
            "csch" => inverted(call(MathFunction::Sinh, argument)),
            "arcsec" => call(MathFunction::Arccos, inverted(argument)),
            "arccsc" => call(MathFunction::Arcsin, inverted(argument)),
            "arccot" => {
                let quarter_turn = Expr::Quotient(Box::new(Expr::Pi), Box::new(number("2")));
                Expr::Sum(vec![quarter_turn, Expr::Negative(Box::new(call(MathFunction::Arctan, argument)))])
            }
            "cbrt" => Expr::Root(Box::new(number("3")), Box::new(argument)),
            "log2" => Expr::Log(Box::new(number("2")), Box::new(argument)),
            "log10" => Expr::Log(Box::new(number("10")), Box::new(argument)),
            _ => return None,
        })
    }
}

/// Replaces the function in a call by `function`, with the same argument: `\sin^{-1} x` becomes `\arcsin x`.
fn inverse(function: MathFunction, value: Expr) -> Option<Expr> {
    match value {
        Expr::Call(_, argument) => Some(Expr::Call(function, argument)),
        _ => None,
    }
}
