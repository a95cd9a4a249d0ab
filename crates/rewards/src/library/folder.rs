//! A folder of tools, and the curated one that comes with rlar.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use rlar_run::{fingerprint, sha256};

use crate::RewardError;
use crate::admission::report::{Admission, Status};
use crate::cache::calibration::{CALIBRATION, Calibration};
use crate::library::new_tool::NewTool;
use crate::tool::card::{ToolCard, ToolKind};
use crate::tool::scoring::{Tool, ToolContext};

/// The curated tools.
static CURATED: Dir = include_dir!("$CARGO_MANIFEST_DIR/library");

/// The file with a tool's admission, in its folder.
pub const ADMISSION: &str = "admission.json";

/// Tools by name.
#[derive(Clone, Debug, Default)]
pub struct Library {
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    card: ToolCard,
    /// The tool's folder.
    home: PathBuf,
    text: String,
    /// A verifier's code; of a model what tells its files from others.
    source: String,
    /// Hash of both.
    digest: String,
    admission: Option<Admission>,
    calibration: Option<(String, Calibration)>,
}

impl Library {
    /// The tools that come with rlar.
    pub fn curated() -> Result<Self, RewardError> {
        let mut library = Self::default();
        for folder in CURATED.dirs() {
            let read = |name: &str| CURATED.get_file(folder.path().join(name)).and_then(|f| f.contents_utf8());
            let path = Path::new("curated").join(folder.path()).join("tool.yaml");
            let text = read("tool.yaml").unwrap_or_default();
            let file = ToolCard::parse(&path, text)?.file;
            let source = file.as_deref().and_then(read).unwrap_or_default();
            library.add(&path, text.to_owned(), source.to_owned(), read(ADMISSION))?;
        }
        library.check_parts()?;
        Ok(library)
    }

    /// Reads every `NAME/tool.yaml` of a folder.
    pub fn load(folder: &Path) -> Result<Self, RewardError> {
        let mut library = Self::default();
        let mut folders: Vec<_> =
            fs::read_dir(folder).map_err(RewardError::io(folder))?.flatten().map(|e| e.path()).collect();
        folders.sort();
        for folder in folders.into_iter().filter(|f| f.join("tool.yaml").exists()) {
            let path = folder.join("tool.yaml");
            let text = fs::read_to_string(&path).map_err(RewardError::io(&path))?;
            let card = ToolCard::parse(&path, &text)?;
            if folder.file_name().is_none_or(|n| n != card.name.as_str()) {
                let message = format!("stands in {}; a tool's folder has its name", folder.display());
                return Err(RewardError::tool(&card.name, message));
            }
            let source = match (&card.file, &card.model) {
                (Some(file), _) => {
                    let file = folder.join(file);
                    fs::read_to_string(&file).map_err(RewardError::io(&file))?
                }
                // A model that is not there is missed when it is opened.
                (None, Some(model)) if model.repo.is_some() => String::new(),
                (None, Some(model)) => fingerprint(&folder.join(&model.path)).map_or(String::new(), |p| p.to_string()),
                (None, None) => String::new(),
            };
            let kept = |name: &str| match fs::read_to_string(folder.join(name)) {
                Ok(text) => Ok(Some(text)),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(RewardError::io(&folder.join(name))(e)),
            };
            library.add(&path, text, source, kept(ADMISSION)?.as_deref())?;
            if let Some(entry) = library.entries.get_mut(&card.name) {
                let text = kept(CALIBRATION)?;
                entry.calibration = text.and_then(|t| serde_json::from_str(&t).ok().map(|c| (t, c)));
            }
        }
        library.check_parts()?;
        Ok(library)
    }

    /// Adds a tool by its card and code; the path says where its folder is. One of this name must not be there yet.
    pub fn add(
        &mut self,
        path: &Path,
        text: String,
        source: String,
        admission: Option<&str>,
    ) -> Result<(), RewardError> {
        let card = ToolCard::parse(path, &text)?;
        // A report that cannot be read is none: the tool is examined again.
        let admission = admission.and_then(|text| {
            serde_json::from_str(text)
                .inspect_err(|e| {
                    tracing::warn!("{}: its {ADMISSION} is not clear ({e}); it counts as not examined", card.name);
                })
                .ok()
        });
        let name = card.name.clone();
        let home = path.parent().unwrap_or(Path::new("")).to_owned();
        let digest = sha256(format!("{text}\0{source}").as_bytes());
        let entry = Entry { card, home, text, source, digest, admission, calibration: None };
        if self.entries.insert(name.clone(), entry).is_some() {
            return Err(RewardError::tool(&name, "the library holds two tools of this name"));
        }
        Ok(())
    }

    /// Takes over the tools of another library that this one does not hold.
    pub(crate) fn merge(&mut self, other: Self) {
        for (name, entry) in other.entries {
            self.entries.entry(name).or_insert(entry);
        }
    }

    /// Takes over a new tool, whose folder is to be `home`.
    pub fn add_tool(&mut self, tool: &NewTool, home: &Path) -> Result<(), RewardError> {
        self.add(&home.join("tool.yaml"), tool.card.clone(), tool.source.clone(), None)?;
        let identity = self.identity(&tool.name).unwrap_or_default();
        self.set_admission(&tool.name, Admission { identity, ..tool.admission.clone() });
        Ok(())
    }

    /// Refuses composites whose parts are not there, or that contain themselves.
    pub(crate) fn check_parts(&self) -> Result<(), RewardError> {
        self.entries.keys().try_for_each(|name| self.check_below(name, &mut Vec::new()))
    }

