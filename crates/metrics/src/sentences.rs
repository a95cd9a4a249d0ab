//! Where sentences end: at `.`, `?` and `!` before a space, but for abbreviations, initials and numbered lists, by the
//! rules that Punkt (Kiss & Strunk, 2006) learns, with a list of English abbreviations instead of a trained model.

/// Abbreviations after which a sentence goes on unless a word follows that starts one.
const ABBREVIATIONS: &[&str] = &[
    "mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "etc", "e.g", "i.e", "inc", "ltd", "co", "corp", "gen",
    "rep", "sen", "gov", "rev", "sgt", "capt", "col", "lt", "maj", "u.s", "u.k", "u.n", "a.m", "p.m", "no", "vol",
    "fig", "approx", "dept", "est", "jan", "feb", "mar", "apr", "aug", "sept", "oct", "nov", "dec", "ave", "blvd",
    "rd", "mt", "ft", "cf", "al", "ph.d", "b.c", "a.d", "p.s", "d.c", "bros", "ste", "adm", "messrs", "va", "tenn",
    "calif", "ariz", "minn", "conn", "mass", "wash", "okla",
];

/// Words that start sentences often enough to end one after an abbreviation.
const STARTERS: &[&str] = &[
    "the", "this", "that", "these", "those", "he", "she", "it", "they", "we", "i", "in", "but", "and", "however", "if",
    "when", "a", "there", "for", "as", "at", "on", "his", "her", "its", "their", "our", "my", "you", "so",
];

/// How many sentences a text has.
pub fn sentences(text: &str) -> usize {
    let tokens: Vec<&str> = text.split_whitespace().collect();
    let mut count = 0;
    let mut open = false;
    for (i, token) in tokens.iter().enumerate() {
        open = true;
        if ends(token, tokens.get(i + 1).copied()) {
            count += 1;
            open = false;
        }
    }
    count + usize::from(open)
}

/// Whether a sentence ends with a token, given the next one.
fn ends(token: &str, next: Option<&str>) -> bool {
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
            // An initial, or a letter or number of a list.
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

fn starts_upper(word: &str) -> bool {
    word.trim_start_matches(['"', '\'', '(', '[', '“', '*', '_']).starts_with(char::is_uppercase)
}
