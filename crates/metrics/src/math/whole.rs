//! Answers that are compared as a whole, although they contain several numbers: ranges, dates, clock times and compound
//! quantities. Reduced to one of their numbers, or read as a formula, they would equal wrong answers.

// The comparisons of floating-point numbers are exact because both are as written.
#![allow(clippy::float_cmp)]

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::commands::{TEXTS, UPRIGHT, WORDS};
use super::extract::last_box;
use super::measures::{Measure, UnitKind, is_known_unit, same_quantity, total};
use super::{marked, tidy};

/// Maximum number of bytes in an answer that is compared as a whole.
const MAX_BYTES: usize = 120;
/// Maximum number of words, counted from the end of a reply, in which a range, date, time or quantity is searched.
const MAX_WORDS: usize = 30;
/// Words behind a number that are not the name of a unit.
const NO_UNITS: [&str; 18] = [
    "for", "of", "to", "or", "per", "out", "in", "at", "the", "by", "from", "with", "and", "is", "are", "times",
    "than", "more",
];
const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// An answer that is compared as a whole, although it may contain several numbers: a range, a date, a time or a
/// quantity with units.
#[derive(Clone, Debug, PartialEq)]
pub enum Whole {
    /// A range with its lower and upper bound, or two numbers with a hyphen between them.
    Range(f64, f64),
    Date(CalendarDate),
    Time(ClockTime),
    Quantity(Vec<Measure>),
    /// A number alone. Only a reply has this answer: a reference that is a number alone is not compared as a whole.
    Number(f64),
}

/// A date. Parts that are not written are `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct CalendarDate {
    year: Option<u32>,
    month: u32,
    day: Option<u32>,
    /// Whether the notation leaves open which number is the month and which the day, as in `05/01/2023`.
    is_ambiguous: bool,
}

/// A time of day.
#[derive(Clone, Debug, PartialEq)]
pub struct ClockTime {
    hour: u32,
    minute: Option<u32>,
    second: u32,
    /// Whether the time is after noon; `None` if that is not written.
    after_noon: Option<bool>,
}

impl Whole {
    /// Whether a reply's answer equals this answer of a reference.
    pub fn equals(&self, reply: &Self) -> bool {
        match (self, reply) {
            (Self::Range(a, b), Self::Range(c, d)) => [a, b] == [c, d],
            (Self::Date(a), Self::Date(b)) => a == b,
            (Self::Time(a), Self::Time(b)) => a.equals(b),
            (Self::Time(a), Self::Number(n)) => a.minute.is_none() && f64::from(a.hour).total_cmp(n).is_eq(),
            (Self::Quantity(a), Self::Quantity(b)) => same_quantity(a, b),
            (Self::Quantity(a), Self::Number(n)) => {
                matches!(total(a), Some((UnitKind::Money, sum)) if (sum - n).abs() < 1e-9)
            }
            _ => false,
        }
    }
}

impl ClockTime {
    /// Whether two times are equal. A time without "a.m." or "p.m." equals either, unless its hour tells which it is.
    fn equals(&self, other: &Self) -> bool {
        let minutes = |t: &Self| (t.minute.unwrap_or(0), t.second);
        let of_day = |t: &Self| match t.after_noon {
            Some(after_noon) => Some(t.hour % 12 + if after_noon { 12 } else { 0 }),
            None => (t.hour > 12 || t.hour == 0).then_some(t.hour),
        };
        let same_hour = match (of_day(self), of_day(other)) {
            (Some(a), Some(b)) => a == b,
            // Without a mark on both sides, the hours must be written alike.
            _ if self.after_noon.is_none() && other.after_noon.is_none() => self.hour == other.hour,
            _ => self.hour % 12 == other.hour % 12,
        };
        same_hour && minutes(self) == minutes(other)
    }
}

/// The answer of a reference, if it is a range, a date, a clock time or a compound quantity, which are compared as a
/// whole; `None` for other answers.
pub fn in_reference(reference: &str) -> Option<Whole> {
    let answer = named_answer(reference);
    if answer.len() > MAX_BYTES || answer.contains(['=', '+', '(', '_', '<', '>', '|']) {
        return None;
    }
    let text = cleaned(&answer)?;
    let whole = KINDS.iter().find_map(|read| read(&text))?;
    match whole {
        Whole::Number(_) => None,
        Whole::Quantity(parts) if parts.len() < 2 => None,
        // In a formula, a hyphen is a minus sign.
        Whole::Range(..) if reference.contains(['$', '\\']) && answer.contains('-') && !text.contains(' ') => None,
        other => Some(other),
    }
}

