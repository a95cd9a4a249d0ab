//! A library of tools: a folder on disk, or the curated library that is built into rlar.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use include_dir::{Dir, include_dir};
use rlar_run::{fingerprint, sha256};
use rlar_sandbox::{BUILDING_BLOCKS, FunctionSource, uses_building_blocks};

use crate::RewardError;
use crate::admission::report::{Admission, Status};
use crate::cache::calibration::{CALIBRATION, Calibration};
use crate::library::evidence::TaskEvidence;
use crate::library::new_tool::NewTool;
use crate::library::task_labels::StoredLabels;
use crate::tool::card::{ToolCard, ToolKind};
use crate::tool::python::card::function_card;
use crate::tool::python::entry::PythonFunction;
use crate::tool::scoring::{Tool, ToolContext};

/// The folders of the curated tools, that is, the tools that come with rlar; embedded into the program.
static CURATED: Dir = include_dir!("$CARGO_MANIFEST_DIR/library");

/// The name of the file in a tool's folder that holds the report of the tool's admission checks (tests that a tool must
/// pass before it may score).
pub const ADMISSION: &str = "admission.json";

/// A library of reward tools: tool cards, code and reports, by the name of the tool; what was measured of the tools on
/// the examples of tasks; and the task labels of the prompts for which it was filled.
#[derive(Clone, Debug, Default)]
pub struct Library {
    entries: BTreeMap<String, LibraryEntry>,
    pub(super) evidence: TaskEvidence,
    pub(super) labels: StoredLabels,
}

#[derive(Clone, Debug)]
struct LibraryEntry {
    card: ToolCard,
    /// The path of the tool's folder.
    home: PathBuf,
    /// The text of the tool's `tool.yaml`.
    text: String,
    /// The code of a verifier; for a user's function a JSON object with the texts of its files; or the fingerprint
    /// (names, sizes, hashes) of a model's files in the tool's folder; empty for other tools.
    source: String,
    /// SHA-256 of `text`, of `source`, and of the building blocks (`rlar_tools`) if `source` mentions them, in
    /// hexadecimal.
    digest: String,
    /// The admission report of the tool, whether or not it holds for the tool as it is now; `None` when there is none.
    admission: Option<Admission>,
    calibration: Option<CalibrationFile>,
    /// Whether a config or the command line named the tool, so that it may run unconfined if its card says so.
    named_by_user: bool,
}

/// A tool's `calibration.json` (the distribution of its scores in earlier training): as text, and parsed.
#[derive(Clone, Debug)]
struct CalibrationFile {
    text: String,
    calibration: Calibration,
}

impl Library {
    /// The curated library, which is built into rlar.
    pub fn curated() -> Result<Self, RewardError> {
        let mut library = Self::default();
        for folder in CURATED.dirs() {
            let read = |name: &str| CURATED.get_file(folder.path().join(name)).and_then(|f| f.contents_utf8());
            let path = Path::new("curated").join(folder.path()).join("tool.yaml");
            let text = read("tool.yaml").unwrap_or_default();
            let card = ToolCard::parse(&path, text)?;
            let source = card.file().and_then(read).unwrap_or_default();
            library.add(&path, text.to_owned(), source.to_owned(), read(ADMISSION))?;
        }
        library.check_parts()?;
        Ok(library)
    }

    /// Reads a library from a folder: every subfolder that has a `tool.yaml`, with the files beside it, and the
    /// folder's `evidence.json` and `tasks.json`, if it has them. The subfolder must have the tool's name.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, a card is wrong, a tool's folder has another name than the tool, or a composite has
    /// a part that is missing or contains itself.
    pub fn load(folder: &Path) -> Result<Self, RewardError> {
        let mut library =
            Self { evidence: TaskEvidence::read(folder)?, labels: StoredLabels::read(folder)?, ..Self::default() };
        let mut folders: Vec<_> =
            fs::read_dir(folder).map_err(RewardError::io(folder))?.flatten().map(|e| e.path()).collect();
        folders.sort();
        for folder in folders.into_iter().filter(|f| f.join("tool.yaml").exists()) {
            let path = folder.join("tool.yaml");
            let text = fs::read_to_string(&path).map_err(RewardError::io(&path))?;
            let card = ToolCard::parse(&path, &text)?;
            if folder.file_name().is_none_or(|n| n != card.name.as_str()) {
                let message = format!("is in the folder {}; a tool's folder has its name", folder.display());
                return Err(RewardError::tool(&card.name, message));
            }
            let source = read_source(&folder, &card)?;
            library.add(&path, text, source, read_optional(&folder.join(ADMISSION))?.as_deref())?;
            if let Some(entry) = library.entries.get_mut(&card.name) {
                let text = read_optional(&folder.join(CALIBRATION))?;
                entry.calibration = text.and_then(|text| {
                    let calibration = serde_json::from_str(&text).ok()?;
                    Some(CalibrationFile { text, calibration })
                });
            }
        }
        library.check_parts()?;
        Ok(library)
    }

