//! Texts and numbers of a run as they are shown to people.

use rlar_view::redact::redact_text;
use rlar_view::shown_text::{ShownText, clipped};

/// Number of characters behind the end of a text that is cut which are looked at for secrets.
const LONGEST_SECRET: usize = 400;

/// A text of a run without what looks like a secret, because a report is made to be passed on, and with signs in the place
/// of characters that cannot be seen, turn the direction of the text, or are not allowed in XML.
pub fn shown(text: &str) -> String {
    redact_text(text).chars().flat_map(visible).collect()
}

/// The first `max` characters of a text of a run, shown. Secrets that reach beyond them are left out, too.
pub fn shown_cut(text: &str, max: usize) -> String {
    let end = text.char_indices().nth(max + LONGEST_SECRET).map_or(text.len(), |(end, _)| end);
    clipped(shown(&text[..end]), max)
}

/// The beginning of a text that may be long, and how much of it is left out.
pub fn shown_beginning(text: &ShownText, max: usize) -> String {
    match text.chars.saturating_sub(max) {
        0 => shown(&text.text),
        left_out => format!("{} {left_out} more characters", shown_cut(&text.text, max)),
    }
}

/// A number with about four significant digits.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return "–".to_owned();
    }
    if size == 0.0 {
        return "0".to_owned();
    }
    if !(1e-4..1e6).contains(&size) {
        return format!("{value:.2e}");
    }
    let digits = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A number, or a dash where there is none.
pub fn number_or_dash(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), number)
}

/// A share in percent.
pub fn percent(share: f64) -> String {
    format!("{} %", rlar_run::percent(share))
}

/// A number of things, such as `3 prompts`.
pub fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

fn visible(character: char) -> Vec<char> {
    match character {
        '\n' | '\t' => vec![character],
        '\0'..='\u{1f}' => vec![char::from_u32(0x2400 + u32::from(character)).unwrap_or('\u{fffd}')],
        '\u{7f}' => vec!['\u{2421}'],
        '\u{80}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => vec!['\u{fffd}'],
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            format!("[U+{:04X}]", u32::from(character)).chars().collect()
        }
        _ => vec![character],
    }
}
