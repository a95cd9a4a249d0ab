//! Comparing the numbers in words of a program's output, which two correct programs may print with different digits.

/// A part of a word that a program printed: a number or other text.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Piece<'w> {
    /// A number in decimal notation, perhaps with a sign and an exponent.
    Number(&'w str),
    /// Anything else.
    Text(&'w str),
}

/// Whether two words are equal if their numbers are compared with `equal`, which gets the number of the output and the
/// expected number, and everything else is compared as text. Words such as `[0.5,` and `x=0.5` contain numbers;
/// `1.2.3`, `0x1F` and `3rd` do not.
pub fn words_equal(got: &str, expected: &str, equal: &dyn Fn(&str, &str) -> bool) -> bool {
    if got == expected {
        return true;
    }
    let (got, expected) = (pieces(got), pieces(expected));
    got.len() == expected.len()
        && got.iter().zip(&expected).all(|pair| match pair {
            (Piece::Number(x), Piece::Number(y)) => equal(x, y),
            (x, y) => x == y,
        })
}

/// Splits a word into numbers and texts.
fn pieces(word: &str) -> Vec<Piece<'_>> {
    let belongs = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let mut pieces = Vec::new();
    let mut text_from = 0;
    let mut at = 0;
    while let Some(next) = word[at..].chars().next() {
        let before = word[..at].chars().next_back();
        let number = if before.is_some_and(belongs) { 0 } else { number_length(&word[at..]) };
        if number > 0 {
            if text_from < at {
                pieces.push(Piece::Text(&word[text_from..at]));
            }
            pieces.push(Piece::Number(&word[at..at + number]));
            at += number;
            text_from = at;
        } else {
            at += next.len_utf8();
        }
    }
    if text_from < word.len() {
        pieces.push(Piece::Text(&word[text_from..]));
    }
    pieces
}

/// Length, in bytes, of the number at the start of a text. 0 if there is none, or if its digits belong to something
/// else, such as the version `1.2.3` or the word `3rd`.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from.min(bytes.len())..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut at = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let whole = digits(at);
    at += whole;
    let fraction = if bytes.get(at) == Some(&b'.') { digits(at + 1) } else { 0 };
    if fraction > 0 {
        at += 1 + fraction;
    }
    if whole + fraction == 0 {
        return 0;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at + 1 + sign);
        if exponent > 0 {
            at += 1 + sign + exponent;
        }
    }
    let mut after = text[at..].chars();
    let goes_on = match after.next() {
        Some('.') => after.next().is_some_and(char::is_alphanumeric),
        Some(c) => c.is_alphanumeric() || c == '_',
        None => false,
    };
    if goes_on { 0 } else { at }
}

/// A number as a float, if it is finite.
fn value(number: &str) -> Option<f64> {
    number.parse().ok().filter(|x: &f64| x.is_finite())
}

/// Whether two numbers differ by no more than `tolerance` times the larger of 1 and the expected magnitude. Without a
/// tolerance, integers are equal if they are written alike, because a float does not hold every large one.
pub fn numbers_equal(got: &str, expected: &str, tolerance: f64) -> bool {
    if tolerance == 0.0 && Decimal::parse(expected).is_none() {
        return got == expected;
    }
    match (value(got), value(expected)) {
        (Some(x), Some(y)) => (x - y).abs() <= tolerance * y.abs().max(1.0),
        _ => got == expected,
    }
}

/// Relative and absolute difference up to which two decimal numbers count as equal, as is usual in programming
/// contests.
const TOLERANCE: f64 = 1e-6;
/// Largest difference up to which a number counts as equal to an expected decimal number without an exponent. If the
/// number is large, a millionth of it would be so much that a missing fraction would go unnoticed.
const LARGEST: f64 = 0.01;
/// Number of significant digits that suffice to write any double. A decimal number with more of them is not taken for a
/// rounded value, unless its digits are exactly those of a double.
const DOUBLE_DIGITS: usize = 17;

/// Whether a number counts as the expected one, given that decimal numbers may be rounded.
///
/// An expected integer must be met exactly (`-0` is 0). An expected decimal number may be missed by a millionth of its
/// magnitude or, if that is more, by half a unit of its last digit (at most 0.000001). Without an exponent, it may be
/// missed by no more than 0.01, or a few units in the last place of a double if those are more. An expected number with
/// more digits than a double holds must be met exactly, unless it is how a double is printed with that many digits.
pub fn decimals_equal(got: &str, expected: &str) -> bool {
    let Some(number) = Decimal::parse(expected) else {
        let unsigned_zero =
            |n: &str| n.strip_prefix('-').filter(|d| d.bytes().all(|b| b == b'0')).unwrap_or(n).to_owned();
        return unsigned_zero(got) == unsigned_zero(expected);
    };
    let (Some(x), Some(y)) = (value(got), value(expected)) else { return got == expected };
    if number.significant > DOUBLE_DIGITS && !number.is_print_of(y) {
        return got == expected;
    }
    let size = y.abs();
    let half_unit = 0.5 * 10f64.powi(number.exponent.unwrap_or(0) - number.fraction);
    let allowed = (TOLERANCE * size).max(TOLERANCE.min(half_unit));
    // Sums of large numbers differ by a few units in the last place of a double.
    let most = if number.exponent.is_some() { f64::INFINITY } else { LARGEST.max(4.0 * f64::EPSILON * size) };
    (x - y).abs() <= allowed.min(most)
}

/// The notation of a number with a point or an exponent.
struct Decimal<'n> {
    /// The number without its sign.
    digits: &'n str,
    /// Number of digits behind the point.
    fraction: i32,
    /// Number of digits from the first that is not 0 to the last that is not 0.
    significant: usize,
    /// The power of ten behind `e`; `None` in plain notation.
    exponent: Option<i32>,
}

impl<'n> Decimal<'n> {
    /// The notation of a number; `None` if the number is an integer.
    fn parse(number: &'n str) -> Option<Self> {
        let digits = number.trim_start_matches(['+', '-']);
        let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent.parse().ok()?)),
            None => (digits, None),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if fraction.is_empty() && exponent.is_none() {
            return None;
        }
        let all = format!("{whole}{fraction}");
        let significant = all.trim_start_matches('0').trim_end_matches('0').len();
        Some(Self { digits, fraction: i32::try_from(fraction.len()).ok()?, significant, exponent })
    }

    /// Whether this is how the double `y` is printed with as many digits behind the point.
    fn is_print_of(&self, y: f64) -> bool {
        self.exponent.is_none() && format!("{:.*}", self.fraction.unsigned_abs() as usize, y.abs()) == self.digits
    }
}
