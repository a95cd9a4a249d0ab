//! Parses the signs of sets of numbers, such as `\mathbb{R}`.

use super::expr::{Expr, Number};
use super::lexer::Token;
use super::parser::{Parser, written};

impl Parser<'_> {
    /// Parses what follows the sign of the real numbers: the set itself, or with a script such as `^+` or `_{\ge 0}` a
    /// part of it.
    pub(super) fn real_numbers(&mut self) -> Option<Expr> {
        let zero = || Expr::Number(Number::new("0"));
        let (below, above) = (|| Expr::Negative(Box::new(Expr::Infinity)), || Expr::Infinity);
        let all = Expr::Tuple(false, vec![below(), above()], false);
        let Some(script) = self.set_script() else { return Some(all) };
        Some(match script.as_str() {
            "+" | ">0" => Expr::Tuple(false, vec![zero(), above()], false),
            "-" | "<0" => Expr::Tuple(false, vec![below(), zero()], false),
            "\\ge0" | "\\geq0" | "\\geqslant0" => Expr::Tuple(true, vec![zero(), above()], false),
            "\\le0" | "\\leq0" | "\\leqslant0" => Expr::Tuple(false, vec![below(), zero()], true),
            "*" | "\\times" | "\\ne0" | "\\neq0" => Expr::Difference(Box::new(all), Box::new(Expr::Set(vec![zero()]))),
            _ => return None,
        })
    }

    /// Reads the script after the sign of a set of numbers, such as the `+` of `^+` and of `_{+}`. `None`, without
    /// moving, if no such script follows.
    pub(super) fn set_script(&mut self) -> Option<String> {
        let is_sign = |t: &Token| !matches!(t, Token::Number(_) | Token::Letter(_));
        let (script, length) = match &self.tokens[self.at..] {
            [Token::Mark('^' | '_'), sign @ Token::Mark('+' | '-' | '*'), ..] => (written(sign), 2),
            [Token::Mark('^' | '_'), Token::Mark('{'), sign, Token::Mark('}'), ..] if is_sign(sign) => {
                (written(sign), 4)
            }
            [Token::Mark('^' | '_'), Token::Mark('{'), sign, zero @ Token::Number(_), Token::Mark('}'), ..]
                if is_sign(sign) =>
            {
                (written(sign) + &written(zero), 5)
            }
            _ => return None,
        };
        self.at += length;
        Some(script)
    }
}