    /// Adds a tool. `path` and `text` are those of its `tool.yaml`. `source` is the code of a verifier, the fingerprint
    /// of a model's files, or for a user's function a JSON object with the texts of its files. `admission` is the text
    /// of its admission report, if it has one.
    ///
    /// # Errors
    ///
    /// When the card is wrong, or the library already has a tool of this name.
    pub fn add(
        &mut self,
        path: &Path,
        text: String,
        source: String,
        admission: Option<&str>,
    ) -> Result<(), RewardError> {
        let card = ToolCard::parse(path, &text)?;
        // A tool whose report cannot be read has to be examined again.
        let admission = admission.and_then(|text| {
            serde_json::from_str(text)
                .inspect_err(|e| {
                    tracing::warn!(
                        "{}: its {ADMISSION} cannot be read ({e}); the tool counts as not examined",
                        card.name
                    );
                })
                .ok()
        });
        let name = card.name.clone();
        let home = path.parent().unwrap_or(Path::new("")).to_owned();
        // A verifier's scores depend on the building blocks, too, if it uses them.
        let blocks = if uses_building_blocks(&source) { ["\0", BUILDING_BLOCKS].concat() } else { String::new() };
        let digest = sha256(format!("{text}\0{source}{blocks}").as_bytes());
        let entry =
            LibraryEntry { card, home, text, source, digest, admission, calibration: None, named_by_user: false };
        if self.entries.insert(name.clone(), entry).is_some() {
            return Err(RewardError::tool(&name, "the library holds two tools of this name"));
        }
        Ok(())
    }

    /// Adds a user's reward function as a tool. `packages` are packages that it may import besides those of its entry.
    /// Such a tool may run unconfined, if the entry says so.
    ///
    /// # Errors
    ///
    /// When the library already has a tool of this name.
    pub fn add_function(
        &mut self,
        entry: &PythonFunction,
        source: &FunctionSource,
        packages: &[String],
    ) -> Result<(), RewardError> {
        let card = function_card(entry, source, packages);
        if self.entries.contains_key(&card.name) {
            let message = "the library already holds a tool of this name; give the function another one with `name`";
            return Err(RewardError::tool(&card.name, message));
        }
        let text = serde_yaml::to_string(&card).map_err(|e| RewardError::tool(&card.name, e.to_string()))?;
        let files = serde_json::to_string(&source.files).map_err(|e| RewardError::tool(&card.name, e.to_string()))?;
        self.add(&source.folder.join("tool.yaml"), text, files, None)?;
        if let Some(added) = self.entries.get_mut(&card.name) {
            added.named_by_user = true;
        }
        Ok(())
    }

    /// Adds the tools of another library whose names this library does not have, what was measured of them, and
    /// the labels of prompts.
    pub(crate) fn merge(&mut self, other: Self) {
        for (name, entry) in other.entries {
            self.entries.entry(name).or_insert(entry);
        }
        self.merge_evidence(other.evidence);
        self.merge_task_labels(other.labels);
    }

    /// Adds a new tool with its admission report. `home` is the path that the tool's folder will have.
    pub fn add_tool(&mut self, tool: &NewTool, home: &Path) -> Result<(), RewardError> {
        self.add(&home.join("tool.yaml"), tool.card.clone(), tool.source.clone(), None)?;
        let identity = self.identity(&tool.name).unwrap_or_default();
        self.set_admission(&tool.name, Admission { identity, ..tool.admission.clone() });
        Ok(())
    }

