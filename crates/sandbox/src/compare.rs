//! Comparing a program's output with the expected one.

use crate::decimals::{decimals_equal, numbers_equal, words_equal};

/// How a program's output is compared with the expected output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Comparison {
    /// The output must equal the expected one byte for byte.
    Exact,
    /// Outputs are compared word by word; how much white space separates the words does not matter.
    Words,
    /// Like [`Comparison::Words`], but where a decimal number (one with a point or an exponent) is expected, a number with
    /// other digits counts as equal if it differs by no more than what rounding explains: see
    /// [`decimals_equal`](crate::decimals::decimals_equal). Integers must be equal.
    Decimals,
    /// Like [`Comparison::Words`], but a finite number, also an integer, may differ from the expected one by this
    /// tolerance times the larger of 1 and the expected magnitude.
    Numbers(f64),
}

impl Comparison {
    /// Describes the first difference between an output and the expected one; `None` if they are equal.
    pub fn difference(self, got: &[u8], expected: &str) -> Option<String> {
        let Ok(got) = std::str::from_utf8(got) else { return Some("the output is not UTF-8".into()) };
        if self == Self::Exact {
            if got == expected {
                return None;
            }
            let line = got.lines().zip(expected.lines()).take_while(|(a, b)| a == b).count() + 1;
            return Some(format!("line {line} differs"));
        }
        let (mut got, mut expected) = (got.split_whitespace(), expected.split_whitespace());
        for number in 1.. {
            match (got.next(), expected.next()) {
                (None, None) => return None,
                (Some(a), Some(b)) if self.words_equal(a, b) => {}
                (a, b) => {
                    let shown = |w: Option<&str>| w.map_or("nothing".into(), |w| format!("`{}`", brief(w)));
                    return Some(format!("word {number} is {}, not {}", shown(a), shown(b)));
                }
            }
        }
        None
    }

    /// Whether the word `a` counts as the expected word `b`.
    fn words_equal(self, a: &str, b: &str) -> bool {
        match self {
            Self::Exact | Self::Words => a == b,
            Self::Decimals => words_equal(a, b, &decimals_equal),
            Self::Numbers(tolerance) => words_equal(a, b, &|x, y| numbers_equal(x, y, tolerance)),
        }
    }
}

/// The first characters of a word, at most 40, for messages.
fn brief(word: &str) -> String {
    word.chars().take(40).collect()
}
