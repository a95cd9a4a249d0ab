//! Names of the LaTeX commands and of the plain words that the lexer knows.

/// Commands that the lexer skips: those for layout, dots and degree signs.
pub const LAYOUT: &[&str] = &[
    "left",
    "right",
    "big",
    "Big",
    "bigg",
    "Bigg",
    "bigl",
    "bigr",
    "Bigl",
    "Bigr",
    "displaystyle",
    "textstyle",
    "limits",
    "quad",
    "qquad",
    "hfill",
    "hspace",
    "vspace",
    "mathstrut",
    "nolimits",
    "middle",
    "phantom",
    "cr",
    "hline",
    "color",
    "degree",
    "degrees",
    "circ",
    "dots",
    "ldots",
    "cdots",
    "dotsb",
    "dotsc",
    "dotsm",
];

/// Commands whose argument is text, such as `\text{cm}`.
pub const TEXTS: &[&str] =
    &["text", "textbf", "textit", "textrm", "textnormal", "mbox", "hbox", "textsf", "texttt", "emph"];

/// Commands that change only the style of their argument; the lexer skips them but not the argument.
pub const STYLES: &[&str] = &[
    "mathrm",
    "mathbf",
    "mathit",
    "mathsf",
    "boldsymbol",
    "bm",
    "mathcal",
    "boxed",
    "fbox",
    "underline",
    "overline",
    "operatorname",
    "vec",
    "hat",
    "bar",
    "tilde",
    "widehat",
    "overrightarrow",
    "mathbb",
    "bold",
    "rm",
    "bf",
    "it",
];

/// Words without a backslash, and the command that each stands for.
pub const WORDS: &[(&str, &str)] = &[
    ("percentage", "%"),
    ("percent", "%"),
    ("pct", "%"),
    ("infinity", "infty"),
    ("infty", "infty"),
    ("arcsin", "arcsin"),
    ("arccos", "arccos"),
    ("arctan", "arctan"),
    ("sqrt", "sqrt"),
    ("sinh", "sinh"),
    ("cosh", "cosh"),
    ("tanh", "tanh"),
    ("sin", "sin"),
    ("cos", "cos"),
    ("tan", "tan"),
    ("cot", "cot"),
    ("sec", "sec"),
    ("csc", "csc"),
    ("log", "log"),
    ("ln", "ln"),
    ("exp", "exp"),
    ("and", "and"),
    ("inf", "infty"),
    ("pi", "pi"),
    ("or", "or"),
];

/// Units of measurement that the lexer recognises after a number. They are listed because they are short; any word of
/// more than three letters after a number counts as a unit too.
pub const UNITS: &[&str] =
    &["cm", "mm", "km", "kg", "mg", "ml", "ft", "lb", "oz", "mph", "kmh", "min", "sec", "hrs", "yd", "mi"];

/// Whether the lexer knows a command. If a doubled backslash stands before a known command, one backslash too many was
/// written; otherwise the doubled backslash is the end of a row.
pub fn is_known(name: &str) -> bool {
    const OTHERS: &[&str] = &[
        "frac", "dfrac", "tfrac", "cfrac", "sqrt", "binom", "pi", "infty", "cdot", "times", "div", "le", "leq", "ge",
        "geq", "lt", "gt", "ne", "neq", "in", "cup", "cap", "pm", "mp", "sin", "cos", "tan", "log", "ln", "theta",
        "alpha", "beta", "begin", "end", "approx",
    ];
    LAYOUT.contains(&name) || TEXTS.contains(&name) || STYLES.contains(&name) || OTHERS.contains(&name)
}
