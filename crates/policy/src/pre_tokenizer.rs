//! The pre-tokenizers of byte-level BPE: how a text is cut into words, by llama.cpp's names (`tokenizer.ggml.pre`).

use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{PreTokenizerWrapper, SplitDelimiterBehavior};

/// The names of the supported pre-tokenizers, for error messages.
const NAMES: &str = "gpt-2, smollm, llama-bpe, qwen2, deepseek-r1-qwen, qwen35, tekken, default";

/// The pattern by which Llama 3 cuts a text. Qwen2's differs in that it cuts numbers into single digits.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The pattern of Qwen 3.5: Qwen2's, in which combining marks belong to the letters before them.
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The pattern of Mistral's tokenizer Tekken, which also cuts before a capital letter that follows a small one.
/// llama.cpp approximates the classes of letters by ASCII's, so that it cuts some words with accents differently.
const TEKKEN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

/// llama.cpp's patterns for `default`, each of which cuts the parts that those before it left: punctuation, words as in
/// GPT-2, numbers, three digits at a time.
const DEFAULT: [&str; 4] = [
    r"[\p{P}\$\+<=>\^~\|]+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"\p{N}+",
    r"[0-9][0-9][0-9]",
];

/// A pre-tokenizer, with what else its name says about a tokenizer.
pub(crate) struct PreTokenizer {
    /// Cuts a text into words, and writes every byte of them as a character.
    pub cut: PreTokenizerWrapper,
    /// Whether a word that is a token is never taken apart, even if no merges lead to it.
    pub whole_words: bool,
    /// Whether texts are composed first (Unicode's normalisation form C).
    pub composed: bool,
    /// Whether a text begins with BOS where the file does not say whether it does.
    pub adds_bos: bool,
}

impl PreTokenizer {
    /// Makes the pre-tokenizer with one of llama.cpp's names. The error lists the supported ones.
    pub fn named(name: &str) -> Result<Self, String> {
        let plain = |cut| Self { cut, whole_words: false, composed: false, adds_bos: false };
        Ok(match name {
            "gpt-2" => plain(PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, true))),
            "smollm" => plain(digits_then_bytes()),
            "llama-bpe" | "llama3" | "llama-v3" => {
                Self { whole_words: true, adds_bos: true, ..plain(cut_by(&[LLAMA3])?) }
            }
            "qwen2" => Self { composed: true, ..plain(cut_by(&[QWEN2])?) },
            // The distillates of R1 are cut as Qwen2 cuts, by llama.cpp, too.
            "deepseek-r1-qwen" => plain(cut_by(&[QWEN2])?),
            "qwen35" => Self { composed: true, ..plain(cut_by(&[QWEN35])?) },
            "tekken" => Self { whole_words: true, adds_bos: true, ..plain(cut_by(&[TEKKEN])?) },
            "default" => plain(cut_by(&DEFAULT)?),
            other => return Err(format!("pre-tokenizer `{other}` is not supported; supported: {NAMES}")),
        })
    }
}

/// The pre-tokenizer that cuts numbers into single digits, and the rest of the text as GPT-2 does.
pub(crate) fn digits_then_bytes() -> PreTokenizerWrapper {
    let bytes = ByteLevel::new(false, true, true);
    PreTokenizerWrapper::Sequence(Sequence::new(vec![
        PreTokenizerWrapper::Digits(Digits::new(true)),
        PreTokenizerWrapper::ByteLevel(bytes),
    ]))
}

/// Cuts a text by one pattern after the other: what a pattern matches is a part, and so is what lies between matches.
fn cut_by(patterns: &[&str]) -> Result<PreTokenizerWrapper, String> {
    let split = |pattern: &&str| {
        let pattern = SplitPattern::Regex((*pattern).to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
        split.map(PreTokenizerWrapper::Split).map_err(|e| format!("tokenizer: {e}"))
    };
    let mut parts = patterns.iter().map(split).collect::<Result<Vec<_>, _>>()?;
    parts.push(PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, false)));
    Ok(PreTokenizerWrapper::Sequence(Sequence::new(parts)))
}
