//! Expressions: the form of an answer after parsing, and the computation of its value.

use std::collections::BTreeSet;

use super::value::{Complex, MathFunction, MathValue, binomial, call};

/// A number as it is written in an answer, without its sign.
#[derive(Clone, Debug, PartialEq)]
pub struct Number {
    /// The digits of the number and its decimal point, without leading zeros and without zeros at the end of the
    /// decimals.
    pub digits: String,
    /// Whether the number is written with a decimal point. Such a number is compared as a rounded value.
    pub rounded: bool,
}

impl Number {
    /// Makes a number of digits with at most one decimal point.
    pub fn new(text: &str) -> Self {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let whole = whole.trim_start_matches('0');
        let decimals = decimals.trim_end_matches('0');
        let whole = if whole.is_empty() { "0" } else { whole };
        let digits = if decimals.is_empty() { whole.to_owned() } else { format!("{whole}.{decimals}") };
        Self { digits, rounded: text.contains('.') }
    }

    /// The value of the number, as the nearest `f64`.
    pub fn value(&self) -> f64 {
        self.digits.parse().unwrap_or(f64::NAN)
    }
}

/// The relation between two neighbouring sides of an [`Expr::Chain`], such as `=` or `<`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Relation {
    /// The relation that holds after exchanging the two sides, such as `>` for `<`.
    pub fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessEqual => Self::GreaterEqual,
            Self::Greater => Self::Less,
            Self::GreaterEqual => Self::LessEqual,
            symmetric => symmetric,
        }
    }
}

/// The parsed form of an answer or of a part of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    Number(Number),
    Symbol(String),
    Pi,
    E,
    I,
    Infinity,
    Negative(Box<Expr>),
    Sum(Vec<Expr>),
    Product(Vec<Expr>),
    Quotient(Box<Expr>, Box<Expr>),
    Power(Box<Expr>, Box<Expr>),
    Root(Box<Expr>, Box<Expr>),
    Log(Box<Expr>, Box<Expr>),
    Call(MathFunction, Box<Expr>),
    Binomial(Box<Expr>, Box<Expr>),
    Percent(Box<Expr>),
    /// A number of degrees. The comparison replaces it by radians or by the number alone.
    Degrees(Box<Expr>),
    /// The first expression ± the second if the flag is true, or ∓ if the flag is false.
    PlusMinus(Box<Expr>, Box<Expr>, bool),
    Matrix(Vec<Vec<Expr>>),
    Set(Vec<Expr>),
    /// A tuple or an interval: whether the left bracket is `[` (closed), the members, and whether the right bracket is
    /// `]`.
    Tuple(bool, Vec<Expr>, bool),
    Union(Vec<Expr>),
    Intersection(Vec<Expr>),
    /// The first set without the members of the second.
    Difference(Box<Expr>, Box<Expr>),
    /// A chain of relations such as `a < b = c`: first the sides, then the relations between neighbouring sides.
    Chain(Vec<Expr>, Vec<Relation>),
    Text(String),
    /// A text that could not be parsed, which equals only the same text.
    Opaque(String),
}

/// Which value each symbol has when an expression is computed.
#[derive(Clone, Copy, Debug)]
pub enum Point<'a> {
    /// A pseudorandom value for each symbol, which depends on the number of the sample and on the symbol's name. Values
    /// are positive in the first [`POSITIVE`] samples, negative in the next sample, and of either sign in the others.
    Sample(u64),
    /// A value for the one symbol with this name; other symbols have no value.
    One(&'a str, f64),
}

/// Number of samples in which all symbols have positive values.
pub const POSITIVE: u64 = 3;
/// Number of samples at which two expressions are compared.
pub const SAMPLES: u64 = 5;

impl Point<'_> {
    /// The value of the symbol with this name at this point; `None` if the symbol has no value.
    fn symbol(self, name: &str) -> Option<f64> {
        match self {
            Self::One(symbol, value) => (symbol == name).then_some(value),
            Self::Sample(sample) => {
                let seed =
                    name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ (sample.wrapping_mul(0x9e37_79b9_7f4a_7c15)), |h, b| {
                        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
                    });
                let mixed = (seed ^ (seed >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let unit = ((mixed ^ (mixed >> 29)) >> 11) as f64 / (1u64 << 53) as f64;
                let size = 0.4 + 2.2 * unit;
                Some(if sample == POSITIVE || (sample > POSITIVE && mixed & 8 == 0) { -size } else { size })
            }
        }
    }
}

impl Expr {
    /// Whether the expression contains a number with a decimal point, which is compared as a rounded value.
    pub fn is_rounded(&self) -> bool {
        match self {
            Self::Number(n) => n.rounded,
            other => other.parts().into_iter().any(Self::is_rounded),
        }
    }

