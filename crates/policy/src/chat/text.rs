//! The methods of Python's `str`. Positions count characters.

use minijinja::value::Tuple;
use minijinja::{Error, Value};

use super::arguments::{Arguments, wrong};
use super::python::is_printable;

/// Largest width, in characters, to which methods such as `ljust` and `zfill` fill up a text.
const WIDEST: usize = 1 << 16;

/// Calls a method of Python's `str` that looks for a text in `text`, such as `find` or `split`; `None` where `method`
/// is not such a method.
pub(super) fn search(text: &str, method: &str, arguments: &mut Arguments) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "partition" | "rpartition" => partition(text, method == "rpartition", arguments)?,
        "split" | "rsplit" => split(text, method == "rsplit", arguments)?,
        "find" | "rfind" | "index" | "rindex" => find(text, method, arguments)?,
        "count" => {
            let (wanted, part) = (needed(arguments, "sub")?, Slice::of(text, arguments)?);
            let count = if wanted.is_empty() { part.length + 1 } else { part.text.matches(&wanted).count() };
            count.into()
        }
        "startswith" | "endswith" => {
            let wanted = arguments.next("prefix")?;
            let wanted = wanted.ok_or_else(|| wrong(&format!("the argument of `{method}` is missing")))?;
            let part = Slice::of(text, arguments)?.text;
            let has = |w: &str| if method == "startswith" { part.starts_with(w) } else { part.ends_with(w) };
            match wanted.as_str() {
                Some(wanted) => has(wanted),
                None => wanted.try_iter()?.any(|wanted| wanted.as_str().is_some_and(has)),
            }
            .into()
        }
        _ => return Ok(None),
    }))
}

/// Calls a method of Python's `str` that returns a changed text, such as `title` or `ljust`; `None` where `method` is
/// not such a method.
pub(super) fn change(text: &str, method: &str, arguments: &mut Arguments) -> Result<Option<String>, Error> {
    let lower = |text: &str| text.to_lowercase();
    Ok(Some(match method {
        "removeprefix" => text.strip_prefix(needed(arguments, "prefix")?.as_str()).unwrap_or(text).to_owned(),
        "removesuffix" => text.strip_suffix(needed(arguments, "suffix")?.as_str()).unwrap_or(text).to_owned(),
        "casefold" => lower(&text.replace(['ß', 'ẞ'], "ss")),
        "swapcase" => {
            let swapped =
                |c: char| if c.is_uppercase() { c.to_lowercase().to_string() } else { c.to_uppercase().to_string() };
            text.chars().map(swapped).collect()
        }
        "title" => title(text),
        "ljust" | "rjust" | "center" => filled(text, method, arguments)?,
        "zfill" => {
            let missing = width(arguments)?.saturating_sub(text.chars().count());
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            format!("{sign}{}{digits}", "0".repeat(missing))
        }
        "expandtabs" => {
            let size = usize::try_from(arguments.integer("tabsize")?.unwrap_or(8).clamp(0, 256)).unwrap_or(0);
            expanded(text, size)
        }
        "translate" => {
            let table = arguments.next("table")?.unwrap_or_default();
            text.chars().map(|c| translated(c, &table)).collect::<Result<_, _>>()?
        }
        _ => return Ok(None),
    }))
}

/// Calls a method of Python's `str` that asks whether a text is of some kind, such as `isdecimal` or `istitle`; `None`
/// where `method` is not such a method.
pub(super) fn is(text: &str, method: &str) -> Option<bool> {
    let is_start = |c: char| c == '_' || c.is_alphabetic();
    match method {
        "isprintable" => Some(text.chars().all(is_printable)),
        "isidentifier" => Some(text.starts_with(is_start) && text.chars().all(|c| is_start(c) || c.is_numeric())),
        "istitle" => {
            let (mut is_title, mut cased, mut before) = (true, false, false);
            for c in text.chars() {
                let is_cased = c.is_uppercase() || c.is_lowercase();
                is_title &= !is_cased || c.is_uppercase() != before;
                cased |= is_cased;
                before = is_cased;
            }
            Some(is_title && cased)
        }
        "isdecimal" => Some(!text.is_empty() && text.chars().all(|c| c.is_numeric() && is_decimal(c))),
        _ => None,
    }
}

