//! Compares two libraries of tools.

use std::collections::BTreeSet;
use std::fmt::Write;

use similar::TextDiff;

use crate::library::folder::{ADMISSION, Library};

impl Library {
    /// The differences between two libraries as text: the tools that only one of them has, the differences between the
    /// files of tools that both have, and different admission statuses. A `-` marks this library, a `+` the other.
    /// Empty when the libraries are equal.
    pub fn differences(&self, other: &Self) -> String {
        let names: BTreeSet<&str> = self.cards().chain(other.cards()).map(|c| c.name.as_str()).collect();
        let mut report = String::new();
        for name in names {
            match (self.identity(name), other.identity(name)) {
                (Some(_), None) => {
                    let _ = writeln!(report, "- {name}");
                }
                (None, Some(_)) => {
                    let _ = writeln!(report, "+ {name}");
                }
                (Some(a), Some(b)) if a != b => {
                    let _ = writeln!(report, "~ {name}: {a} → {b}");
                    report += &self.file_differences(other, name);
                }
                _ => {
                    let status = |library: &Self| library.admission(name).map(|a| a.status);
                    let (here, there) = (status(self), status(other));
                    if here != there {
                        let _ = writeln!(report, "~ {name}: admission {here:?} → {there:?}");
                    }
                }
            }
        }
        report
    }

    /// The differences between the files that a tool has in two libraries, as unified diffs. Admission reports are left
    /// out.
    fn file_differences(&self, other: &Self, name: &str) -> String {
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