    /// The direct subexpressions of the expression; empty for numbers, symbols and texts.
    pub fn parts(&self) -> Vec<&Self> {
        match self {
            Self::Number(_)
            | Self::Symbol(_)
            | Self::Pi
            | Self::E
            | Self::I
            | Self::Infinity
            | Self::Text(_)
            | Self::Opaque(_) => Vec::new(),
            Self::Negative(a) | Self::Call(_, a) | Self::Percent(a) | Self::Degrees(a) => vec![a],
            Self::Sum(x)
            | Self::Product(x)
            | Self::Set(x)
            | Self::Tuple(_, x, _)
            | Self::Union(x)
            | Self::Intersection(x)
            | Self::Chain(x, _) => x.iter().collect(),
            Self::Quotient(a, b)
            | Self::Power(a, b)
            | Self::Root(a, b)
            | Self::Log(a, b)
            | Self::Binomial(a, b)
            | Self::Difference(a, b)
            | Self::PlusMinus(a, b, _) => vec![a, b],
            Self::Matrix(rows) => rows.iter().flatten().collect(),
        }
    }

    /// The names of all symbols in the expression.
    pub fn symbols(&self) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        self.visit(&mut |e| {
            if let Self::Symbol(name) = e {
                found.insert(name.as_str());
            }
        });
        found
    }

    /// Calls `visitor` with this expression and, recursively, with each of its subexpressions.
    pub fn visit<'a>(&'a self, visitor: &mut impl FnMut(&'a Self)) {
        visitor(self);
        for part in self.parts() {
            part.visit(visitor);
        }
    }

    /// The value of the expression if its symbols have the values at a point. `None` for expressions without a value,
    /// such as sets and texts.
    pub fn value(&self, at: Point) -> Option<MathValue> {
        let number = |x: f64| Some(MathValue::number(Complex::real(x)));
        let scalar = |e: &Self| e.value(at)?.scalar();
        Some(match self {
            Self::Number(n) => return number(n.value()),
            Self::Symbol(name) => return number(at.symbol(name)?),
            Self::Pi => return number(std::f64::consts::PI),
            Self::E => return number(std::f64::consts::E),
            Self::I => MathValue::number(Complex { re: 0.0, im: 1.0 }),
            Self::Infinity => return number(f64::INFINITY),
            Self::Negative(a) => a.value(at)?.map(|x| Complex::real(0.0) - x),
            Self::Sum(terms) => {
                let mut sum: Option<MathValue> = None;
                for term in terms {
                    let v = term.value(at)?;
                    sum = Some(match sum {
                        None => v,
                        Some(sum) => sum.zip(&v, |a, b| a + b)?,
                    });
                }
                sum?
            }
            Self::Product(factors) => {
                let mut product = MathValue::number(Complex::real(1.0));
                for factor in factors {
                    product = product.times(&factor.value(at)?)?;
                }
                product
            }
            Self::Quotient(a, b) => {
                let b = scalar(b)?;
                a.value(at)?.map(|x| x / b)
            }
            Self::Power(a, b) => MathValue::number(scalar(a)?.powf(scalar(b)?)),
            Self::Root(n, radicand) => {
                let (n, a) = (scalar(n)?, scalar(radicand)?);
                MathValue::number(if is_real_root(radicand, n, a) {
                    Complex::real(-(-a.re).powf(1.0 / n.re))
                } else {
                    a.powf(Complex::real(1.0) / n)
                })
            }
            Self::Log(base, a) => MathValue::number(scalar(a)?.ln() / scalar(base)?.ln()),
            Self::Call(f, a) => MathValue::number(call(*f, scalar(a)?)),
            Self::Binomial(n, k) => {
                let (n, k) = (scalar(n)?, scalar(k)?);
                MathValue::number(n.on_reals(|n| k.on_reals(|k| binomial(n, k)).re))
            }
            Self::Percent(a) => a.value(at)?.map(|x| x / Complex::real(100.0)),
            Self::Matrix(rows) => {
                let row = |row: &Vec<Self>| row.iter().map(scalar).collect::<Option<Vec<Complex>>>();
                let rows = rows.iter().map(row).collect::<Option<Vec<_>>>()?;
                let width = rows.first().map_or(0, Vec::len);
                if width == 0 || rows.iter().any(|r| r.len() != width) {
                    return None;
                }
                MathValue(rows)
            }
            Self::PlusMinus(..)
            | Self::Set(_)
            | Self::Tuple(..)
            | Self::Union(_)
            | Self::Intersection(_)
            | Self::Difference(..)
            | Self::Degrees(_)
            | Self::Chain(..)
            | Self::Text(_)
            | Self::Opaque(_) => return None,
        })
    }
}

/// Whether a root is taken as a real one, as the cube root of −8 is −2: `radicand` has no symbols, its value `value` is
/// a negative number, and `index` is an odd number. Every other root is the principal one, which may be complex.
fn is_real_root(radicand: &Expr, index: Complex, value: Complex) -> bool {
    let is_odd = index.im == 0.0 && (index.re.rem_euclid(2.0) - 1.0).abs() < 1e-12;
    is_odd && value.im == 0.0 && value.re < 0.0 && radicand.symbols().is_empty()
}