/// Whether a numeric character is a digit of a decimal system, unlike `²` and `½`. Such digits stand in rows of ten.
fn is_decimal(c: char) -> bool {
    c.is_ascii_digit()
        || (c as u32 >= 0x660
            && !matches!(c as u32, 0x2070..=0x218b | 0x2460..=0x24ff | 0x2776..=0x2793 | 0x3007..=0x3289))
}

fn needed(arguments: &mut Arguments, name: &str) -> Result<String, Error> {
    arguments.text(name)?.ok_or_else(|| wrong(&format!("the argument `{name}` is missing")))
}

fn width(arguments: &mut Arguments) -> Result<usize, Error> {
    let width = arguments.integer("width")?.ok_or_else(|| wrong("the argument `width` is missing"))?;
    let width = usize::try_from(width.max(0)).unwrap_or(usize::MAX);
    if width > WIDEST { Err(wrong("a text is filled up to at most 65536 characters")) } else { Ok(width) }
}

/// The part of a text that the arguments `start` and `end` of a method, such as `find`, select.
struct Slice<'t> {
    text: &'t str,
    /// Number of characters of the part.
    length: usize,
    /// Number of characters before the part.
    start: usize,
}

impl<'t> Slice<'t> {
    fn of(text: &'t str, arguments: &mut Arguments) -> Result<Self, Error> {
        let all = text.chars().count();
        let position = |at: i64| {
            let at = if at < 0 { at + all as i64 } else { at };
            usize::try_from(at.max(0)).unwrap_or(usize::MAX).min(all)
        };
        let start = arguments.integer("start")?.map_or(0, position);
        let end = arguments.integer("end")?.map_or(all, position).max(start);
        let byte = |n: usize| text.char_indices().nth(n).map_or(text.len(), |(at, _)| at);
        Ok(Self { text: &text[byte(start)..byte(end)], length: end - start, start })
    }
}

fn find(text: &str, method: &str, arguments: &mut Arguments) -> Result<Value, Error> {
    let (wanted, part) = (needed(arguments, "sub")?, Slice::of(text, arguments)?);
    let is_last = method.starts_with('r');
    let at = if is_last { part.text.rfind(&wanted) } else { part.text.find(&wanted) };
    match at {
        Some(at) => Ok(Value::from(part.start + part.text[..at].chars().count())),
        None if method.ends_with("find") => Ok(Value::from(-1)),
        None => Err(wrong("substring not found")),
    }
}

fn partition(text: &str, is_last: bool, arguments: &mut Arguments) -> Result<Value, Error> {
    let between = needed(arguments, "sep")?;
    if between.is_empty() {
        return Err(wrong("empty separator"));
    }
    let found = if is_last { text.rsplit_once(&between) } else { text.split_once(&between) };
    let parts = match found {
        Some((before, after)) => [before, between.as_str(), after],
        None if is_last => ["", "", text],
        None => [text, "", ""],
    };
    Ok(Value::from(Tuple::new(parts.map(Value::from).to_vec())))
}

fn split(text: &str, is_last: bool, arguments: &mut Arguments) -> Result<Value, Error> {
    let between = arguments.text("sep")?;
    let most = arguments
        .integer("maxsplit")?
        .and_then(|n| usize::try_from(n).ok())
        .map_or(usize::MAX, |n| n.saturating_add(1));
    let mut parts: Vec<&str> = match &between {
        Some(between) if between.is_empty() => return Err(wrong("empty separator")),
        Some(between) if is_last => text.rsplitn(most, between.as_str()).collect(),
        Some(between) => text.splitn(most, between.as_str()).collect(),
        None => words(text, most, is_last),
    };
    if is_last {
        parts.reverse();
    }
    Ok(parts.into_iter().map(Value::from).collect())
}

/// Splits a text at white space into at most `most` words. With `is_last`, words are split off from the end, and the
/// last word comes first. If there are more words, the last item holds all that were not split off.
fn words(text: &str, most: usize, is_last: bool) -> Vec<&str> {
    let (mut words, mut rest) = (Vec::new(), text.trim());
    while !rest.is_empty() {
        let cut = if is_last { rest.rfind(char::is_whitespace) } else { rest.find(char::is_whitespace) };
        let Some(at) = cut.filter(|_| words.len() + 1 < most) else {
            words.push(rest);
            break;
        };
        let (before, after) = rest.split_at(at);
        let (word, left) = if is_last { (after.trim_start(), before.trim_end()) } else { (before, after.trim_start()) };
        words.push(word);
        rest = left;
    }
    words
}

