//! Compares rational numbers exactly, by their remainders modulo two large primes.

use super::expr::Expr;
use super::value::MathFunction;

/// Two primes near 2^61. Two different numbers have equal remainders modulo both primes with a probability of about
/// 2^-120.
const PRIMES: [u64; 2] = [(1 << 61) - 1, 2_305_843_009_213_693_921];
/// Largest whole number whose factorial is computed exactly.
const MAX_FACTORIAL: u64 = 5000;

/// Whether two expressions are the same rational number. `None` if one of the expressions is not a rational number or
/// is too complex.
pub fn same(a: &Expr, b: &Expr) -> Option<bool> {
    let mut all = true;
    for p in PRIMES {
        all &= remainder(a, p)? == remainder(b, p)?;
    }
    Some(all)
}

/// The product a·b mod p.
fn times(a: u64, b: u64, p: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(p)) as u64
}

/// The power baseⁿ mod p.
fn power(mut base: u64, mut n: u64, p: u64) -> u64 {
    let mut product = 1;
    while n > 0 {
        if n & 1 == 1 {
            product = times(product, base, p);
        }
        base = times(base, base, p);
        n >>= 1;
    }
    product
}

/// The quotient a/b mod p for a prime p, by Fermat's little theorem; `None` for b = 0.
fn over(a: u64, b: u64, p: u64) -> Option<u64> {
    (b != 0).then(|| times(a, power(b, p - 2, p), p))
}

/// The value of an expression modulo the prime p; `None` if the value is not a rational number, or cannot be computed.
fn remainder(e: &Expr, p: u64) -> Option<u64> {
    let sub = |a: &Expr| remainder(a, p);
    match e {
        Expr::Number(n) => {
            let (whole, decimals) = n.digits.split_once('.').unwrap_or((&n.digits, ""));
            let mut value = 0;
            for d in whole.chars().chain(decimals.chars()) {
                value = (times(value, 10, p) + u64::from(d.to_digit(10)?)) % p;
            }
            over(value, power(10, decimals.len() as u64, p), p)
        }
        Expr::Negative(a) => sub(a).map(|x| (p - x) % p),
        Expr::Sum(terms) => terms.iter().try_fold(0, |sum, t| Some((sum + sub(t)?) % p)),
        Expr::Product(factors) => factors.iter().try_fold(1, |product, f| Some(times(product, sub(f)?, p))),
        Expr::Quotient(a, b) => over(sub(a)?, sub(b)?, p),
        Expr::Percent(a) => over(sub(a)?, 100, p),
        Expr::Power(a, n) => {
            let (negative, n) = match &**n {
                Expr::Negative(n) => (true, n),
                _ => (false, n),
            };
            let Expr::Number(n) = &**n else { return None };
            let raised = power(sub(a)?, n.digits.parse().ok()?, p);
            if negative { over(1, raised, p) } else { Some(raised) }
        }
        Expr::Call(MathFunction::Factorial, a) => {
            let Expr::Number(n) = &**a else { return None };
            let n: u64 = n.digits.parse().ok().filter(|n| *n <= MAX_FACTORIAL)?;
            Some((1..=n).fold(1, |product, i| times(product, i, p)))
        }
        _ => None,
    }
}
