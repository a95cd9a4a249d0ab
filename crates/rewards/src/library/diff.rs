//! How two libraries differ.

use std::collections::BTreeSet;
use std::fmt::Write;

use similar::TextDiff;

use crate::library::folder::{ADMISSION, Library};

impl Library {
    /// Tools that only one of two libraries has, and what differs in the others' files: lines with `-` are this one's, with
    /// `+` the other's. Nothing where they are the same.
    pub fn differences(&self, other: &Self) -> String {
        let names: BTreeSet<&str> = self.cards().chain(other.cards()).map(|c| c.name.as_str()).collect();
        let mut said = String::new();
        for name in names {
            match (self.identity(name), other.identity(name)) {
                (Some(_), None) => {
                    let _ = writeln!(said, "- {name}");
                }
                (None, Some(_)) => {
                    let _ = writeln!(said, "+ {name}");
                }
                (Some(a), Some(b)) if a != b => {
                    let _ = writeln!(said, "~ {name}: {a} → {b}");
                    said += &self.lines(other, name);
                }
                _ => {
                    let status = |library: &Self| library.admission(name).map(|a| a.status);
                    let (was, is) = (status(self), status(other));
                    if was != is {
                        let _ = writeln!(said, "~ {name}: admission {was:?} → {is:?}");
                    }
                }
            }
        }
        said
    }

    fn lines(&self, other: &Self, name: &str) -> String {
        let text = |library: &Self, file: &str| {
            library.files(name).into_iter().find(|(f, _)| f == file).map(|(_, text)| text).unwrap_or_default()
        };
        let files: BTreeSet<String> =
            self.files(name).into_iter().chain(other.files(name)).map(|(f, _)| f).filter(|f| f != ADMISSION).collect();
        let differs = |file: &String| {
            let (a, b) = (text(self, file), text(other, file));
            let diff = TextDiff::from_lines(&a, &b);
            (a != b).then(|| diff.unified_diff().context_radius(2).header(file, file).to_string())
        };
        files.iter().filter_map(differs).collect()
    }
}
