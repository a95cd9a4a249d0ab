//! The blocks of code in a text of Markdown, such as a reply.

use crate::tool::code_tests::outline::is_prose;
use crate::tool::code_tests::tokens::{TokenKind, is_keyword, tokens};

/// Labels of fenced Markdown blocks that hold no Python: names of other languages, of terminal sessions and of the
/// output of programs.
const OTHER_LANGUAGES: &str = " bash sh shell zsh console terminal powershell cmd bat text txt plaintext plain output input \
                               stdin stdout stderr log pycon traceback json yaml yml toml ini csv tsv xml html css diff \
                               patch sql javascript js jsx typescript ts tsx java kotlin c h cpp c++ cxx cc csharp cs c# go \
                               golang rust rs ruby rb php perl swift scala haskell hs lua r julia matlab latex tex math \
                               mermaid dockerfile makefile cmake ";

/// The blocks of Python in a Markdown text, each without the indentation of its fence. If the labels of all fenced
/// blocks name something else than Python, these blocks are returned. Without a fenced block, the runs of lines that
/// can be Python are returned; if no line can be, the whole text.
pub fn blocks(text: &str) -> Vec<String> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let fenced = fenced(&text);
    if fenced.is_empty() {
        return runs(&text);
    }
    let is_python = |b: &&Fenced| !OTHER_LANGUAGES.contains(&format!(" {} ", b.language));
    let python: Vec<&Fenced> = fenced.iter().filter(is_python).collect();
    let chosen = if python.is_empty() { fenced.iter().collect() } else { python };
    chosen.into_iter().map(|b| b.code.clone()).collect()
}

/// A fenced block of code in a Markdown text.
struct Fenced {
    /// First word of the label after the opening fence, in lower case; empty if there is none.
    language: String,
    code: String,
}

/// The line that opens a fenced block: three or more backticks or tildes, perhaps within a list or a quotation.
struct OpeningFence {
    mark: char,
    /// Number of backticks or tildes.
    length: usize,
    /// Number of columns before the backticks or tildes.
    indent: usize,
    /// Number of `>` (marks of quotations) before the backticks or tildes.
    quotes: usize,
    /// First word of the label after the fence, in lower case; empty if there is none.
    language: String,
    /// Whether the label has more than one word.
    has_more: bool,
}

impl OpeningFence {
    /// Reads a line that opens a fenced block; `None` if the line does not open one.
    fn open(line: &str) -> Option<Self> {
        let mut rest = line;
        let mut quotes = 0;
        loop {
            rest = rest.trim_start_matches([' ', '\t']);
            if let Some(quoted) = rest.strip_prefix('>') {
                rest = quoted;
                quotes += 1;
            } else if let Some(item) = list_item(rest) {
                rest = item;
            } else {
                break;
            }
        }
        let before = &line[..line.len() - rest.len()];
        let mark = rest.chars().next().filter(|c| matches!(c, '`' | '~'))?;
        let length = rest.chars().take_while(|c| *c == mark).count();
        let label = rest[length..].trim();
        if length < 3 || (mark == '`' && label.contains('`')) {
            return None;
        }
        Some(Self {
            mark,
            length,
            indent: columns(before),
            quotes,
            language: language(label),
            has_more: label.contains(' '),
        })
    }

    /// Reads a line of prose that ends with an opening fence: three backticks, perhaps with a label. `None` for other
    /// lines.
    fn open_after_prose(line: &str) -> Option<Self> {
        let (before, label) = line.split_once("```")?;
        let is_label = label.trim_end().bytes().all(|b| b.is_ascii_alphanumeric() || b"+-_.#".contains(&b));
        let is_open = is_label && !before.trim().is_empty() && !before.contains('`');
        is_open.then(|| Self { mark: '`', length: 3, indent: 0, quotes: 0, language: language(label), has_more: false })
    }