    fn check_below<'l>(&'l self, name: &'l str, above: &mut Vec<&'l str>) -> Result<(), RewardError> {
        above.push(name);
        for member in self.entries.get(name).map_or(&[][..], |e| &e.card.parts) {
            let part = member.tool.as_str();
            if above.contains(&part) {
                let circle = format!("{} → {part}", above.join(" → "));
                return Err(RewardError::tool(name, format!("is composed of itself: {circle}")));
            }
            let Some(entry) = self.entries.get(part) else {
                return Err(RewardError::tool(name, format!("its part `{part}` is not in the library")));
            };
            if let Some(why) = member.problem(entry.card.range) {
                return Err(RewardError::tool(name, format!("its part `{part}`: {why}")));
            }
            self.check_below(part, above)?;
        }
        above.pop();
        Ok(())
    }

    /// A tool's name, and those of the tools that it is composed of.
    pub(crate) fn with_parts(&self, name: &str) -> Vec<String> {
        let parts = self.card(name).map_or(&[][..], |c| &c.parts).iter().flat_map(|m| self.with_parts(&m.tool));
        std::iter::once(name.to_owned()).chain(parts).collect()
    }

    /// A card by its tool's name.
    pub fn card(&self, name: &str) -> Option<&ToolCard> {
        self.entries.get(name).map(|e| &e.card)
    }

    /// The cards, by name.
    pub fn cards(&self) -> impl Iterator<Item = &ToolCard> {
        self.entries.values().map(|e| &e.card)
    }

    /// Content hash of a tool: its identity.
    pub fn identity(&self, name: &str) -> Option<String> {
        let entry = self.entries.get(name)?;
        let mut digest = entry.digest.clone();
        if !entry.card.parts.is_empty() {
            let parts = entry.card.parts.iter().filter_map(|m| self.identity(&m.tool));
            digest = sha256(parts.fold(digest, |all, part| all + "\0" + &part).as_bytes());
        }
        digest.truncate(16);
        Some(digest)
    }

    /// What the court said of a tool as it is now; nothing where it was not asked, or the tool was changed since.
    pub fn admission(&self, name: &str) -> Option<&Admission> {
        let admission = self.entries.get(name)?.admission.as_ref()?;
        // A builtin is another one in another version of rlar.
        let same = !self.has_builtin(name) || admission.version == env!("CARGO_PKG_VERSION");
        (same && self.identity(name).as_ref() == Some(&admission.identity)).then_some(admission)
    }

    /// Whether rlar itself is what a tool, or a part of it, computes with.
    fn has_builtin(&self, name: &str) -> bool {
        self.card(name)
            .is_some_and(|c| c.kind == ToolKind::Builtin || c.parts.iter().any(|m| self.has_builtin(&m.tool)))
    }

    /// Whether a tool may score: what the court says of the tool as it is now.
    pub fn is_admitted(&self, name: &str) -> bool {
        let out =
            |part: &str| self.admission(part).is_some_and(|a| matches!(a.status, Status::Refused | Status::Retired));
        let whole = !self.with_parts(name).iter().any(|part| out(part));
        whole && self.admission(name).is_some_and(|a| matches!(a.status, Status::Admitted | Status::Provisional))
    }

    /// What was seen of a tool's scores in training.
    pub fn calibration(&self, name: &str) -> Option<Calibration> {
        self.entries.get(name)?.calibration.as_ref().map(|(_, c)| c.clone())
    }

    /// Whether a tool's scores of a kind of prompts were all the same in training.
    pub(crate) fn is_flat(&self, name: &str, kind: &str) -> bool {
        let spread = |e: &Entry| e.calibration.as_ref().and_then(|(_, c)| c.get(kind).map(|s| s.deviation));
        self.entries.get(name).and_then(spread).is_some_and(|deviation| deviation <= 0.0)
    }

    /// Takes a tool out of use for a reason, and returns the new report, which the caller writes into the tool's folder.
    pub fn retire(&mut self, name: &str, why: String) -> Admission {
        let admission = Admission::retired(self.identity(name).unwrap_or_default(), why);
        self.set_admission(name, admission.clone());
        admission
    }

    /// Sets the admission report of a tool.
    pub fn set_admission(&mut self, name: &str, admission: Admission) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.admission = Some(admission);
        }
    }

    /// The code of a tool that is a verifier.
    pub(crate) fn source(&self, name: &str) -> Option<String> {
        let entry = self.entries.get(name).filter(|e| e.card.kind == ToolKind::Verifier)?;
        Some(entry.source.clone())
    }

    /// Files of a tool: name in its folder, and contents.
    pub fn files(&self, name: &str) -> Vec<(String, String)> {
        let Some(entry) = self.entries.get(name) else { return Vec::new() };
        let mut files = vec![("tool.yaml".to_owned(), entry.text.clone())];
        files.extend(entry.card.file.clone().map(|f| (f, entry.source.clone())));
        files.extend(entry.calibration.clone().map(|(text, _)| (CALIBRATION.to_owned(), text)));
        let admission = self.admission(name).and_then(|a| serde_json::to_string_pretty(a).ok());
        files.extend(admission.map(|a| (ADMISSION.to_owned(), a + "\n")));
        files
    }

    /// Makes a tool ready to score.
    pub fn open(&self, name: &str, means: &ToolContext) -> Result<Tool, RewardError> {
        let entry = self.entries.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.entries.keys().map(String::as_str).collect();
            RewardError::tool(name, format!("is not in the library; it holds: {}", known.join(", ")))
        })?;
        let parts = entry.card.parts.iter().map(|member| self.open(&member.tool, means));
        let parts = parts.collect::<Result<Vec<Tool>, RewardError>>()?;
        let tool = Tool::open(&entry.card, &entry.home, &entry.source, parts, means)?;
        Ok(tool.known_as(self.identity(name).unwrap_or_default(), self.is_admitted(name)))
    }
}