/// The answer of a reply, read as the same kind of answer as the reference's (such as a date), or else as a number
/// alone; `None` if it is neither.
pub fn in_reply(reply: &str, reference: &Whole) -> Option<Whole> {
    let read = match reference {
        Whole::Range(..) => range_or_interval,
        Whole::Date(_) => date,
        Whole::Time(_) => time,
        Whole::Quantity(_) | Whole::Number(_) => quantity,
    };
    let answer = named_answer(reply);
    if let Some(found) = cleaned(&answer).as_deref().and_then(|text| read(text).or_else(|| number(text))) {
        return Some(found);
    }
    if reply.contains("\\boxed") {
        return None;
    }
    let line = answer.lines().rev().find(|l| !l.trim().is_empty())?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let text = cleaned(&words[words.len().saturating_sub(MAX_WORDS)..].join(" "))?;
    let words: Vec<&str> = text.split(' ').collect();
    let mut found = None;
    let mut start = 0;
    while start < words.len() {
        let longest = (start + 1..=words.len()).rev().find_map(|end| {
            let window = words[start..end].join(" ");
            read(window.trim_matches([',', '.', ';', '!', '?', '(', ')', '*', '"'])).map(|whole| (whole, end))
        });
        start = match longest {
            Some((whole, end)) => {
                found = Some(whole);
                end
            }
            None => start + 1,
        };
    }
    found
}

/// Whether a text is a date in digits, such as `2023-05-01`, which must not be read as a difference or a quotient.
pub fn is_date(text: &str) -> bool {
    let is_numeric = |b: u8| b.is_ascii_digit() || matches!(b, b'-' | b'/' | b'.');
    (8..=10).contains(&text.len()) && text.bytes().all(is_numeric) && date(text).is_some()
}

/// The part of a text that holds the answer: the content of the last `\boxed{…}`, what follows a mark (such as `####`)
/// or "answer is", or else the whole text.
pub fn named_answer(text: &str) -> String {
    if text.contains("\\boxed")
        && let Some(content) = last_box(text)
    {
        return content;
    }
    let bare = marked(text).unwrap_or(text).trim();
    let lower = bare.to_ascii_lowercase();
    let rest = lower.rfind("answer is").map_or(bare, |at| &bare[at + "answer is".len()..]);
    let line = rest.trim_start_matches([':', ' ', '*']);
    line.to_owned()
}

/// An answer in lower case, without dollars, braces and commands for text and space. `None` if the answer is too long or
/// has other commands.
fn cleaned(answer: &str) -> Option<String> {
    if answer.len() > 4 * MAX_BYTES {
        return None;
    }
    let mut out = String::with_capacity(answer.len());
    let mut rest = answer;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => {
                let name = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
                let (name, after) = rest.split_at(name.max(rest.chars().next().map_or(0, char::len_utf8)));
                rest = after;
                match name {
                    "," | ";" | ":" | " " | "quad" | "qquad" => out.push(' '),
                    "!" | "(" | ")" | "[" | "]" => {}
                    "%" => out.push('%'),
                    "colon" => out.push(':'),
                    "circ" | "degree" => {
                        let kept = out.trim_end_matches(['^', ' ']).len();
                        out.truncate(kept);
                        out.push('°');
                    }
                    "prime" => out.push('\''),
                    _ if TEXTS.contains(&name) || UPRIGHT.contains(&name) => {}
                    _ => return None,
                }
            }
            '{' | '}' | '$' => {}
            '~' => out.push(' '),
            _ => out.extend(c.to_lowercase()),
        }
    }
    let text = out.split_whitespace().collect::<Vec<_>>().join(" ").replace("^'", "'");
    Some(text.trim_end_matches('.').trim().to_owned())
}

const KINDS: [fn(&str) -> Option<Whole>; 4] = [date, time, range, quantity];

fn pattern(text: &str) -> Option<Regex> {
    Regex::new(text).ok()
}

/// The number that the named group `group` of a regular expression matched; `None` if it matched no number.
fn part<T: std::str::FromStr>(captures: &Captures, group: &str) -> Option<T> {
    captures.name(group)?.as_str().replace(',', "").parse().ok()
}

fn number(text: &str) -> Option<Whole> {
    text.replace(',', "").parse().ok().filter(|n: &f64| n.is_finite()).map(Whole::Number)
}

fn date(text: &str) -> Option<Whole> {
    static PATTERNS: LazyLock<Option<[Regex; 5]>> = LazyLock::new(|| {
        let month = r"(?P<month>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?";
        let weekday = r"(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day,? )?";
        let day = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?";
        Some([
            pattern(r"^(?P<year>\d{4})(?P<a>[-/.])(?P<month>\d{1,2})(?P<b>[-/.])(?P<day>\d{1,2})$")?,
            pattern(r"^(?P<month>\d{1,2})(?P<a>[-/.])(?P<day>\d{1,2})(?P<b>[-/.])(?P<year>\d{4})$")?,
            pattern(&format!(r"^{weekday}{month} {day}(?:,? (?P<year>\d{{4}}))?$"))?,
            pattern(&format!(r"^{weekday}(?:the )?{day} (?:of )?{month},?(?: (?P<year>\d{{4}}))?$"))?,
            pattern(&format!(r"^{month},? (?P<year>\d{{4}})$"))?,
        ])
    });
    let (index, captures) =
        PATTERNS.iter().flatten().enumerate().find_map(|(i, p)| p.captures(text).map(|captures| (i, captures)))?;
    if captures.name("a").map(|m| m.as_str()) != captures.name("b").map(|m| m.as_str()) {
        return None;
    }
    let year = part(&captures, "year");
    let mut day = part(&captures, "day");
    let mut month = match captures.name("month")?.as_str() {
        name if index > 1 => MONTHS.iter().position(|m| *m == name)? as u32 + 1,
        digits => digits.parse().ok()?,
    };
    let mut is_ambiguous = false;
    if index == 1
        && let Some(d) = day
    {
        if month > 12 {
            (month, day) = (d, Some(month));
        } else {
            is_ambiguous = d <= 12 && d != month;
        }
    }
    let is_valid = (1..=12).contains(&month) && day.is_none_or(|d: u32| (1..=31).contains(&d));
    is_valid.then_some(Whole::Date(CalendarDate { year, month, day, is_ambiguous }))
}

