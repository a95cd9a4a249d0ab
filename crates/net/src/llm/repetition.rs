//! Runaway repetition: a reply whose end repeats itself without end, as small models write it.

/// Maximum length of the text that is repeated in a runaway repetition (the unit), in bytes.
const LONGEST_UNIT: usize = 400;

/// Minimum number of copies of the repeated text (the unit), one behind the other, in a runaway repetition.
const LEAST_UNITS: usize = 6;

/// Minimum length of a runaway repetition whose unit contains letters, in bytes. Repetitions in tables and game boards
/// are shorter.
const LEAST_WORDS: usize = 800;

/// Minimum length of a runaway repetition whose unit consists of digits and punctuation, in bytes. The limit is high
/// because programs may have long lists of zeros.
const LEAST_SIGNS: usize = 2400;

/// Minimum length of a runaway repetition whose unit consists of white space, in bytes.
const LEAST_SPACE: usize = 400;

/// The length of the end of a text in which repetition is looked for, in bytes.
const WINDOW: usize = LEAST_SIGNS + LONGEST_UNIT;

/// Number of bytes by which a growing text gets longer between two checks for repetition.
const STEP: usize = 256;

/// A repetition at the end of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repetition {
    /// Where the repetition begins: the number of bytes before it.
    pub begin: usize,
    /// The length of the unit that is repeated, in bytes.
    pub unit: usize,
}

/// Finds a repetition at the end of a text that is so long that the text would probably go on like this without end;
/// `None` for any other text. Repetition in ordinary code, tables and lists of zeros does not count.
pub fn runaway_repetition(text: &str) -> Option<Repetition> {
    let bytes = text.as_bytes();
    let reversed: Vec<u8> = bytes.iter().rev().take(WINDOW).copied().collect();
    let same = common_prefixes(&reversed);
    let longest = LONGEST_UNIT.min(reversed.len().saturating_sub(1));
    let unit = (1..=longest).find(|&unit| {
        let length = unit + same[unit];
        length >= LEAST_UNITS * unit && length >= least_length(&reversed[..unit])
    })?;
    let mut begin = bytes.len() - unit;
    while begin > 0 && bytes[begin - 1] == bytes[begin - 1 + unit] {
        begin -= 1;
    }
    Some(Repetition { begin: text.ceil_char_boundary(begin), unit })
}

/// Minimum length at which a repetition of this unit counts as runaway, in bytes. A byte beyond ASCII counts as a
/// letter.
fn least_length(unit: &[u8]) -> usize {
    if unit.iter().all(u8::is_ascii_whitespace) {
        LEAST_SPACE
    } else if unit.iter().any(|byte| byte.is_ascii_alphabetic() || !byte.is_ascii()) {
        LEAST_WORDS
    } else {
        LEAST_SIGNS
    }
}

/// For every position of a text, how many bytes from there on equal the beginning of the text (the Z-function; Gusfield,
/// "Algorithms on Strings, Trees and Sequences", section 1.4). Takes time in proportion to the length.
fn common_prefixes(text: &[u8]) -> Vec<usize> {
    let mut same = vec![0; text.len()];
    let (mut begin, mut end) = (0, 0);
    for at in 1..text.len() {
        let mut length = if at < end { same[at - begin].min(end - at) } else { 0 };
        while at + length < text.len() && text[length] == text[at + length] {
            length += 1;
        }
        if at + length > end {
            (begin, end) = (at, at + length);
        }
        same[at] = length;
    }
    same
}

/// A text that grows and is watched for runaway repetition.
#[derive(Debug, Default)]
pub struct GrowingText {
    text: String,
    /// The length of the text when it was last checked for repetition, in bytes.
    checked: usize,
}

impl GrowingText {
    /// The text, up to the end of the first unit of a repetition.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Appends a piece. True if the text has begun to repeat itself without end; it is then cut after the first unit of
    /// the repetition.
    pub fn push(&mut self, piece: &str) -> bool {
        self.text.push_str(piece);
        if self.text.len() < self.checked + STEP {
            return false;
        }
        self.checked = self.text.len();
        let found = runaway_repetition(&self.text);
        if let Some(Repetition { begin, unit }) = found {
            self.text.truncate(begin + unit);
        }
        found.is_some()
    }
}
