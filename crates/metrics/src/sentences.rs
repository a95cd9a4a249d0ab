//! Splits a text into sentences and counts them.
//!
//! A sentence ends at `.`, `?` or `!` before a space, except after abbreviations, initials and the numbers of lists.
//! The rules are those of Punkt (Kiss & Strunk, 2006), with a list of English abbreviations instead of a trained model.

/// Abbreviations after which a sentence does not end, unless one of [`STARTERS`] with a capital letter follows.
const ABBREVIATIONS: &[&str] = &[
    "mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "etc", "e.g", "i.e", "inc", "ltd", "co", "corp", "gen",
    "rep", "sen", "gov", "rev", "sgt", "capt", "col", "lt", "maj", "u.s", "u.k", "u.n", "a.m", "p.m", "no", "vol",
    "fig", "approx", "dept", "est", "jan", "feb", "mar", "apr", "aug", "sept", "oct", "nov", "dec", "ave", "blvd",
    "rd", "mt", "ft", "cf", "al", "ph.d", "b.c", "a.d", "p.s", "d.c", "bros", "ste", "adm", "messrs", "va", "tenn",
    "calif", "ariz", "minn", "conn", "mass", "wash", "okla",
];

/// Words that often begin a sentence. If one of them, with a capital letter, follows an abbreviation, a sentence is
/// taken to end at the abbreviation.
const STARTERS: &[&str] = &[
    "the", "this", "that", "these", "those", "he", "she", "it", "they", "we", "i", "in", "but", "and", "however", "if",
    "when", "a", "there", "for", "as", "at", "on", "his", "her", "its", "their", "our", "my", "you", "so",
];

/// The number of sentences in a text.
pub fn sentences(text: &str) -> usize {
    let tokens: Vec<&str> = text.split_whitespace().collect();
    let mut count = 0;
    let mut is_open = false;
    for (i, token) in tokens.iter().enumerate() {
        is_open = true;
        if ends_sentence(token, tokens.get(i + 1).copied()) {
            count += 1;
            is_open = false;
        }
    }
    count + usize::from(is_open)
}

/// Whether a sentence ends with the word `token`. `next` is the word after it; `None` at the end of the text.
fn ends_sentence(token: &str, next: Option<&str>) -> bool {
    let bare = token.trim_end_matches(['"', '\'', ')', ']', '}', '”', '’', '*', '_']);
    let closed = bare.len() < token.len();
    match bare.chars().next_back() {
        Some('?' | '!') => !closed || token[bare.len()..].chars().all(|c| !matches!(c, '*' | '_')),
        Some('.') => {
            if closed && token[bare.len()..].contains(['*', '_']) {
                return false;
            }
            if bare.ends_with("...") || bare.ends_with("..") {
                return next.is_some_and(starts_upper);
            }
            let stem = bare.trim_end_matches('.').trim_start_matches(['"', '\'', '(', '[', '“', '‘']);
            let lower = stem.to_lowercase();
            let follows = next.map(|n| n.trim_start_matches(['"', '\'', '(', '[', '“']).to_lowercase());
            let starter = follows.is_some_and(|n| STARTERS.contains(&n.trim_end_matches([',', '.'])));
            let upper = next.is_some_and(starts_upper);
            if ABBREVIATIONS.contains(&lower.as_str()) {
                return upper && starter;
            }
            // The word is an initial, or the letter of a list item.
            if stem.chars().count() == 1 && stem.chars().all(char::is_alphabetic) {
                return upper && starter;
            }
            if !stem.is_empty() && stem.chars().all(|c| c.is_ascii_digit() || c == '.' || c == ',') {
                return upper || next.is_none();
            }
            next.is_none_or(|n| !n.starts_with(|c: char| c.is_lowercase() || matches!(c, ',' | ';' | ':')))
        }
        _ => false,
    }
}

/// Whether a word begins with a capital letter, after any opening quotes and brackets.
fn starts_upper(word: &str) -> bool {
    word.trim_start_matches(['"', '\'', '(', '[', '“', '*', '_']).starts_with(char::is_uppercase)
}