fn filled(text: &str, method: &str, arguments: &mut Arguments) -> Result<String, Error> {
    let (wide, length) = (width(arguments)?, text.chars().count());
    let fill = arguments.text("fillchar")?.unwrap_or_else(|| " ".into());
    let missing = wide.saturating_sub(length);
    let left = match method {
        "ljust" => 0,
        "rjust" => missing,
        // Where the space cannot be halved, Python puts the larger half on the left of a text of even length only.
        _ => missing / 2 + (missing & wide & 1),
    };
    Ok(format!("{}{text}{}", fill.repeat(left), fill.repeat(missing - left)))
}

/// A text with spaces instead of tabs, up to the next column that is a multiple of `size`.
fn expanded(text: &str, size: usize) -> String {
    let (mut out, mut column) = (String::new(), 0);
    for c in text.chars() {
        if c == '\t' {
            let spaces = if size == 0 { 0 } else { size - column % size };
            out.push_str(&" ".repeat(spaces));
            column += spaces;
        } else {
            out.push(c);
            column = if matches!(c, '\n' | '\r') { 0 } else { column + 1 };
        }
    }
    out
}

/// Translates a character with the table of Python's `str.translate`, which maps the numbers (code points) of
/// characters to texts, numbers or `None`. `None` removes the character, and characters without an entry stay.
fn translated(c: char, table: &Value) -> Result<String, Error> {
    let entry = table.get_item(&Value::from(c as u32))?;
    if entry.is_undefined() {
        return Ok(c.to_string());
    }
    match (entry.as_str(), u32::try_from(entry.clone())) {
        (Some(text), _) => Ok(text.to_owned()),
        (None, Ok(number)) => Ok(char::from_u32(number).map_or_else(String::new, String::from)),
        _ => Ok(String::new()),
    }
}

/// A text in which a letter is upper case if no letter stands before it, and lower case otherwise.
fn title(text: &str) -> String {
    let (mut out, mut is_inside) = (String::new(), false);
    for c in text.chars() {
        if is_inside {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        is_inside = c.is_uppercase() || c.is_lowercase();
    }
    out
}

/// Jinja's filter `truncate`: a text that is too long is cut, at the end of a word unless `killwords` is set.
pub(super) fn truncate(text: &str, arguments: &mut Arguments) -> Result<String, Error> {
    let size = |n: Option<i64>, default: usize| n.map_or(default, |n| usize::try_from(n).unwrap_or(0));
    let length = size(arguments.integer("length")?, 255);
    let cuts_words = arguments.next("killwords")?.is_some_and(|v| v.is_true());
    let end = arguments.text("end")?.unwrap_or_else(|| "...".into());
    let leeway = size(arguments.integer("leeway")?, 5);
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(text.to_owned());
    }
    let cut: String = text.chars().take(length.saturating_sub(end.chars().count())).collect();
    let cut = if cuts_words { cut.as_str() } else { cut.rsplit_once(' ').map_or(cut.as_str(), |(words, _)| words) };
    Ok(format!("{cut}{end}"))
}

/// Jinja's filter `indent`: puts spaces, or a text, before all lines but the first and those that are empty.
pub(super) fn indent(text: &str, arguments: &mut Arguments) -> Result<String, Error> {
    let indentation = match arguments.next("width")? {
        Some(width) => match width.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(usize::try_from(i64::try_from(width)?.clamp(0, WIDEST as i64)).unwrap_or(0)),
        },
        None => "    ".to_owned(),
    };
    let first = arguments.next("first")?.is_some_and(|v| v.is_true());
    let blank = arguments.next("blank")?.is_some_and(|v| v.is_true());
    let indented = |(i, line): (usize, &str)| {
        let is_left = if i == 0 { !first } else { line.is_empty() && !blank };
        if is_left { line.to_owned() } else { format!("{indentation}{line}") }
    };
    Ok(text.split('\n').enumerate().map(indented).collect::<Vec<_>>().join("\n"))
}
