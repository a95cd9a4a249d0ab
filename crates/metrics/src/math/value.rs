//! Values of expressions: complex numbers, matrices of complex numbers, and functions of complex numbers.

/// A mathematical function of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MathFunction {
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
    Arsinh,
    Arcosh,
    Artanh,
    Ln,
    Abs,
    Factorial,
    Floor,
    Ceil,
}

/// A complex number, with real part `re` and imaginary part `im`.
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

    pub fn exp(self) -> Self {
        let r = self.re.exp();
        Self { re: r * self.im.cos(), im: r * self.im.sin() }
    }

    pub fn ln(self) -> Self {
        Self { re: self.abs().ln(), im: self.im.atan2(self.re) }
    }

    pub fn powf(self, power: Self) -> Self {
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

    /// Applies a function of real numbers to this number. NaN if the number is not real.
    pub fn on_reals(self, f: impl Fn(f64) -> f64) -> Self {
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

/// The value of an expression, as the rows of a matrix. The value of a number is a matrix with one element.
#[derive(Clone, Debug, PartialEq)]
pub struct MathValue(pub Vec<Vec<Complex>>);

impl MathValue {
    pub fn number(x: Complex) -> Self {
        Self(vec![vec![x]])
    }

    /// The only element of the matrix; `None` if the matrix has several elements.
    pub fn scalar(&self) -> Option<Complex> {
        match &self.0[..] {
            [row] if row.len() == 1 => Some(row[0]),
            _ => None,
        }
    }

    /// The number of rows and of columns.
    fn shape(&self) -> (usize, usize) {
        (self.0.len(), self.0.first().map_or(0, Vec::len))
    }

    /// Applies `f` to each pair of elements at the same position in two matrices; `None` if their shapes differ.
    pub fn zip(&self, other: &Self, f: impl Fn(Complex, Complex) -> Complex) -> Option<Self> {
        if self.shape() != other.shape() {
            return None;
        }
        let row = |(a, b): (&Vec<Complex>, &Vec<Complex>)| a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect();
        Some(Self(self.0.iter().zip(&other.0).map(row).collect()))
    }

    /// Applies `f` to every element of the matrix.
    pub fn map(&self, f: impl Fn(Complex) -> Complex) -> Self {
        Self(self.0.iter().map(|row| row.iter().map(|x| f(*x)).collect()).collect())
    }

    /// The product of two values, each of which is a number or a matrix. `None` if the shapes do not fit or the
    /// matrices are too large.
    pub fn times(&self, other: &Self) -> Option<Self> {
        match (self.scalar(), other.scalar()) {
            (Some(a), _) => Some(other.map(|x| a * x)),
            (_, Some(b)) => Some(self.map(|x| x * b)),
            _ => {
                let ((rows, inner), (other_rows, columns)) = (self.shape(), other.shape());
                if inner != other_rows || rows * columns * inner > 100_000 {
                    return None;
                }
                let element = |r: usize, c: usize| {
                    (0..inner).fold(Complex::real(0.0), |sum, k| sum + self.0[r][k] * other.0[k][c])
                };
                Some(Self((0..rows).map(|r| (0..columns).map(|c| element(r, c)).collect()).collect()))
            }
        }
    }
}

/// The number of ways to choose k of n things. NaN unless n and k are whole numbers with 0 ≤ k ≤ n and k ≤ 1000.
pub fn binomial(n: f64, k: f64) -> f64 {
    if n.fract() != 0.0 || k.fract() != 0.0 || !(0.0..=1000.0).contains(&k) || n < k {
        return f64::NAN;
    }
    (0..k as u32).fold(1.0, |product, i| product * (n - f64::from(i)) / f64::from(i + 1)).round()
}

/// The value of the function `f` at `x`; NaN where it is not defined.
pub fn call(f: MathFunction, x: Complex) -> Complex {
    let i = Complex { re: 0.0, im: 1.0 };
    let (one, two) = (Complex::real(1.0), Complex::real(2.0));
    let exp_i = |x: Complex| (i * x).exp();
    let sin = |x: Complex| {
        if x.im == 0.0 { Complex::real(x.re.sin()) } else { (exp_i(x) - one / exp_i(x)) / (two * i) }
    };
    let cos = |x: Complex| if x.im == 0.0 { Complex::real(x.re.cos()) } else { (exp_i(x) + one / exp_i(x)) / two };
    match f {
        MathFunction::Sin => sin(x),
        MathFunction::Cos => cos(x),
        MathFunction::Tan => sin(x) / cos(x),
        MathFunction::Cot => cos(x) / sin(x),
        MathFunction::Sec => one / cos(x),
        MathFunction::Csc => one / sin(x),
        MathFunction::Arcsin => x.on_reals(f64::asin),
        MathFunction::Arccos => x.on_reals(f64::acos),
        MathFunction::Arctan => x.on_reals(f64::atan),
        MathFunction::Sinh => (x.exp() - one / x.exp()) / two,
        MathFunction::Cosh => (x.exp() + one / x.exp()) / two,
        MathFunction::Tanh => (x.exp() - one / x.exp()) / (x.exp() + one / x.exp()),
        MathFunction::Arsinh => x.on_reals(f64::asinh),
        MathFunction::Arcosh => x.on_reals(f64::acosh),
        MathFunction::Artanh => x.on_reals(f64::atanh),
        MathFunction::Ln => x.ln(),
        MathFunction::Abs => Complex::real(x.abs()),
        MathFunction::Factorial => x.on_reals(|n| {
            if n < 0.0 || n.fract() != 0.0 || n > 170.0 {
                return f64::NAN;
            }
            (1..=n as u32).map(f64::from).product()
        }),
        MathFunction::Floor => x.on_reals(f64::floor),
        MathFunction::Ceil => x.on_reals(f64::ceil),
    }
}