    /// Whether a line, given without its marks of quotations (`>`), is the fence that closes the block.
    fn closes(&self, line: &str) -> bool {
        let inner = line.trim();
        let blank = line.len() - line.trim_start().len();
        inner.len() >= self.length
            && inner.chars().all(|c| c == self.mark)
            && columns(&line[..blank]) <= self.indent + 3
    }

    /// Whether a line, given without its marks of quotations (`>`), begins with a fence. Of a line that does not close
    /// the block this means that words follow the fence: the label of the next block, or prose.
    fn is_followed(&self, line: &str) -> bool {
        let inner = line.trim_start();
        let marks = inner.chars().take_while(|c| *c == self.mark).count();
        marks >= self.length && columns(&line[..line.len() - inner.len()]) <= self.indent + 3
    }

    /// The code on a line that ends with the closing fence, three backticks; `None` if the line does not end like that,
    /// or if the backticks may belong to a string or a comment.
    fn closes_after_code<'l>(&self, line: &'l str) -> Option<&'l str> {
        let code = line.trim_end().strip_suffix("```").filter(|_| self.mark == '`' && self.length == 3)?;
        (!code.trim().is_empty() && !code.contains("```") && !code.contains(['#', '"', '\''])).then_some(code)
    }

    /// A line of the block without its marks of quotations (`>`).
    fn unquoted<'l>(&self, line: &'l str) -> &'l str {
        let mut rest = line;
        for _ in 0..self.quotes {
            let Some(quoted) = rest.trim_start().strip_prefix('>') else { break };
            rest = quoted.strip_prefix(' ').unwrap_or(quoted);
        }
        rest
    }

    /// A line of the block without the indentation of the fence.
    fn dedented<'l>(&self, line: &'l str) -> &'l str {
        if self.quotes > 0 {
            return line;
        }
        let mut column = 0;
        let blank = line.bytes().take_while(|b| {
            let is_margin = column < self.indent && matches!(b, b' ' | b'\t');
            column += if *b == b'\t' { 4 - column % 4 } else { 1 };
            is_margin
        });
        &line[blank.count()..]
    }
}

/// The text after the mark of a list item (`-`, `*`, `+` or a number such as `1.`); `None` if `text` does not begin
/// with such a mark.
fn list_item(text: &str) -> Option<&str> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let rest = match digits {
        0 => text.strip_prefix(['-', '*', '+'])?,
        1..=9 => text[digits..].strip_prefix(['.', ')'])?,
        _ => return None,
    };
    rest.starts_with([' ', '\t']).then_some(rest)
}

/// Number of columns that a text takes, with tab stops every four.
fn columns(text: &str) -> usize {
    text.chars().fold(0, |n, c| if c == '\t' { n / 4 * 4 + 4 } else { n + 1 })
}

/// The first word of the label of a fenced block, in lower case: `python` for "{.Python title=x}".
fn language(label: &str) -> String {
    let label = label.trim_start_matches(['{', '.', ' ']);
    let word = label.split(|c: char| c.is_whitespace() || "{},:".contains(c)).next().unwrap_or_default();
    word.to_lowercase()
}

/// The fenced blocks of a text. A block without a closing fence ends with the text.
fn fenced(text: &str) -> Vec<Fenced> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    let mut at = 0;
    if let Some((end, code)) = opened_before(&lines) {
        found.push(Fenced { language: String::new(), code });
        at = end;
    }
    while at < lines.len() {
        let Some(fence) = OpeningFence::open(lines[at]).or_else(|| OpeningFence::open_after_prose(lines[at])) else {
            at += 1;
            continue;
        };
        let (code, after) = body(&fence, &lines[at + 1..]);
        at += 1 + after;
        if is_markdown(&fence.language) {
            found.extend(fenced(&code));
        } else {
            found.push(Fenced { language: fence.language, code });
        }
    }
    found
}

/// Whether the label of a fenced block says that the block is Markdown, which may have fenced blocks of its own.
fn is_markdown(language: &str) -> bool {
    matches!(language, "markdown" | "md")
}

/// Largest number of fences that are tried as the end of a block. If all of them lie within strings of the code, the
/// block ends at the first of them.
const INNER_FENCES: usize = 32;

