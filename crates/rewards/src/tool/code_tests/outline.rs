//! The outline of Python source: its statements, the names that they define and use.

use std::collections::BTreeSet;

use crate::tool::code_tests::tokens::{Token, TokenKind, Tokens, tokens};

/// A set of Python names.
pub type Names<'s> = BTreeSet<&'s str>;

/// Python source, split into its statements at the top level.
#[derive(Clone, Debug)]
pub struct Outline<'s> {
    pub source: &'s str,
    pub statements: Vec<Statement<'s>>,
}

/// A statement at the top level, that is, not within another one, with all its lines.
#[derive(Clone, Debug)]
pub struct Statement<'s> {
    /// Source of the statement, from the start of its first line.
    pub text: &'s str,
    /// Byte offset of `text` in the source.
    pub start: usize,
    /// Indentation of the first line.
    pub column: usize,
    /// The statement's logical lines, each as a list of tokens.
    pub lines: Vec<Vec<Token<'s>>>,
}

impl<'s> Outline<'s> {
    /// The outline of a source.
    pub fn new(source: &'s str) -> Self {
        let mut statements: Vec<Statement> = Vec::new();
        for line in tokens(source).lines() {
            let Some((first, column)) = line.first().and_then(|f| Some((f, f.column?))) else { continue };
            if let Some(last) = statements.last_mut().filter(|last| last.goes_on_with(first, column)) {
                last.lines.push(line.to_vec());
                continue;
            }
            let start = source[..first.start].rfind('\n').map_or(0, |n| n + 1);
            if let Some(last) = statements.last_mut() {
                last.text = &source[last.start..start];
            }
            statements.push(Statement { text: &source[start..], start, column, lines: vec![line.to_vec()] });
        }
        Self { source, statements }
    }

    /// The names that the source uses and does not bind anywhere.
    pub fn free(&self) -> Names<'s> {
        let bound: Names = self.statements.iter().flat_map(Statement::bound_within).collect();
        let used: Names = self.statements.iter().flat_map(Statement::used).collect();
        &used - &bound
    }

    /// The last statement that defines a name, other than by an import.
    pub fn definition(&self, name: &str) -> Option<&Statement<'s>> {
        self.statements.iter().rev().find(|s| !s.is_import() && s.bound().contains(name))
    }

    /// Whether at least one token of the source satisfies `condition`.
    pub fn any(&self, condition: impl Fn(&Token) -> bool) -> bool {
        self.statements.iter().flat_map(|s| s.lines.iter().flatten()).any(condition)
    }

    /// The source without the indentation that its first statement has.
    pub fn dedented(&self) -> String {
        let column = self.statements.first().map_or(0, |s| s.column);
        if column == 0 {
            return self.source.to_owned();
        }
        let strip = |line: &'s str| {
            let blank = line.len() - line.trim_start_matches([' ', '\t']).len();
            &line[blank.min(column)..]
        };
        self.source.lines().map(strip).collect::<Vec<_>>().join("\n") + "\n"
    }
}

/// Splits a logical line at its semicolons into simple statements.
fn simple<'t, 's>(line: &'t [Token<'s>]) -> impl Iterator<Item = &'t [Token<'s>]> {
    line.split(|t| t.depth == 0 && t.is(";"))
}

impl<'s> Statement<'s> {
    /// Whether a logical line belongs to the statement. `first` is the line's first token, and `column` is its
    /// indentation.
    fn goes_on_with(&self, first: &Token, column: usize) -> bool {
        let is_clause = ["elif", "else", "except", "finally"].iter().any(|k| first.is(k));
        let is_decorated = self.lines.last().is_some_and(|l| l[0].is("@") && l[0].column == Some(column));
        column > self.column || (column == self.column && (is_clause || is_decorated))
    }

    /// The tokens of the statement's first line that is no decorator, such as the line of `def`; without a leading
    /// `async`.
    pub fn header(&self) -> &[Token<'s>] {
        let line = self.lines.iter().find(|l| !l[0].is("@")).unwrap_or(&self.lines[0]);
        if line[0].is("async") { &line[1..] } else { line }
    }

    fn begins_with(&self, keywords: &[&str]) -> bool {
        self.header().first().is_some_and(|t| keywords.iter().any(|k| t.is(k)))
    }

    /// Whether the statement defines a function or a class.
    pub fn is_definition(&self) -> bool {
        self.begins_with(&["def", "class"])
    }

