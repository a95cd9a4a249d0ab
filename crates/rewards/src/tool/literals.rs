//! The string literals of a verifier's code, which the admission checks try as replies.

/// Largest number of a verifier's string literals that the admission checks try as replies.
const MAX_LITERALS: usize = 60;

/// The string literals of a Python program that have 3 to 80 characters, longest first, at most [`MAX_LITERALS`].
/// Literals without letters and digits are left out.
pub fn literals(source: &str) -> Vec<String> {
    let quoted = regex::Regex::new(r#"'([^'\\\n]{3,80})'|"([^"\\\n]{3,80})""#);
    let Ok(quoted) = quoted else { return Vec::new() };
    let found = quoted.captures_iter(source).filter_map(|c| c.get(1).or_else(|| c.get(2)));
    let mut texts: Vec<String> =
        found.map(|m| m.as_str().to_owned()).filter(|t| t.chars().any(char::is_alphanumeric)).collect();
    texts.sort_by_key(|t| (std::cmp::Reverse(t.len()), t.clone()));
    texts.dedup();
    texts.truncate(MAX_LITERALS);
    texts
}