/// The code of the block that `fence` opens, and the number of `lines` that it takes, its closing fence included;
/// `lines` are the lines after the opening fence. A fence within a string of three quotes, such as a docstring, does
/// not close the block if a later fence does.
fn body(fence: &OpeningFence, lines: &[&str]) -> (String, usize) {
    let mut code = String::new();
    let mut first_end = None;
    let mut tried = 0;
    for (i, line) in lines.iter().enumerate() {
        let line = fence.unquoted(line);
        let attached = fence.closes_after_code(line);
        if attached.is_some() || fence.closes(line) {
            let ended = match attached {
                Some(last) => format!("{code}{}\n", fence.dedented(last)),
                None => code.clone(),
            };
            tried += 1;
            if tried > INNER_FENCES {
                break;
            }
            if !tokens(&ended).ends_in_text {
                return (ended, i + 1);
            }
            first_end = first_end.or(Some((ended, i + 1)));
        }
        // Outside of strings, no Python begins like a fence.
        if fence.is_followed(line) && !is_markdown(&fence.language) && !tokens(&code).ends_in_text {
            let opens = OpeningFence::open(line).is_some_and(|next| !next.has_more);
            return (code, if opens { i } else { i + 1 });
        }
        code.push_str(fence.dedented(line));
        code.push('\n');
    }
    first_end.unwrap_or((code, lines.len()))
}

/// The code at the start of a reply that continues a block which the prompt opened. Returns the number of lines up to
/// and with the closing fence, and the code. `None` unless the reply has an odd number of fences, and only Python
/// before the first of them.
fn opened_before(lines: &[&str]) -> Option<(usize, String)> {
    let fences: Vec<usize> = (0..lines.len()).filter(|i| OpeningFence::open(lines[*i]).is_some()).collect();
    let first = *fences.first().filter(|_| fences.len() % 2 == 1)?;
    let code = lines[..first].join("\n") + "\n";
    let is_code = lines[first].trim().bytes().all(|b| b == b'`') && may_begin_code(&code) && runs(&code).len() == 1;
    (is_code && runs(&code)[0] == code).then_some((first + 1, code))
}

/// The runs of consecutive lines that can be Python, in a text without fences; the whole text if no line can be Python.
fn runs(text: &str) -> Vec<String> {
    let mut runs = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let line_end = rest.find('\n').map_or(rest.len(), |n| n + 1);
        let length = if may_begin_code(&rest[..line_end]) { run_length(rest) } else { 0 };
        if !tokens(&rest[..length]).all.is_empty() {
            runs.push(rest[..length].to_owned());
        }
        rest = &rest[length.max(line_end)..];
    }
    if runs.is_empty() { vec![text.to_owned()] } else { runs }
}

/// Length in bytes of the lines at the start of a text that can be Python: those before the first line that certainly
/// is not.
fn run_length(text: &str) -> usize {
    let all = tokens(text);
    let prose = all.lines().find(|line| is_prose(line));
    prose.map_or(text.len(), |line| text[..line[0].start].rfind('\n').map_or(0, |n| n + 1))
}

/// Whether a line can begin code: it is indented, or it begins like a statement of Python and unlike prose.
fn may_begin_code(line: &str) -> bool {
    if line.starts_with([' ', '\t']) && !line.trim().is_empty() {
        return true;
    }
    let read = tokens(line);
    let Some(first) = read.all.first() else { return line.starts_with("#!") || line.starts_with("# ") };
    let second = read.all.get(1);
    let second_is = |mark: &str| second.is_some_and(|t| t.is(mark));
    match first.text {
        "@" | "import" | "from" | "def" | "class" | "async" | "if" | "for" | "while" | "try" | "with" => true,
        _ if first.kind == TokenKind::Name && !is_keyword(first.text) => {
            ["(", "=", ",", ".", ":", "["].iter().any(|mark| second_is(mark))
        }
        _ => is_keyword(first.text) || first.kind == TokenKind::Text,
    }
}
