//! What an answer can be, and its value at a point.

use std::collections::BTreeSet;

/// A number as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Number {
    /// Digits without leading zeros, and where there is a decimal point, decimals without trailing ones.
    pub digits: String,
    /// Whether it was written with a decimal point: a rounded value.
    pub rounded: bool,
}

impl Number {
    /// The number of some digits with at most one point.
    pub fn new(text: &str) -> Self {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let whole = whole.trim_start_matches('0');
        let decimals = decimals.trim_end_matches('0');
        let whole = if whole.is_empty() { "0" } else { whole };
        let digits = if decimals.is_empty() { whole.to_owned() } else { format!("{whole}.{decimals}") };
        Self { digits, rounded: text.contains('.') }
    }

    pub fn value(&self) -> f64 {
        self.digits.parse().unwrap_or(f64::NAN)
    }
}

/// How two sides of a relation stand to each other.
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
    /// The same with the sides exchanged.
    pub fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessEqual => Self::GreaterEqual,
            Self::Greater => Self::Less,
            Self::GreaterEqual => Self::LessEqual,
            same => same,
        }
    }
}

/// A function of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    Arcsin,
    Arccos,
    Arctan,
    Sinh,
    Cosh,
    Tanh,
    Ln,
    Abs,
    Factorial,
    Floor,
    Ceil,
}

/// An answer or a part of one.
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
    Call(Function, Box<Expr>),
    Binomial(Box<Expr>, Box<Expr>),
    Percent(Box<Expr>),
    /// `±` (or `∓`) of the second to the first.
    PlusMinus(Box<Expr>, Box<Expr>, bool),
    Matrix(Vec<Vec<Expr>>),
    Set(Vec<Expr>),
    /// Whether it is closed on the left, the members, whether it is closed on the right.
    Tuple(bool, Vec<Expr>, bool),
    Union(Vec<Expr>),
    /// The sides of a chain, and what stands between them.
    Chain(Vec<Expr>, Vec<Relation>),
    Text(String),
    /// What was read without being understood; equal to what was written alike.
    Opaque(String),
}

/// A complex number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Complex {
    pub re: f64,
    pub im: f64,
}

impl Complex {
    pub const fn real(re: f64) -> Self {
        Self { re, im: 0.0 }
    }

    pub fn abs(self) -> f64 {
        self.re.hypot(self.im)
    }

    pub fn is_finite(self) -> bool {
        self.re.is_finite() && self.im.is_finite()
    }

    fn exp(self) -> Self {
        let r = self.re.exp();
        Self { re: r * self.im.cos(), im: r * self.im.sin() }
    }

    fn ln(self) -> Self {
        Self { re: self.abs().ln(), im: self.im.atan2(self.re) }
    }

    fn powf(self, power: Self) -> Self {
        if self.abs() == 0.0 {
            let zero_to_zero = power.abs() == 0.0;
            return Self::real(if zero_to_zero {
                1.0
            } else if power.re > 0.0 {
                0.0
            } else {
                f64::NAN
            });
        }
        if self.im == 0.0 && power.im == 0.0 && (self.re > 0.0 || power.re.fract() == 0.0) {
            return Self::real(self.re.powf(power.re));
        }
        (power * self.ln()).exp()
    }

    /// A function of reals; nothing of other numbers.
    fn on_reals(self, f: impl Fn(f64) -> f64) -> Self {
        if self.im.abs() < 1e-12 { Self::real(f(self.re)) } else { Self::real(f64::NAN) }
    }
}

impl std::ops::Add for Complex {
    type Output = Self;
    fn add(self, o: Self) -> Self {
        Self { re: self.re + o.re, im: self.im + o.im }
    }
}

impl std::ops::Sub for Complex {
    type Output = Self;
    fn sub(self, o: Self) -> Self {
        Self { re: self.re - o.re, im: self.im - o.im }
    }
}

impl std::ops::Mul for Complex {
    type Output = Self;
    fn mul(self, o: Self) -> Self {
        Self { re: self.re * o.re - self.im * o.im, im: self.re * o.im + self.im * o.re }
    }
}

impl std::ops::Div for Complex {
    type Output = Self;
    fn div(self, o: Self) -> Self {
        if o.im == 0.0 {
            return Self { re: self.re / o.re, im: self.im / o.re };
        }
        let d = o.re * o.re + o.im * o.im;
        Self { re: (self.re * o.re + self.im * o.im) / d, im: (self.im * o.re - self.re * o.im) / d }
    }
}

