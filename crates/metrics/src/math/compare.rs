//! Compares two parsed answers.

// The comparisons of floating-point numbers are exact because the numbers were rounded before.
#![allow(clippy::float_cmp)]

use std::borrow::Cow;

use super::exact;
use super::expr::{Expr, Point, Relation, SAMPLES};
use super::figures::{differ_in_sign_only, names_differ};
use super::members::same_members;
use super::rewrite::{branches, equation, has_degrees, in_radians, only_symbols, renamed, shortened, without_degrees};
use super::value::{Complex, MathValue};

/// The rules by which two answers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MathRules {
    /// Number of decimals after rounding. If one of two numbers is written with a decimal point, both are rounded
    /// before they are compared.
    pub decimal_places: i32,
    /// Whether symbols must have the same names. If not, the symbols of the reply are renamed to those of the
    /// reference, in alphabetical order.
    pub strict: bool,
    /// Whether a relation in the reply, such as `x > 1`, may equal a set in the reference, such as `(1, \infty)`. A set
    /// in the reply may always equal a relation in the reference.
    pub sets_for_relations: bool,
}

impl Default for MathRules {
    fn default() -> Self {
        Self { decimal_places: 6, strict: true, sets_for_relations: false }
    }
}

/// Maximum number of members in sets, tuples and matrices; larger ones equal only identical ones.
const MAX_MEMBERS: usize = 200;

impl MathRules {
    /// Whether the answer in a reply equals the answer in the reference.
    pub fn equal(self, reference: &Expr, reply: &Expr) -> bool {
        let (reference, reply) = (branches(&named_set(reference)), branches(&named_set(reply)));
        let renamed = if self.strict { None } else { renamed(&reply, &reference) };
        let reply = renamed.as_ref().unwrap_or(&reply);
        if has_degrees(&reference) || has_degrees(reply) {
            // The angle `30^\circ` equals both the number 30 and π/6.
            return self.same(&without_degrees(&reference), &without_degrees(reply))
                || self.same(&in_radians(&reference), &in_radians(reply));
        }
        self.same(&reference, reply)
    }

    fn same(self, reference: &Expr, reply: &Expr) -> bool {
        if reference == reply {
            return true;
        }
        let (reference, reply) = (shortened(reference), shortened(reply));
        // An equation such as `x = 5` equals the answer `5`.
        let (reference, reply) = match (equation(&reference), equation(&reply)) {
            (None, Some(sides)) => (reference.clone(), sides[sides.len() - 1].clone()),
            (Some(sides), None) if only_symbols(&sides[0]) => (sides[sides.len() - 1].clone(), reply.clone()),
            _ => (reference, reply),
        };
        if reference == reply {
            return true;
        }
        match (&reference, &reply) {
            (Expr::Chain(a, r), Expr::Chain(b, s)) => self.same_relations((a, r), (b, s)),
            (Expr::Chain(..), other) if is_set(other) => same_members(&reference, other),
            (other, Expr::Chain(..)) if is_set(other) && self.sets_for_relations => same_members(&reply, other),
            (Expr::Chain(..), _) | (_, Expr::Chain(..)) => false,
            (a, b) if is_set(a) || is_set(b) => self.same_sets(a, b),
            (a, b) => match (text(a), text(b)) {
                (Some((a, a_is_text)), Some((b, b_is_text))) if a_is_text || b_is_text => a == b,
                _ => self.same_values(a, b),
            },
        }
    }

    /// Whether two chains of relations are equal, also if they are written in opposite directions. A chain has sides
    /// (`a`, `b`) and the relations between them (`r`, `s`).
    fn same_relations(self, (a, r): (&[Expr], &[Relation]), (b, s): (&[Expr], &[Relation])) -> bool {
        if r.len() != s.len() {
            return false;
        }
        let n = r.len();
        let same_direction = || (0..n).all(|i| self.same_relation((&a[i], r[i], &a[i + 1]), (&b[i], s[i], &b[i + 1])));
        let opposite_direction = || {
            (0..n).all(|i| {
                let j = n - 1 - i;
                self.same_relation((&a[i], r[i], &a[i + 1]), (&b[j + 1], s[j].flipped(), &b[j]))
            })
        };
        same_direction() || opposite_direction()
    }