    /// Checks all composites. The error names a composite that has a missing or unusable part, or contains itself.
    pub(crate) fn check_parts(&self) -> Result<(), RewardError> {
        self.entries.keys().try_for_each(|name| self.check_below(name, &mut Vec::new()))
    }

    /// Checks the parts of a tool, then the parts of these parts, and so on. `above` names the composites that lead to
    /// the tool, from the outermost on.
    fn check_below<'l>(&'l self, name: &'l str, above: &mut Vec<&'l str>) -> Result<(), RewardError> {
        above.push(name);
        for member in self.card(name).map_or(&[][..], ToolCard::parts) {
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

    /// The names of a tool, of its parts, of the parts of these parts, and so on.
    pub(crate) fn with_parts(&self, name: &str) -> Vec<String> {
        let parts = self.card(name).map_or(&[][..], ToolCard::parts).iter().flat_map(|m| self.with_parts(&m.tool));
        std::iter::once(name.to_owned()).chain(parts).collect()
    }

    /// The card of a tool; `None` when the library does not hold the tool.
    pub fn card(&self, name: &str) -> Option<&ToolCard> {
        self.entries.get(name).map(|e| &e.card)
    }

    /// The cards of all tools, in the order of their names.
    pub fn cards(&self) -> impl Iterator<Item = &ToolCard> {
        self.entries.values().map(|e| &e.card)
    }

    /// The identity of a tool: a hash of its card, of its code or model files, of the building blocks (`rlar_tools`) if
    /// its code mentions them, and of the identities of its parts, as 16 hexadecimal digits. `None` when the library
    /// does not hold the tool.
    pub fn identity(&self, name: &str) -> Option<String> {
        let entry = self.entries.get(name)?;
        let mut digest = entry.digest.clone();
        if !entry.card.parts().is_empty() {
            let parts = entry.card.parts().iter().filter_map(|m| self.identity(&m.tool));
            digest = sha256(parts.fold(digest, |all, part| all + "\0" + &part).as_bytes());
        }
        digest.truncate(16);
        Some(digest)
    }

    /// The admission report of a tool; `None` when the tool was not examined, or was changed since.
    pub fn admission(&self, name: &str) -> Option<&Admission> {
        let admission = self.entries.get(name)?.admission.as_ref()?;
        // In another version of rlar, the builtin of this name may compute something else.
        let is_current = !self.has_builtin(name) || admission.version == env!("CARGO_PKG_VERSION");
        (is_current && self.identity(name).as_ref() == Some(&admission.identity)).then_some(admission)
    }

    /// Whether a tool, or one of its parts, is a builtin (a tool written in Rust).
    fn has_builtin(&self, name: &str) -> bool {
        self.card(name).is_some_and(|card| {
            matches!(card.kind, ToolKind::Builtin { .. }) || card.parts().iter().any(|m| self.has_builtin(&m.tool))
        })
    }

    /// Whether a tool may score in its present state: it passed the admission checks, at least provisionally, and none
    /// of its parts is refused or retired.
    pub fn is_admitted(&self, name: &str) -> bool {
        let is_excluded =
            |part: &str| self.admission(part).is_some_and(|a| matches!(a.status, Status::Refused | Status::Retired));
        let is_whole = !self.with_parts(name).iter().any(|part| is_excluded(part));
        is_whole && self.admission(name).is_some_and(|a| matches!(a.status, Status::Admitted | Status::Provisional))
    }

    /// The distribution of a tool's scores in earlier training, for each task; `None` when none was recorded.
    pub fn calibration(&self, name: &str) -> Option<Calibration> {
        self.entries.get(name)?.calibration.as_ref().map(|file| file.calibration.clone())
    }

    /// Whether the scores that a tool gave to replies to prompts of a task in earlier training were all equal. False
    /// when none were recorded.
    pub(crate) fn is_flat(&self, name: &str, task: &str) -> bool {
        let file = self.entries.get(name).and_then(|entry| entry.calibration.as_ref());
        file.and_then(|file| file.calibration.get(task)).is_some_and(|spread| spread.deviation <= 0.0)
    }

    /// Takes a tool out of use; `why` is the reason. Returns the tool's new admission report, which the caller must
    /// write into the tool's folder.
    pub fn retire(&mut self, name: &str, why: String) -> Admission {
        let admission = Admission::retired(self.identity(name).unwrap_or_default(), why);
        self.set_admission(name, admission.clone());
        admission
    }

    /// Sets the admission report of a tool; without effect when the library does not hold the tool.
    pub fn set_admission(&mut self, name: &str, admission: Admission) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.admission = Some(admission);
        }
    }

    /// The Python code of a verifier; `None` for other tools.
    pub(crate) fn source(&self, name: &str) -> Option<String> {
        let entry = self.entries.get(name).filter(|e| e.card.file().is_some())?;
        Some(entry.source.clone())
    }

    /// The files of a tool's folder that the library knows, each with its name and its contents; empty when the library
    /// does not hold the tool.
    pub fn files(&self, name: &str) -> Vec<(String, String)> {
        let Some(entry) = self.entries.get(name) else { return Vec::new() };
        let mut files = vec![("tool.yaml".to_owned(), entry.text.clone())];
        files.extend(entry.card.file().map(|file| (file.to_owned(), entry.source.clone())));
        if entry.card.is_python() {
            let texts: BTreeMap<String, String> = serde_json::from_str(&entry.source).unwrap_or_default();
            files.extend(texts);
        }
        files.extend(entry.calibration.as_ref().map(|file| (CALIBRATION.to_owned(), file.text.clone())));
        let admission = self.admission(name).and_then(|a| serde_json::to_string_pretty(a).ok());
        files.extend(admission.map(|a| (ADMISSION.to_owned(), a + "\n")));
        files
    }

    /// Opens a tool and its parts, so that they can score: starts verifiers, loads models.
    ///
    /// # Errors
    ///
    /// When the library does not hold the tool, or `context` lacks something that the tool needs, such as a sandbox.
    pub fn open(&self, name: &str, context: &ToolContext) -> Result<Tool, RewardError> {
        let entry = self.entries.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.entries.keys().map(String::as_str).collect();
            RewardError::tool(name, format!("is not in the library; it holds: {}", known.join(", ")))
        })?;
        if entry.card.is_trusted() && !entry.named_by_user {
            let message = "would run unconfined, which a library cannot ask for; name the function in `rewards.python` of a \
                           config, or on the command line with --trusted";
            return Err(RewardError::tool(name, message));
        }
        let parts = entry.card.parts().iter().map(|member| self.open(&member.tool, context));
        let parts = parts.collect::<Result<Vec<Tool>, RewardError>>()?;
        let tool = Tool::open(&entry.card, &entry.home, &entry.source, parts, context)?;
        Ok(tool.with_identity(self.identity(name).unwrap_or_default(), self.is_admitted(name)))
    }
}