    /// Whether the statement is an import.
    pub fn is_import(&self) -> bool {
        self.begins_with(&["import", "from"])
    }

    /// Whether the statement does something when it is executed, beyond defining names.
    pub fn acts(&self) -> bool {
        let calls = || self.lines.iter().flatten().any(|t| t.is("("));
        !self.is_definition() && !self.is_import() && calls()
    }

    /// Whether the statement only defines names: a definition, an import, an assignment, or imports within `try`.
    pub fn only_defines(&self) -> bool {
        let imports = || self.lines.iter().flatten().any(|t| t.is("import"));
        let assigns =
            || self.lines.len() == 1 && !self.bound().is_empty() && !self.begins_with(&["for", "with", "while"]);
        self.is_definition() || self.is_import() || assigns() || (self.begins_with(&["try"]) && imports())
    }

    /// Whether the statement is a function without a body of its own: only imports, a docstring, `pass`, `...` or the like.
    pub fn is_stub(&self) -> bool {
        let header = self.header();
        if !header.first().is_some_and(|t| t.is("def")) {
            return false;
        }
        let Some(colon) = header.iter().position(|t| t.depth == 0 && t.is(":")) else { return true };
        let does_nothing = |line: &[Token]| {
            simple(line).all(|part| {
                let says = |words: &[&str]| part.len() == words.len() && part.iter().zip(words).all(|(t, w)| t.is(w));
                part.iter().all(|t| t.kind == TokenKind::Text)
                    || ["import", "from"].iter().any(|keyword| part[0].is(keyword))
                    || says(&["pass"])
                    || says(&[".", ".", "."])
                    || (part[0].is("raise") && part.iter().any(|t| t.is("NotImplementedError")))
            })
        };
        let body = self.lines.iter().skip_while(|l| l[0].start <= header[0].start);
        does_nothing(&header[colon + 1..]) && body.into_iter().all(|line| does_nothing(line))
    }

    /// The names that the statement binds in the namespace that it is executed in; `*` if it imports all of a module.
    pub fn bound(&self) -> Names<'s> {
        if self.is_definition() {
            return self.header().get(1).and_then(Token::name).into_iter().collect();
        }
        self.lines.iter().flat_map(|l| simple(l)).flat_map(bound_by).collect()
    }

    /// The names that the statement binds anywhere within, also as parameters and local variables.
    pub fn bound_within(&self) -> Names<'s> {
        let mut bound = self.bound();
        for line in &self.lines {
            bound.extend(simple(line).flat_map(bound_by));
            let mut in_targets = false;
            let mut in_lambda = None;
            for (i, token) in line.iter().enumerate() {
                let before = i.checked_sub(1).map(|b| &line[b]);
                let after = line.get(i + 1);
                if token.is("for") {
                    in_targets = true;
                } else if token.is("in") {
                    in_targets = false;
                } else if token.is("lambda") {
                    in_lambda = Some(token.depth);
                } else if token.is(":") && in_lambda == Some(token.depth) {
                    in_lambda = None;
                }
                let follows = |marks: &[&str]| before.is_some_and(|b| marks.iter().any(|m| b.is(m)));
                let in_header = line[0].is("def") || line[0].is("async");
                let is_parameter = (in_header && token.depth == 1 && follows(&["(", ",", "*"]))
                    || (in_lambda.is_some() && follows(&["lambda", ",", "*"]));
                let is_bound = is_parameter
                    || (in_targets && !follows(&["."]))
                    || follows(&["as"])
                    || after.is_some_and(|a| a.is("=") || a.is(":="));
                bound.extend(token.name().filter(|_| is_bound));
            }
        }
        bound
    }

    /// The names that the statement uses, also those that it binds itself.
    pub fn used(&self) -> Names<'s> {
        let mut used = Names::new();
        for line in &self.lines {
            for (i, token) in line.iter().enumerate() {
                let is_attribute = i > 0 && line[i - 1].is(".");
                used.extend(token.name().filter(|_| !is_attribute));
                if token.kind == TokenKind::Text {
                    used.extend(names_in_formatted(token.text));
                }
            }
        }
        used
    }
}