    /// Whether the relation `a r b` is equivalent to the relation `c s d`.
    fn same_relation(self, (a, r, b): (&Expr, Relation, &Expr), (c, s, d): (&Expr, Relation, &Expr)) -> bool {
        if r == s && self.same(a, c) && self.same(b, d) {
            return true;
        }
        if [(a, c), (b, d), (a, d), (b, c)].into_iter().any(|(x, y)| names_differ(x, y)) {
            return false;
        }
        // The relations are equivalent if a − b and c − d are proportional; a negative factor reverses an inequality.
        let difference = |x: &Expr, y: &Expr, i: u64| {
            let (x, y) = (x.value(Point::Sample(i))?.scalar()?, y.value(Point::Sample(i))?.scalar()?);
            Some(x - y).filter(|z| z.is_finite())
        };
        let mut factor: Option<Complex> = None;
        let mut compared = 0;
        for i in 0..SAMPLES {
            let (Some(x), Some(y)) = (difference(a, b, i), difference(c, d, i)) else { continue };
            if x.abs() < 1e-12 || y.abs() < 1e-12 {
                return false;
            }
            let ratio = x / y;
            if factor.is_some_and(|f| (f - ratio).abs() > 1e-7 * f.abs()) {
                return false;
            }
            factor = Some(ratio);
            compared += 1;
        }
        let has_symbols = !(a.symbols().is_empty() && b.symbols().is_empty());
        match factor {
            Some(f) if compared > 1 && has_symbols && f.im.abs() < 1e-9 => match r {
                Relation::Equal | Relation::NotEqual => r == s,
                _ => {
                    if f.re > 0.0 {
                        r == s
                    } else {
                        r == s.flipped()
                    }
                }
            },
            _ => false,
        }
    }

    /// Whether two sets, tuples, intervals or unions are equal.
    fn same_sets(self, a: &Expr, b: &Expr) -> bool {
        match (a, b) {
            (Expr::Tuple(left, x, right), Expr::Tuple(other_left, y, other_right)) => {
                let same_closure = x.len() != 2 || (left == other_left && right == other_right);
                same_closure && self.in_order(x, y)
            }
            (Expr::Set(x), Expr::Set(y)) => self.in_any_order(x, y),
            // `{1, 3}` may stand for `(1, 3)` if the order is the same.
            (Expr::Tuple(false, x, false), Expr::Set(y)) | (Expr::Set(x), Expr::Tuple(false, y, false)) => {
                (x.len() > 1 && self.in_order(x, y))
                    || matches!((a, b), (_, Expr::Tuple(..)) if self.in_any_order(x, std::slice::from_ref(b)))
                    || matches!((a, b), (Expr::Tuple(..), _) if self.in_any_order(std::slice::from_ref(a), y))
            }
            (Expr::Union(x), Expr::Union(y)) if self.in_any_order(x, y) => true,
            (Expr::Intersection(x), Expr::Intersection(y)) if self.in_any_order(x, y) => true,
            (Expr::Difference(x, y), Expr::Difference(z, w)) if self.same(x, z) && self.same(y, w) => true,
            (Expr::Union(_) | Expr::Intersection(_) | Expr::Difference(..), _)
            | (_, Expr::Union(_) | Expr::Intersection(_) | Expr::Difference(..)) => same_members(a, b),
            (Expr::Set(x), other) => !x.is_empty() && x.len() <= MAX_MEMBERS && x.iter().all(|x| self.same(x, other)),
            (other, Expr::Set(y)) => !y.is_empty() && y.len() <= MAX_MEMBERS && y.iter().all(|y| self.same(other, y)),
            _ => false,
        }
    }

    /// Whether two lists have equal members at the same positions.
    fn in_order(self, a: &[Expr], b: &[Expr]) -> bool {
        a.len() == b.len() && a.len() <= MAX_MEMBERS && a.iter().zip(b).all(|(a, b)| self.same(a, b))
    }