/// The text that identifies what a tool consists of besides its card: the code of a verifier, or the fingerprint of a
/// model in the tool's folder; for a user's function a JSON object with the texts of its files. Empty for other tools,
/// for models of the Hub, and for a model that is missing, which is an error only when the tool is opened.
fn read_source(folder: &Path, card: &ToolCard) -> Result<String, RewardError> {
    match &card.kind {
        ToolKind::Verifier { file, .. } => {
            let file = folder.join(file);
            fs::read_to_string(&file).map_err(RewardError::io(&file))
        }
        ToolKind::Python { file, modules, .. } => {
            let mut files = BTreeMap::new();
            for name in modules.iter().chain([file]) {
                if !Path::new(name).components().all(|part| matches!(part, Component::Normal(_))) {
                    return Err(RewardError::tool(&card.name, format!("`{name}` is not in its folder")));
                }
                let path = folder.join(name);
                files.insert(name, fs::read_to_string(&path).map_err(RewardError::io(&path))?);
            }
            serde_json::to_string(&files).map_err(|e| RewardError::tool(&card.name, e.to_string()))
        }
        ToolKind::Model(model) if model.repo.is_none() => {
            Ok(fingerprint(&folder.join(&model.path)).map_or(String::new(), |print| print.to_string()))
        }
        _ => Ok(String::new()),
    }
}

/// The text of a file; `None` when it does not exist.
pub(super) fn read_optional(path: &Path) -> Result<Option<String>, RewardError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(RewardError::io(path)(e)),
    }
}
