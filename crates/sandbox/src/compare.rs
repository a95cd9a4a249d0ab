//! When two outputs are the same.

/// What counts as equal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Compare {
    /// Byte for byte.
    Exact,
    /// Word for word: white space is only a separator.
    Words,
    /// As `Words`, and words that are numbers may differ by this much, absolutely or relatively.
    Numbers(f64),
}

impl Compare {
    /// Says where they differ, if they do.
    pub fn differs(self, got: &[u8], wanted: &str) -> Option<String> {
        let Ok(got) = std::str::from_utf8(got) else { return Some("the output is not UTF-8".into()) };
        if self == Self::Exact {
            if got == wanted {
                return None;
            }
            let line = got.lines().zip(wanted.lines()).take_while(|(a, b)| a == b).count() + 1;
            return Some(format!("line {line} differs"));
        }
        let (mut ours, mut theirs) = (got.split_whitespace(), wanted.split_whitespace());
        for number in 1.. {
            match (ours.next(), theirs.next()) {
                (None, None) => return None,
                (Some(a), Some(b)) if self.same(a, b) => {}
                (a, b) => {
                    let shown = |w: Option<&str>| w.map_or("nothing".into(), |w| format!("`{}`", brief(w)));
                    return Some(format!("word {number} is {}, not {}", shown(a), shown(b)));
                }
            }
        }
        None
    }

    fn same(self, a: &str, b: &str) -> bool {
        let number = |w: &str| w.parse::<f64>().ok().filter(|x| x.is_finite());
        match self {
            Self::Numbers(tolerance) => match (number(a), number(b)) {
                (Some(x), Some(y)) => (x - y).abs() <= tolerance * y.abs().max(1.0),
                _ => a == b,
            },
            Self::Exact | Self::Words => a == b,
        }
    }
}

fn brief(word: &str) -> String {
    word.chars().take(40).collect()
}