    /// Whether two lists are equal as sets: in any order and without duplicates.
    fn in_any_order(self, a: &[Expr], b: &[Expr]) -> bool {
        if a.len() > MAX_MEMBERS || b.len() > MAX_MEMBERS {
            return false;
        }
        let distinct = |members: &[Expr]| -> Vec<Expr> {
            let mut kept: Vec<Expr> = Vec::new();
            for e in members {
                if !kept.iter().any(|k| self.same(k, e)) {
                    kept.push(e.clone());
                }
            }
            kept
        };
        let (a, mut b) = (distinct(a), distinct(b));
        a.len() == b.len()
            && a.iter().all(|x| match b.iter().position(|y| self.same(x, y)) {
                Some(index) => {
                    b.swap_remove(index);
                    true
                }
                None => false,
            })
    }

    /// Whether two numbers, matrices or other expressions have equal values. Values of expressions with symbols are
    /// compared at [`SAMPLES`] points.
    fn same_values(self, a: &Expr, b: &Expr) -> bool {
        if let (Some(x), Some(y)) = (whole(a), whole(b)) {
            return x == y;
        }
        if let (Expr::Matrix(x), Expr::Matrix(y)) = (a, b) {
            let rows = x.len() == y.len() && x.len() <= MAX_MEMBERS;
            if rows && x.iter().zip(y).all(|(x, y)| self.in_order(x, y)) {
                return true;
            }
        }
        if names_differ(a, b) {
            return false;
        }
        if differ_in_sign_only(a, b) {
            return true;
        }
        let rounded = a.is_rounded() || b.is_rounded();
        if let Some(same) = (!rounded).then(|| exact::same(a, b)).flatten() {
            return same;
        }
        if a.symbols().is_empty() && b.symbols().is_empty() {
            let at = Point::Sample(0);
            let (Some(x), Some(y)) = (a.value(at), b.value(at)) else { return false };
            let rounded = [a, b].into_iter().any(|e| is_number(e) && e.is_rounded());
            let slack = slack(a, at).max(slack(b, at));
            let infinite = [infinity(a), infinity(b)];
            return alike(&x, &y, |x, y| match (x.is_finite() && y.is_finite(), rounded) {
                // The values of numbers that overflow are unknown; only infinities that are written as such are equal.
                (false, _) => infinite[0].is_some() && infinite[0] == infinite[1],
                (true, true) => self.rounds_alike(x, y),
                (true, false) => close(x, y, 1e-12, 1e-14 * slack),
            });
        }
        let mut compared = 0;
        for sample in 0..SAMPLES {
            let at = Point::Sample(sample);
            let (Some(x), Some(y)) = (a.value(at), b.value(at)) else { return false };
            if !x.0.iter().flatten().chain(y.0.iter().flatten()).all(|z| z.is_finite()) {
                continue;
            }
            let slack = 1e-12 * slack(a, at).max(slack(b, at));
            if !alike(&x, &y, |x, y| close(x, y, 1e-9, slack)) {
                return false;
            }
            compared += 1;
        }
        compared > 1
    }

    /// Whether two numbers are equal after rounding to [`Self::decimal_places`] decimals.
    fn rounds_alike(self, x: Complex, y: Complex) -> bool {
        // A number that is not zero does not equal zero, even if it is rounded to zero.
        if (x.abs() == 0.0) != (y.abs() == 0.0) {
            return false;
        }
        let scale = 10f64.powi(self.decimal_places);
        // Rounding must not leave fewer than two digits of a small number.
        let tiny = x.abs().min(y.abs()) * scale < 10.0;
        if tiny && !close(x, y, 1e-6, 0.0) {
            return false;
        }
        let part =
            |x: f64, y: f64| x == y || (x * scale).round() == (y * scale).round() || (x - y).abs() <= 1e-14 * x.abs();
        part(x.re, y.re) && part(x.im, y.im)
    }
}

/// Whether two matrices have the same shape and `same` holds for each pair of elements.
fn alike(x: &MathValue, y: &MathValue, same: impl Fn(Complex, Complex) -> bool) -> bool {
    x.0.len() == y.0.len()
        && x.0.iter().zip(&y.0).all(|(x, y)| x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(*x, *y)))
}