/// A value: a matrix, of one element where it is a number.
#[derive(Clone, Debug, PartialEq)]
pub struct Value(pub Vec<Vec<Complex>>);

impl Value {
    pub fn number(x: Complex) -> Self {
        Self(vec![vec![x]])
    }

    /// The number that it is.
    pub fn scalar(&self) -> Option<Complex> {
        match &self.0[..] {
            [row] if row.len() == 1 => Some(row[0]),
            _ => None,
        }
    }

    fn shape(&self) -> (usize, usize) {
        (self.0.len(), self.0.first().map_or(0, Vec::len))
    }

    fn zip(&self, other: &Self, f: impl Fn(Complex, Complex) -> Complex) -> Option<Self> {
        if self.shape() != other.shape() {
            return None;
        }
        let row = |(a, b): (&Vec<Complex>, &Vec<Complex>)| a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect();
        Some(Self(self.0.iter().zip(&other.0).map(row).collect()))
    }

    fn map(&self, f: impl Fn(Complex) -> Complex) -> Self {
        Self(self.0.iter().map(|row| row.iter().map(|x| f(*x)).collect()).collect())
    }

    fn times(&self, other: &Self) -> Option<Self> {
        match (self.scalar(), other.scalar()) {
            (Some(a), _) => Some(other.map(|x| a * x)),
            (_, Some(b)) => Some(self.map(|x| x * b)),
            _ => {
                let ((rows, inner), (also, columns)) = (self.shape(), other.shape());
                if inner != also || rows * columns * inner > 100_000 {
                    return None;
                }
                let at = |r: usize, c: usize| {
                    (0..inner).fold(Complex::real(0.0), |sum, k| sum + self.0[r][k] * other.0[k][c])
                };
                Some(Self((0..rows).map(|r| (0..columns).map(|c| at(r, c)).collect()).collect()))
            }
        }
    }
}

/// Values of symbols: a function of their names and of which sample it is.
#[derive(Clone, Copy, Debug)]
pub enum Point<'a> {
    /// A pseudo-random value for every symbol: positive in the first samples, negative in the next, then of either sign.
    Sample(u64),
    /// One symbol's value; others have none.
    One(&'a str, f64),
}

/// Samples of positive values, and of all.
pub const POSITIVE: u64 = 3;
pub const SAMPLES: u64 = 5;

