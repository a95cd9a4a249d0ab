//! Replaces typographic characters by the notation that the lexer and the search for answers read.

use std::borrow::Cow;

/// A text without escaped dollars, and with plain notation in place of typographic characters: `½` becomes
/// `\frac{1}{2}`, `x⁴` becomes `x^4`, a thin space becomes a space. An escaped dollar is a currency sign, whereas other
/// dollars delimit formulas.
pub fn plain_notation(text: &str) -> Cow<'_, str> {
    if text.is_ascii() && !text.contains("\\$") {
        // The letter in `1.5 x 10^3` is a multiplication sign.
        return if text.contains(" x 10^") {
            Cow::Owned(text.replace(" x 10^", " × 10^"))
        } else {
            Cow::Borrowed(text)
        };
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.peek() {
                Some('$') => {
                    chars.next();
                }
                Some('\\') => {
                    chars.next();
                    out.push_str("\\\\");
                }
                _ => out.push(c),
            },
            _ if c.is_ascii() => out.push(c),
            _ if superscript(c).is_some() || subscript(c).is_some() => {
                let script = if superscript(c).is_some() { superscript } else { subscript };
                let mut run: String = script(c).into_iter().collect();
                while let Some(next) = chars.peek().copied().and_then(script) {
                    run.push(next);
                    chars.next();
                }
                if superscript(c).is_some() {
                    out.push('^');
                    out.push_str(&run);
                    // `2²3` is not `2^23`.
                    if chars.peek().is_some_and(char::is_ascii_digit) {
                        out.push(' ');
                    }
                } else {
                    out.extend(["_{", &run, "}"]);
                }
            }
            _ => match (fraction(c), word(c)) {
                (Some((above, below)), _) => out.extend(["\\frac{", above, "}{", below, "}"]),
                (_, Some(word)) => out.push_str(word),
                _ => out.push(character(c)),
            },
        }
    }
    Cow::Owned(out)
}

/// The character that is raised, such as 2 for `²`; `None` for characters that are not superscripts.
fn superscript(c: char) -> Option<char> {
    Some(match c {
        '⁰' => '0',
        '¹' => '1',
        '²' => '2',
        '³' => '3',
        '⁴'..='⁹' => char::from_digit(u32::from(c) - 0x2070, 10)?,
        '⁺' => '+',
        '⁻' => '-',
        'ⁿ' => 'n',
        _ => return None,
    })
}

/// The digit that is lowered, such as 2 for `₂`; `None` for other characters.
fn subscript(c: char) -> Option<char> {
    matches!(c, '₀'..='₉').then(|| char::from_digit(u32::from(c) - 0x2080, 10)).flatten()
}

/// Numerator and denominator of a vulgar fraction, such as 1 and 2 for `½`; `None` for other characters.
fn fraction(c: char) -> Option<(&'static str, &'static str)> {
    Some(match c {
        '¼' => ("1", "4"),
        '½' => ("1", "2"),
        '¾' => ("3", "4"),
        '⅐' => ("1", "7"),
        '⅑' => ("1", "9"),
        '⅒' => ("1", "10"),
        '⅓' => ("1", "3"),
        '⅔' => ("2", "3"),
        '⅕' => ("1", "5"),
        '⅖' => ("2", "5"),
        '⅗' => ("3", "5"),
        '⅘' => ("4", "5"),
        '⅙' => ("1", "6"),
        '⅚' => ("5", "6"),
        '⅛' => ("1", "8"),
        '⅜' => ("3", "8"),
        '⅝' => ("5", "8"),
        '⅞' => ("7", "8"),
        '↉' => ("0", "3"),
        _ => return None,
    })
}

/// The LaTeX command or the marks that replace a character, such as `\emptyset` for `∅`. Empty for characters without
/// width; `None` for characters that this function does not replace.
fn word(c: char) -> Option<&'static str> {
    Some(match c {
        '∠' => "\\angle ",
        '△' => "\\triangle ",
        'ℝ' => "\\mathbb{R}",
        'ℤ' => "\\mathbb{Z}",
        'ℚ' => "\\mathbb{Q}",
        'ℕ' => "\\mathbb{N}",
        'ℂ' => "\\mathbb{C}",
        '∅' => "\\emptyset ",
        '∖' => "\\setminus ",
        '″' => "''",
        '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}' => "",
        _ => return None,
    })
}

/// The plain character for a typographic one, such as `-` for a minus sign; other characters stay.
fn character(c: char) -> char {
    match c {
        '\u{a0}' | '\u{2002}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => ' ',
        '−' | '\u{2010}' | '\u{2011}' | '\u{fe63}' | '\u{ff0d}' => '-',
        '\u{2044}' | '\u{2215}' => '/',
        '·' | '⋅' | '∙' => '×',
        '′' | '’' => '\'',
        'º' | '˚' => '°',
        '\u{ff10}'..='\u{ff19}' => char::from_digit(u32::from(c) - 0xff10, 10).unwrap_or(c),
        // The digits of the mathematical alphabets: bold, double-struck, sans-serif and monospace.
        '\u{1d7ce}'..='\u{1d7ff}' => char::from_digit((u32::from(c) - 0x1d7ce) % 10, 10).unwrap_or(c),
        _ => c,
    }
}