fn time(text: &str) -> Option<Whole> {
    static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| {
        pattern(
            r"^(?:at )?(?P<hour>\d{1,2})(?: ?: ?(?P<minute>\d{2})(?::(?P<second>\d{2}))?)? ?(?P<half>[ap]\.? ?m\.?|noon|midnight|o'clock|in the morning|in the afternoon|in the evening)?$",
        )
    });
    let captures = (*PATTERN).as_ref()?.captures(text)?;
    let hour: u32 = part(&captures, "hour")?;
    let (minute, second): (Option<u32>, u32) = (part(&captures, "minute"), part(&captures, "second").unwrap_or(0));
    let half = captures.name("half").map(|m| m.as_str());
    let after_noon = match half {
        None | Some("o'clock") => None,
        Some("midnight" | "in the morning") => Some(false),
        Some(half) => Some(!half.starts_with('a')),
    };
    let is_time = minute.is_some() || half.is_some();
    let is_valid = hour <= if after_noon.is_some() { 12 } else { 24 } && minute.unwrap_or(0) < 60 && second < 60;
    (is_time && is_valid).then_some(Whole::Time(ClockTime { hour, minute, second, after_noon }))
}

fn range(text: &str) -> Option<Whole> {
    static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let number = r"[€£¥]?(?P<X>-?(?:\d+|\d{1,3}(?:,\d{3})+)(?:\.\d+)?|\.\d+)";
        let unit = r"(?: ?(?:%|°|[a-z]{2,}\.?(?: [a-z]+){0,2}))?";
        let between = r"(?: ?(?:-{1,3}|–|—|−) ?| to | through | until | till )";
        let (from, to) = (number.replace('X', "from"), number.replace('X', "to"));
        let (low, high) = (number.replace('X', "low"), number.replace('X', "high"));
        pattern(&format!(r"^(?:(?:from )?{from}{unit}{between}{to}{unit}|between {low}{unit} and {high}{unit})$"))
    });
    let captures = (*PATTERN).as_ref()?.captures(text)?;
    // `2pi-3` is a difference.
    let is_function = |w: &str| WORDS.iter().any(|(word, c)| *word == w && !matches!(*c, "%" | "and" | "or"));
    if text.split(|c: char| !c.is_ascii_alphabetic()).any(is_function) {
        return None;
    }
    let bounds = |from, to| Some(Whole::Range(part(&captures, from)?, part(&captures, to)?));
    bounds("from", "to").or_else(|| bounds("low", "high"))
}

/// Reads a text as a range, such as `3 to 5`, or as a closed interval, such as `[3, 5]`; `None` for other texts.
fn range_or_interval(text: &str) -> Option<Whole> {
    let interval = || {
        let (from, to) = text.strip_prefix('[')?.strip_suffix(']')?.split_once(',')?;
        Some(Whole::Range(from.trim().parse().ok()?, to.trim().parse().ok()?))
    };
    range(text).or_else(interval)
}

/// Reads a text as quantities with units, such as `5 feet 6 inches`, with spaces, commas or "and" between them; `None`
/// for other texts.
fn quantity(text: &str) -> Option<Whole> {
    static ITEM: LazyLock<Option<Regex>> = LazyLock::new(|| {
        pattern(
            r#"^(?:, and |, | and | plus | )?(?P<value>(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?) ?(?P<unit>°|''|'|"|(?:square |cubic |sq |cu )?[a-z]+)\.?"#,
        )
    });
    let item = (*ITEM).as_ref()?;
    let mut rest = text;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let captures = item.captures(rest)?;
        let unit = captures.name("unit")?.as_str();
        // The unit `in` is recognised only beside feet.
        let is_inches = unit == "in" && parts.iter().all(|part: &Measure| is_known_unit(&part.unit));
        if WORDS.iter().any(|(word, _)| *word == unit)
            || (NO_UNITS.contains(&unit) && !is_inches)
            || (unit.len() == 1 && unit != "m" && !is_known_unit(unit))
        {
            return None;
        }
        parts.push(Measure { value: part(&captures, "value")?, unit: unit.to_owned() });
        rest = &rest[captures.get(0)?.end()..];
        if parts.len() > 8 {
            return None;
        }
    }
    (!parts.is_empty() && !tidy(text).is_empty()).then_some(Whole::Quantity(parts))
}