/// Whether two numbers are nearly equal: they may differ by `tolerance` times the larger one, plus `slack`.
fn close(x: Complex, y: Complex, tolerance: f64, slack: f64) -> bool {
    (x - y).abs() <= tolerance * x.abs().max(y.abs()) + slack
}

/// The largest magnitude of an operand of the sums, functions, roots and logarithms in an expression at the point `at`.
/// Where the exact result is zero, the computed one may be as large as the rounding error of this operand, so
/// comparisons allow for that error.
fn slack(e: &Expr, at: Point) -> f64 {
    let size = |e: &Expr| e.value(at).and_then(|v| v.scalar()).map_or(0.0, Complex::abs);
    let mut largest: f64 = 0.0;
    e.visit(&mut |part| match part {
        Expr::Sum(terms) => largest = terms.iter().map(size).fold(largest, f64::max),
        Expr::Call(_, a) | Expr::Root(_, a) | Expr::Log(_, a) => largest = largest.max(size(a)),
        _ => {}
    });
    if largest.is_finite() { largest } else { 0.0 }
}

/// Whether an expression is a written infinity: `Some(true)` for −∞, `Some(false)` for ∞, `None` for other expressions.
fn infinity(e: &Expr) -> Option<bool> {
    match e {
        Expr::Infinity => Some(false),
        Expr::Negative(inner) => infinity(inner).map(|negative| !negative),
        _ => None,
    }
}

/// The sign (true for negative) and digits of a whole number; `None` for other expressions. A percentage gives the
/// number before the percent sign, because `9 %` counts as 9.
fn whole(e: &Expr) -> Option<(bool, &str)> {
    match e {
        Expr::Number(n) if !n.digits.contains('.') && !n.rounded => Some((false, &n.digits)),
        Expr::Negative(inner) => whole(inner).map(|(sign, digits)| (!sign && digits != "0", digits)),
        Expr::Percent(inner) => whole(inner),
        _ => None,
    }
}

/// Whether an expression is a number as written, perhaps with a minus sign and a percent sign, and not a calculation.
fn is_number(e: &Expr) -> bool {
    match e {
        Expr::Number(_) => true,
        Expr::Negative(inner) | Expr::Percent(inner) => is_number(inner),
        _ => false,
    }
}

fn is_set(e: &Expr) -> bool {
    matches!(e, Expr::Set(_) | Expr::Tuple(..) | Expr::Union(_) | Expr::Intersection(_) | Expr::Difference(..))
}

/// Replaces an answer in words, such as `all real numbers`, by the interval (−∞, ∞). Other answers stay as they are.
fn named_set(e: &Expr) -> Cow<'_, Expr> {
    const REAL_NUMBERS: [&str; 5] =
        ["allrealnumbers", "allreals", "realnumbers", "allrealnumber", "thesetofallrealnumbers"];
    match e {
        Expr::Text(_) | Expr::Opaque(_) if text(e).is_some_and(|(words, _)| REAL_NUMBERS.contains(&words.as_str())) => {
            let bounds = vec![Expr::Negative(Expr::Infinity.into()), Expr::Infinity];
            Cow::Owned(Expr::Tuple(false, bounds, false))
        }
        other => Cow::Borrowed(other),
    }
}

/// The letters and digits of an answer that consists of symbols and text, in lower case, and whether a part of the
/// answer is text. `None` for other answers.
fn text(e: &Expr) -> Option<(String, bool)> {
    let letters = |s: &str| s.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>();
    match e {
        Expr::Text(t) | Expr::Opaque(t) => Some((letters(t), true)),
        Expr::Symbol(name) => Some((letters(name), false)),
        Expr::E => Some(("e".into(), false)),
        Expr::I => Some(("i".into(), false)),
        Expr::Product(factors) => {
            let parts = factors.iter().map(text).collect::<Option<Vec<_>>>()?;
            let is_text = parts.iter().any(|(_, is_text)| *is_text);
            Some((parts.into_iter().map(|(part, _)| part).collect(), is_text))
        }
        _ => None,
    }
}
