//! Splits a text into words, also in scripts without spaces.

/// The words of a text. In scripts that put no spaces between words, every character is a word.
pub fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for run in text.split_whitespace() {
        let mut begin = 0;
        for (at, c) in run.char_indices().filter(|(_, c)| is_unspaced(*c)) {
            if begin < at {
                words.push(&run[begin..at]);
            }
            begin = at + c.len_utf8();
            words.push(&run[at..begin]);
        }
        if begin < run.len() {
            words.push(&run[begin..]);
        }
    }
    words
}

/// Whether a character belongs to a script without spaces between words: Thai, Lao, Burmese, Khmer, Chinese or
/// Japanese.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}