impl Point<'_> {
    fn of(self, name: &str) -> Option<f64> {
        match self {
            Self::One(own, value) => (own == name).then_some(value),
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
    /// Whether a rounded number is in it.
    pub fn is_rounded(&self) -> bool {
        match self {
            Self::Number(n) => n.rounded,
            other => other.parts().into_iter().any(Self::is_rounded),
        }
    }

    /// The parts of which it consists.
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
            Self::Negative(a) | Self::Call(_, a) | Self::Percent(a) => vec![a],
            Self::Sum(x)
            | Self::Product(x)
            | Self::Set(x)
            | Self::Tuple(_, x, _)
            | Self::Union(x)
            | Self::Chain(x, _) => x.iter().collect(),
            Self::Quotient(a, b)
            | Self::Power(a, b)
            | Self::Root(a, b)
            | Self::Log(a, b)
            | Self::Binomial(a, b)
            | Self::PlusMinus(a, b, _) => vec![a, b],
            Self::Matrix(rows) => rows.iter().flatten().collect(),
        }
    }

    /// The symbols in it.
    pub fn symbols(&self) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        self.visit(&mut |e| {
            if let Self::Symbol(name) = e {
                found.insert(name.as_str());
            }
        });
        found
    }

    /// Shows every part to `see`, this one included.
    pub fn visit<'a>(&'a self, see: &mut impl FnMut(&'a Self)) {
        see(self);
        for part in self.parts() {
            part.visit(see);
        }
    }

    /// Its value at a point; nothing for what has none, such as sets and texts.
    pub fn value(&self, at: Point) -> Option<Value> {
        let number = |x: f64| Some(Value::number(Complex::real(x)));
        let scalar = |e: &Self| e.value(at)?.scalar();
        Some(match self {
            Self::Number(n) => return number(n.value()),
            Self::Symbol(name) => return number(at.of(name)?),
            Self::Pi => return number(std::f64::consts::PI),
            Self::E => return number(std::f64::consts::E),
            Self::I => Value::number(Complex { re: 0.0, im: 1.0 }),
            Self::Infinity => return number(f64::INFINITY),
            Self::Negative(a) => a.value(at)?.map(|x| Complex::real(0.0) - x),
            Self::Sum(terms) => {
                let mut sum: Option<Value> = None;
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
                let mut product = Value::number(Complex::real(1.0));
                for factor in factors {
                    product = product.times(&factor.value(at)?)?;
                }
                product
            }
            Self::Quotient(a, b) => {
                let b = scalar(b)?;
                a.value(at)?.map(|x| x / b)
            }
            Self::Power(a, b) => Value::number(scalar(a)?.powf(scalar(b)?)),
            Self::Root(n, a) => {
                let (n, a) = (scalar(n)?, scalar(a)?);
                Value::number(a.powf(Complex::real(1.0) / n))
            }
            Self::Log(base, a) => Value::number(scalar(a)?.ln() / scalar(base)?.ln()),
            Self::Call(f, a) => Value::number(call(*f, scalar(a)?)),
            Self::Binomial(n, k) => {
                let (n, k) = (scalar(n)?, scalar(k)?);
                Value::number(n.on_reals(|n| k.on_reals(|k| binomial(n, k)).re))
            }
            Self::Percent(a) => a.value(at)?.map(|x| x / Complex::real(100.0)),
            Self::Matrix(rows) => {
                let row = |row: &Vec<Self>| row.iter().map(scalar).collect::<Option<Vec<Complex>>>();
                let rows = rows.iter().map(row).collect::<Option<Vec<_>>>()?;
                let width = rows.first().map_or(0, Vec::len);
                if width == 0 || rows.iter().any(|r| r.len() != width) {
                    return None;
                }
                Value(rows)
            }
            Self::PlusMinus(..)
            | Self::Set(_)
            | Self::Tuple(..)
            | Self::Union(_)
            | Self::Chain(..)
            | Self::Text(_)
            | Self::Opaque(_) => return None,
        })
    }
}

fn binomial(n: f64, k: f64) -> f64 {
    if n.fract() != 0.0 || k.fract() != 0.0 || !(0.0..=1000.0).contains(&k) || n < k {
        return f64::NAN;
    }
    (0..k as u32).fold(1.0, |product, i| product * (n - f64::from(i)) / f64::from(i + 1)).round()
}

fn call(f: Function, x: Complex) -> Complex {
    let i = Complex { re: 0.0, im: 1.0 };
    let (one, two) = (Complex::real(1.0), Complex::real(2.0));
    let exp_i = |x: Complex| (i * x).exp();
    let sin = |x: Complex| {
        if x.im == 0.0 { Complex::real(x.re.sin()) } else { (exp_i(x) - one / exp_i(x)) / (two * i) }
    };
    let cos = |x: Complex| if x.im == 0.0 { Complex::real(x.re.cos()) } else { (exp_i(x) + one / exp_i(x)) / two };
    match f {
        Function::Sin => sin(x),
        Function::Cos => cos(x),
        Function::Tan => sin(x) / cos(x),
        Function::Cot => cos(x) / sin(x),
        Function::Sec => one / cos(x),
        Function::Csc => one / sin(x),
        Function::Arcsin => x.on_reals(f64::asin),
        Function::Arccos => x.on_reals(f64::acos),
        Function::Arctan => x.on_reals(f64::atan),
        Function::Sinh => (x.exp() - one / x.exp()) / two,
        Function::Cosh => (x.exp() + one / x.exp()) / two,
        Function::Tanh => (x.exp() - one / x.exp()) / (x.exp() + one / x.exp()),
        Function::Ln => x.ln(),
        Function::Abs => Complex::real(x.abs()),
        Function::Factorial => x.on_reals(|n| {
            if n < 0.0 || n.fract() != 0.0 || n > 170.0 {
                return f64::NAN;
            }
            (1..=n as u32).map(f64::from).product()
        }),
        Function::Floor => x.on_reals(f64::floor),
        Function::Ceil => x.on_reals(f64::ceil),
    }
}
