//! Names of the LaTeX commands and of the plain words that the lexer knows.

/// Commands that the lexer skips: those for layout and dots.
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

/// Commands whose argument stands upright. An upright word is the name of a function or a unit.
pub const UPRIGHT: &[&str] = &["mathrm", "operatorname", "mathsf", "mathit", "rm"];

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
    ("arcsinh", "arsinh"),
    ("arccosh", "arcosh"),
    ("arctanh", "artanh"),
    ("arsinh", "arsinh"),
    ("arcosh", "arcosh"),
    ("artanh", "artanh"),
    ("arccot", "arccot"),
    ("arcsec", "arcsec"),
    ("arccsc", "arccsc"),
    ("asinh", "arsinh"),
    ("acosh", "arcosh"),
    ("atanh", "artanh"),
    ("asin", "arcsin"),
    ("acos", "arccos"),
    ("atan", "arctan"),
    ("floor", "floor"),
    ("ceil", "ceil"),
    ("cbrt", "cbrt"),
    ("sqrt", "sqrt"),
    ("coth", "coth"),
    ("sech", "sech"),
    ("csch", "csch"),
    ("abs", "abs"),
    ("log10", "log10"),
    ("log2", "log2"),
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
pub const UNITS: &[&str] = &[
    "cm", "mm", "km", "kg", "mg", "ml", "mL", "ft", "lb", "lbs", "oz", "mph", "kmh", "kph", "min", "sec", "hr", "hrs",
    "yd", "mi", "deg", "Hz", "kHz", "MHz", "GHz", "kJ", "kW", "kWh", "kPa", "kN", "mol", "rpm", "psi",
];

/// Units of measurement that are recognised only in upright letters, such as `\mathrm{m}`, because in other letters they
/// would be symbols.
pub const UPRIGHT_UNITS: &[&str] = &[
    "m", "g", "s", "h", "L", "l", "N", "J", "W", "in", "Pa", "eV", "MeV", "keV", "MW", "mA", "mV", "nm", "um", "ha",
    "dm", "pt", "qt", "gal", "cal", "atm", "day", "yr", "USD", "rad", "ppm", "bit", "ohm", "dB", "ms", "ns", "gm",
    "cc",
];

/// Whether the lexer knows a command. If a doubled backslash stands before a known command, one backslash too many was
/// written; otherwise the doubled backslash is the end of a row.
pub fn is_known(name: &str) -> bool {
    const OTHERS: &[&str] = &[
        "frac", "dfrac", "tfrac", "cfrac", "sqrt", "binom", "pi", "infty", "cdot", "times", "div", "le", "leq", "ge",
        "geq", "lt", "gt", "ne", "neq", "in", "cup", "cap", "pm", "mp", "sin", "cos", "tan", "log", "ln", "theta",
        "alpha", "beta", "begin", "end", "approx", "circ", "degree", "setminus",
    ];
    LAYOUT.contains(&name) || TEXTS.contains(&name) || STYLES.contains(&name) || OTHERS.contains(&name)
}
