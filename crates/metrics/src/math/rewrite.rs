//! Brings expressions into another form before they are compared.

use super::expr::{Expr, Number, Relation};
use super::value::MathFunction;

/// The sides of a chain of relations that are all `=`; `None` for other expressions.
pub fn equation(e: &Expr) -> Option<&[Expr]> {
    match e {
        Expr::Chain(sides, relations) if relations.iter().all(|r| *r == Relation::Equal) => Some(sides),
        _ => None,
    }
}

/// Whether an expression consists of symbols only. An equation with such a side only gives a name to its other side.
pub fn only_symbols(e: &Expr) -> bool {
    match e {
        Expr::Symbol(_) | Expr::E | Expr::I | Expr::Text(_) => true,
        Expr::Number(_) | Expr::Negative(_) | Expr::Set(_) => false,
        other => {
            let parts = other.parts();
            !parts.is_empty() && parts.into_iter().all(only_symbols)
        }
    }
}

/// Shortens a chain of equations that begins with a symbol to its ends: `x = 1 + 1 = 2` becomes `x = 2`.
pub fn shortened(e: &Expr) -> Expr {
    match equation(e) {
        Some([first, .., last]) if only_symbols(first) => {
            Expr::Chain(vec![first.clone(), last.clone()], vec![Relation::Equal])
        }
        _ => e.clone(),
    }
}

/// Replaces an answer with `±` by a set of two answers, one with `+` and one with `−`.
pub fn branches(e: &Expr) -> Expr {
    fn has(e: &Expr) -> bool {
        let mut found = false;
        e.visit(&mut |part| found |= matches!(part, Expr::PlusMinus(..)));
        found
    }
    fn take(e: &Expr, upper: bool) -> Expr {
        match e {
            Expr::PlusMinus(a, b, plus) => {
                let b = take(b, upper);
                Expr::Sum(vec![take(a, upper), if *plus == upper { b } else { Expr::Negative(b.into()) }])
            }
            other => map(other, &|part| take(part, upper)),
        }
    }
    match e {
        Expr::Set(members) => {
            let each = members.iter().flat_map(|m| match branches(m) {
                Expr::Set(more) if has(m) => more,
                other => vec![other],
            });
            Expr::Set(each.collect())
        }
        other if has(other) => Expr::Set(vec![take(other, true), take(other, false)]),
        other => other.clone(),
    }
}

/// A copy of an expression in which `f` has replaced each direct subexpression.
pub fn map(e: &Expr, f: &impl Fn(&Expr) -> Expr) -> Expr {
    let one = |x: &Expr| Box::new(f(x));
    let many = |x: &[Expr]| x.iter().map(f).collect::<Vec<_>>();
    match e {
        Expr::Negative(a) => Expr::Negative(one(a)),
        Expr::Call(g, a) => Expr::Call(*g, one(a)),
        Expr::Percent(a) => Expr::Percent(one(a)),
        Expr::Sum(x) => Expr::Sum(many(x)),
        Expr::Product(x) => Expr::Product(many(x)),
        Expr::Set(x) => Expr::Set(many(x)),
        Expr::Union(x) => Expr::Union(many(x)),
        Expr::Intersection(x) => Expr::Intersection(many(x)),
        Expr::Difference(a, b) => Expr::Difference(one(a), one(b)),
        Expr::Degrees(a) => Expr::Degrees(one(a)),
        Expr::Tuple(l, x, r) => Expr::Tuple(*l, many(x), *r),
        Expr::Chain(x, r) => Expr::Chain(many(x), r.clone()),
        Expr::Quotient(a, b) => Expr::Quotient(one(a), one(b)),
        Expr::Power(a, b) => Expr::Power(one(a), one(b)),
        Expr::Root(a, b) => Expr::Root(one(a), one(b)),
        Expr::Log(a, b) => Expr::Log(one(a), one(b)),
        Expr::Binomial(a, b) => Expr::Binomial(one(a), one(b)),
        Expr::PlusMinus(a, b, p) => Expr::PlusMinus(one(a), one(b), *p),
        Expr::Matrix(rows) => Expr::Matrix(rows.iter().map(|row| many(row)).collect()),
        leaf => leaf.clone(),
    }
}

/// A copy of the reply whose symbols have the names of the reference's symbols, in alphabetical order. `None` if reply
/// and reference have different numbers of symbols.
pub fn renamed(reply: &Expr, reference: &Expr) -> Option<Expr> {
    fn rename(e: &Expr, from: &[&str], to: &[&str]) -> Expr {
        match e {
            Expr::Symbol(name) => match from.iter().position(|f| f == name) {
                Some(index) => Expr::Symbol(to[index].to_owned()),
                None => e.clone(),
            },
            other => map(other, &|part| rename(part, from, to)),
        }
    }
    let (from, to): (Vec<&str>, Vec<&str>) =
        (reply.symbols().into_iter().collect(), reference.symbols().into_iter().collect());
    (from.len() == to.len()).then(|| rename(reply, &from, &to))
}

/// Whether an expression contains degrees.
pub fn has_degrees(e: &Expr) -> bool {
    matches!(e, Expr::Degrees(_)) || e.parts().into_iter().any(has_degrees)
}

/// A copy of an expression with radians in place of degrees.
pub fn in_radians(e: &Expr) -> Expr {
    match e {
        Expr::Degrees(angle) => {
            let half_turn = Expr::Number(Number::new("180"));
            Expr::Product(vec![in_radians(angle), Expr::Quotient(Expr::Pi.into(), half_turn.into())])
        }
        other => map(other, &in_radians),
    }
}

/// A copy of an expression without degree signs, except in the arguments of functions, where radians take the place of
/// degrees. So `30^\circ` is the number 30, and `\sin 30^\circ` is 1/2.
pub fn without_degrees(e: &Expr) -> Expr {
    match e {
        Expr::Degrees(angle) => without_degrees(angle),
        Expr::Call(
            function @ (MathFunction::Sin
            | MathFunction::Cos
            | MathFunction::Tan
            | MathFunction::Cot
            | MathFunction::Sec
            | MathFunction::Csc),
            argument,
        ) => Expr::Call(*function, Box::new(in_radians(argument))),
        other => map(other, &without_degrees),
    }
}
