//! Compares sets of real numbers that are written as intervals, lists of members or relations.

// The comparisons of floating-point numbers are exact because a bound either is a member of a set or is not.
#![allow(clippy::float_cmp)]

use super::expr::{Expr, Point, Relation};

/// Maximum number of bounds (ends of intervals, and other numbers) in both sets; with more, the sets count as
/// different.
const MAX_BOUNDS: usize = 128;

/// Whether two sets of real numbers have the same members. Sets are written as intervals, lists of members, or
/// relations with one unknown. The members are compared at every bound of either set, just below and above the bound,
/// and between neighbouring bounds.
pub fn same_members(a: &Expr, b: &Expr) -> bool {
    let symbols: Vec<String> = a.symbols().into_iter().chain(b.symbols()).map(str::to_owned).collect();
    if symbols.windows(2).any(|w| w[0] != w[1]) {
        return false;
    }
    let unknown = symbols.first().map_or("", String::as_str);
    let mut bounds = vec![0.0];
    for side in [a, b] {
        side.visit(&mut |part| {
            let value =
                part.symbols().is_empty().then(|| part.value(Point::Sample(0))).flatten().and_then(|v| v.scalar());
            if let Some(v) = value.filter(|v| v.im == 0.0 && v.is_finite()) {
                bounds.extend([v.re, -v.re]);
            }
        });
    }
    bounds.sort_by(f64::total_cmp);
    bounds.dedup();
    if bounds.len() > MAX_BOUNDS {
        return false;
    }
    let beyond = 2.0 * bounds.iter().fold(1e6, |m: f64, b| m.max(b.abs()));
    let mut points = vec![-beyond, beyond];
    for (i, v) in bounds.iter().enumerate() {
        let near = 1e-6 * (1.0 + v.abs());
        points.extend([*v, v - near, v + near]);
        points.extend(bounds.get(i + 1).map(|next| f64::midpoint(*v, *next)));
    }
    points
        .into_iter()
        .all(|t| matches!((contains(a, unknown, t), contains(b, unknown, t)), (Some(x), Some(y)) if x == y))
}

/// Whether a set contains the number `t`, which takes the place of the unknown in relations. `None` if that cannot be
/// decided.
fn contains(e: &Expr, unknown: &str, t: f64) -> Option<bool> {
    let at = |e: &Expr| e.value(Point::One(unknown, t))?.scalar().filter(|z| z.im.abs() < 1e-12).map(|z| z.re);
    Some(match e {
        Expr::Tuple(left, ends, right) => {
            let [from, to] = &ends[..] else { return None };
            let (from, to) = (at(from)?, at(to)?);
            (if *left { t >= from } else { t > from }) && (if *right { t <= to } else { t < to })
        }
        Expr::Set(members) => {
            let mut any = false;
            for m in members {
                any |= at(m)? == t;
            }
            any
        }
        Expr::Union(parts) => {
            let mut any = false;
            for part in parts {
                any |= contains(part, unknown, t)?;
            }
            any
        }
        Expr::Intersection(parts) => {
            let mut all = true;
            for part in parts {
                all &= contains(part, unknown, t)?;
            }
            all
        }
        Expr::Difference(a, b) => contains(a, unknown, t)? && !contains(b, unknown, t)?,
        Expr::Chain(sides, relations) => {
            let values = sides.iter().map(at).collect::<Option<Vec<f64>>>()?;
            // The comparisons are exact, because near a bound the differences are smaller than any tolerance.
            relations.iter().zip(values.windows(2)).all(|(r, v)| {
                let d = v[0] - v[1];
                match r {
                    Relation::Equal => d == 0.0,
                    Relation::NotEqual => d != 0.0,
                    Relation::Less => d < 0.0,
                    Relation::LessEqual => d <= 0.0,
                    Relation::Greater => d > 0.0,
                    Relation::GreaterEqual => d >= 0.0,
                }
            })
        }
        _ => return None,
    })
}
