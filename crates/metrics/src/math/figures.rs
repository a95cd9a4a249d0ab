//! Compares names of points and figures, in which the order of the letters counts.

use super::expr::Expr;

/// What a name such as `\triangle ABC` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Figure {
    /// Letters without a sign before them, such as `CAB`.
    Points,
    Angle,
    Triangle,
    Quadrilateral,
}

/// A name that consists of capital letters, perhaps after the sign of a figure.
struct FigureName<'a> {
    figure: Figure,
    letters: Vec<&'a str>,
}

/// Whether two answers are names of different points or figures. Such names must not be compared as products, because
/// the order of their letters counts: `ABC` lists things in order, and the middle letter of an angle is its vertex. A
/// triangle has one name for every order of its corners.
pub fn names_differ(a: &Expr, b: &Expr) -> bool {
    let (Some(a), Some(b)) = (name(a), name(b)) else { return false };
    if a.letters == b.letters {
        return a.figure != b.figure && a.figure != Figure::Points && b.figure != Figure::Points;
    }
    a.figure != b.figure || !same_figure(a.figure, &a.letters, &b.letters)
}

/// Whether two answers are names with the same letters in the same order, and only one of them has the sign of a figure
/// before its letters: `ABC` and `\triangle ABC`.
pub fn differ_in_sign_only(a: &Expr, b: &Expr) -> bool {
    let (Some(a), Some(b)) = (name(a), name(b)) else { return false };
    a.letters.len() > 1 && a.letters == b.letters && (a.figure == Figure::Points) != (b.figure == Figure::Points)
}

fn same_figure(figure: Figure, a: &[&str], b: &[&str]) -> bool {
    let n = a.len();
    if n != b.len() {
        return false;
    }
    let backwards = || a.iter().rev().eq(b.iter());
    match figure {
        Figure::Points => false,
        Figure::Angle => backwards(),
        Figure::Triangle => {
            let sorted = |letters: &[&str]| {
                let mut letters: Vec<String> = letters.iter().map(|l| (*l).to_owned()).collect();
                letters.sort_unstable();
                letters
            };
            sorted(a) == sorted(b)
        }
        Figure::Quadrilateral => (0..n)
            .any(|shift| (0..n).all(|i| a[i] == b[(i + shift) % n]) || (0..n).all(|i| a[i] == b[(shift + n - i) % n])),
    }
}

/// Reads an expression as the name of points or of a figure, such as `ABC` or `\triangle ABC`; `None` for other
/// expressions, and for a letter alone.
fn name(e: &Expr) -> Option<FigureName<'_>> {
    let Expr::Product(factors) = e else { return None };
    // `m\angle ABC` is the measure of the angle.
    let factors = match &factors[..] {
        [Expr::Symbol(m), rest @ ..] if m == "m" => rest,
        all => all,
    };
    let (figure, rest) = match factors.first()? {
        Expr::Symbol(sign) => match sign.as_str() {
            "\\angle" | "\\measuredangle" | "\\sphericalangle" => (Figure::Angle, &factors[1..]),
            "\\triangle" | "\\bigtriangleup" | "\\vartriangle" => (Figure::Triangle, &factors[1..]),
            "\\square" | "\\Box" | "\\parallelogram" => (Figure::Quadrilateral, &factors[1..]),
            _ => (Figure::Points, factors),
        },
        _ => return None,
    };
    let inner = match rest {
        [Expr::Product(inner)] => &inner[..],
        other => other,
    };
    let letter = |e: &Expr| matches!(e, Expr::Symbol(s) if s.starts_with(|c: char| c.is_ascii_uppercase()));
    if inner.is_empty() || !inner.iter().all(letter) {
        return None;
    }
    let letters = inner.iter().filter_map(|e| if let Expr::Symbol(s) = e { Some(s.as_str()) } else { None });
    Some(FigureName { figure, letters: letters.collect() })
}