/// The names between the braces of an f-string; none in other strings.
fn names_in_formatted(literal: &str) -> Names<'_> {
    let prefix = literal.split(['"', '\'']).next().unwrap_or_default();
    let mut names = Names::new();
    if !prefix.contains(['f', 'F']) {
        return names;
    }
    for braces in literal.split('{').skip(1) {
        let inside = braces.split('}').next().unwrap_or_default();
        let words = tokens(inside);
        names.extend(words.all.iter().filter_map(Token::name));
    }
    names
}

/// The names that a simple statement, or the header of a compound one, binds.
fn bound_by<'s>(line: &[Token<'s>]) -> Vec<&'s str> {
    let line = if line.first().is_some_and(|t| t.is("async")) { &line[1..] } else { line };
    let Some(first) = line.first() else { return Vec::new() };
    let imported = |list: &[Token<'s>]| -> Vec<&'s str> {
        let list: Vec<Token> = list.iter().copied().filter(|t| !t.is("(") && !t.is(")")).collect();
        let name = |item: &[Token<'s>]| match item.iter().position(|t| t.is("as")) {
            Some(alias) => item.get(alias + 1).map(|t| t.text),
            None => item.first().map(|t| t.text),
        };
        list.split(|t| t.is(",")).filter_map(name).collect()
    };
    match first.text {
        "def" | "class" => line.get(1).and_then(Token::name).into_iter().collect(),
        "import" => imported(&line[1..]),
        "from" => line.iter().position(|t| t.is("import")).map_or_else(Vec::new, |at| imported(&line[at + 1..])),
        "for" => line[1..].iter().take_while(|t| !t.is("in")).filter_map(Token::name).collect(),
        "with" | "except" => {
            let after_as = line.windows(2).filter(|pair| pair[0].is("as"));
            after_as.filter_map(|pair| pair[1].name()).collect()
        }
        _ if line.get(1).is_some_and(|t| t.is(":")) => {
            first.name().filter(|_| line.iter().any(|t| t.depth == 0 && t.is("="))).into_iter().collect()
        }
        _ => {
            let Some(last) = line.iter().rposition(|t| t.depth == 0 && t.is("=")) else { return Vec::new() };
            let is_target = |i: usize| {
                let part_of = |t: &Token| [".", "[", "("].iter().any(|m| t.is(m));
                !part_of(&line[i + 1]) && (i == 0 || !line[i - 1].is("."))
            };
            (0..last).filter(|i| is_target(*i)).filter_map(|i| line[i].name()).collect()
        }
    }
}

/// Whether a logical line is certainly prose and no Python: it has two words side by side or a character that Python
/// does not have, or it ends like a sentence.
pub fn is_prose(line: &[Token]) -> bool {
    let is_word = |t: &Token| t.name().is_some() || t.kind == TokenKind::Number;
    // `match`, `case` and `type` are keywords where they begin a line.
    let soft = ["match", "case", "type"].iter().any(|k| line[0].is(k));
    let pairs = line.windows(2).skip(usize::from(soft));
    let side_by_side = pairs.filter(|pair| pair[1].column.is_none()).any(|pair| is_word(&pair[0]) && is_word(&pair[1]));
    let last = line[line.len() - 1];
    let ends_sentence = last.is(".") || last.is(",") && last.depth == 0 && line.len() == 2;
    let is_heading = last.is(":") && last.depth == 0 && line[0].name().is_some() && !soft;
    let is_bullet = (line[0].is("-") || line[0].is("*") || line[0].is("**")) && line.get(1).is_some_and(|t| t.is("*"));
    let is_broken = line.iter().any(|t| t.kind == TokenKind::Broken);
    // An ellipsis is an expression.
    let is_ellipsis = line.len() >= 3 && line[line.len() - 3..].iter().all(|t| t.is("."));
    let has = |keyword: &str| line.iter().any(|t| t.is(keyword));
    let names_nothing = |marks: &[&str]| {
        line.get(1).and_then(Token::name).is_none() || !line.get(2).is_some_and(|t| marks.iter().any(|m| t.is(m)))
    };
    let is_half = match line[0].text {
        "for" => !has("in"),
        "from" => !has("import"),
        "def" => names_nothing(&["(", "["]),
        "class" => names_nothing(&["(", "[", ":"]),
        _ => false,
    };
    is_broken || is_half || side_by_side || (ends_sentence && !is_ellipsis) || is_heading || is_bullet
}

/// Whether source contains a line that is certainly no Python.
pub fn has_prose(tokens: &Tokens) -> bool {
    tokens.lines().any(is_prose)
}
