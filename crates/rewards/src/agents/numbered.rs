//! Numbered lists, the form in which small models list things most reliably.

/// The entries of the numbered list in a text, trimmed and without their numbers: lines that begin with a number and a
/// full stop, a bracket or a colon. Without such lines, the lines that begin with a dash, an asterisk or a bullet.
pub fn numbered_lines(text: &str) -> Vec<String> {
    let numbered: Vec<String> = text.lines().filter_map(after_number).map(str::to_owned).collect();
    if !numbered.is_empty() {
        return numbered;
    }
    let dashed = text.lines().filter_map(|line| line.trim_start().strip_prefix(['-', '*', '•']));
    dashed.map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

fn after_number(line: &str) -> Option<&str> {
    let line = line.trim_start().trim_start_matches(['*', '#', ' ']);
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = line.len() - rest.len();
    let rest = rest.strip_prefix(['.', ')', ':'])?.trim();
    ((1..=2).contains(&digits) && !rest.is_empty()).then_some(rest)
}
