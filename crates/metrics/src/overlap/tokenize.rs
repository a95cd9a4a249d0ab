//! The tokenizers that split texts for BLEU.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A tokenizer of sacrebleu, which splits texts for BLEU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Tokenizer")]
pub enum BleuTokenizer {
    /// The tokenizer of the script mteval-v13a, which WMT (the conference on machine translation) uses.
    #[default]
    #[serde(rename = "13a")]
    Mteval13a,
    /// A tokenizer that makes every Chinese character a token, and splits other text like `13a`.
    #[serde(rename = "zh")]
    Chinese,
    /// A tokenizer that makes every character a token, except white space.
    #[serde(rename = "char")]
    Characters,
    /// A tokenizer that splits only at white space, and leaves words unchanged.
    #[serde(rename = "none")]
    Spaces,
}

impl BleuTokenizer {
    /// Splits a line into tokens.
    pub fn tokens(self, line: &str) -> Vec<String> {
        let split = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        let line = line.trim_end();
        match self {
            Self::Spaces => split(line),
            Self::Characters => line.chars().filter(|c| !c.is_whitespace()).map(String::from).collect(),
            Self::Mteval13a => {
                let mut line = line.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
                if line.contains('&') {
                    for (name, sign) in [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")] {
                        line = line.replace(name, sign);
                    }
                }
                split(&western(&format!(" {line} ")))
            }
            Self::Chinese => {
                let mut spread = String::with_capacity(2 * line.len());
                for c in line.trim().chars() {
                    if is_chinese(c) {
                        spread.extend([' ', c, ' ']);
                    } else {
                        spread.push(c);
                    }
                }
                split(&western(&spread))
            }
        }
    }
}

/// Puts spaces around punctuation marks, except around full stops and commas between two digits, and around a dash only
/// if it follows a digit.
fn western(line: &str) -> String {
    let punctuation = |c: char| matches!(c, '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/');
    let mut spread = Vec::with_capacity(2 * line.len());
    for c in line.chars() {
        if punctuation(c) { spread.extend([' ', c, ' ']) } else { spread.push(c) }
    }
    let stop = |c: char| matches!(c, '.' | ',');
    let digit = |c: char| c.is_ascii_digit();
    let line = pairs(&spread, |a, b| (!digit(a) && stop(b)).then_some([a, ' ', b, ' ']));
    let line = pairs(&line, |a, b| (stop(a) && !digit(b)).then_some([' ', a, ' ', b]));
    pairs(&line, |a, b| (digit(a) && b == '-').then_some([a, ' ', b, ' '])).into_iter().collect()
}

/// Replaces pairs of neighbouring characters, from left to right, by the four characters that `replace` returns for a
/// pair; where it returns `None`, the pair stays. Characters that were replaced are not examined again.
fn pairs(line: &[char], replace: impl Fn(char, char) -> Option<[char; 4]>) -> Vec<char> {
    let mut out = Vec::with_capacity(2 * line.len());
    let mut index = 0;
    while index < line.len() {
        if let Some(replaced) = line.get(index + 1).and_then(|next| replace(line[index], *next)) {
            out.extend(replaced);
            index += 2;
        } else {
            out.push(line[index]);
            index += 1;
        }
    }
    out
}

/// Whether sacrebleu takes a character for Chinese. Two of sacrebleu's ranges are mistyped as strings of two
/// characters, so that punctuation from U+2001 on counts as Chinese; this function does the same.
fn is_chinese(c: char) -> bool {
    matches!(c,
        '\u{3400}'..='\u{4db5}' | '\u{4e00}'..='\u{9fa5}' | '\u{9fa6}'..='\u{9fbb}' | '\u{f900}'..='\u{fa2d}'
        | '\u{fa30}'..='\u{fa6a}' | '\u{fa70}'..='\u{fad9}' | '\u{2001}'..='\u{2a6d}' | '\u{2f81}'..='\u{2fa1}'
        | '\u{ff00}'..='\u{ffef}' | '\u{2e80}'..='\u{2eff}' | '\u{3000}'..='\u{303f}' | '\u{31c0}'..='\u{31ef}'
        | '\u{2f00}'..='\u{2fdf}' | '\u{2ff0}'..='\u{2fff}' | '\u{3100}'..='\u{312f}' | '\u{31a0}'..='\u{31bf}'
        | '\u{fe10}'..='\u{fe1f}' | '\u{fe30}'..='\u{fe4f}' | '\u{3200}'..='\u{32ff}' | '\u{3300}'..='\u{33ff}')
}
