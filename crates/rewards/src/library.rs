//! A folder of tools, and the curated one that comes with rlar.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use include_dir::{Dir, include_dir};
use rlar_data::{Completion, Example};
use rlar_run::sha256;
use rlar_sandbox::{Call, Limits, Over, Packages, Sandbox, SandboxError, Verdict, Verifier};

use crate::admission::{Admission, Status};
use crate::builtin::{Builtin, builtin};
use crate::card::{Kind, ToolCard};
use crate::{Failure, Outcome, RewardError};

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
    text: String,
    source: String,
    admission: Option<Admission>,
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
            let source = match card.file {
                Some(file) => {
                    let file = folder.join(file);
                    fs::read_to_string(&file).map_err(RewardError::io(&file))?
                }
                None => String::new(),
            };
            let admission = match fs::read_to_string(folder.join(ADMISSION)) {
                Ok(text) => Some(text),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
                Err(e) => return Err(RewardError::io(&folder.join(ADMISSION))(e)),
            };
            library.add(&path, text, source, admission.as_deref())?;
        }
        Ok(library)
    }

    pub(crate) fn add(
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
        if self.entries.insert(name.clone(), Entry { card, text, source, admission }).is_some() {
            return Err(RewardError::tool(&name, "the library holds two tools of this name"));
        }
        Ok(())
    }

    /// The cards, by name.
    pub fn cards(&self) -> impl Iterator<Item = &ToolCard> {
        self.entries.values().map(|e| &e.card)
    }

    /// Content hash of a tool: its identity.
    pub fn identity(&self, name: &str) -> Option<String> {
        let entry = self.entries.get(name)?;
        let mut digest = sha256(format!("{}\0{}", entry.text, entry.source).as_bytes());
        digest.truncate(16);
        Some(digest)
    }

    /// What the court said of a tool as it is now; nothing where it was not asked, or the tool was changed since.
    pub fn admission(&self, name: &str) -> Option<&Admission> {
        let admission = self.entries.get(name)?.admission.as_ref()?;
        // A builtin is another one in another version of rlar.
        let same = self.entries[name].card.kind != Kind::Builtin || admission.version == env!("CARGO_PKG_VERSION");
        (same && self.identity(name).as_ref() == Some(&admission.identity)).then_some(admission)
    }

    /// Keeps what the court said of a tool.
    pub fn set_admission(&mut self, name: &str, admission: Admission) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.admission = Some(admission);
        }
    }

    /// Files of a tool: name in its folder, and contents.
    pub fn files(&self, name: &str) -> Vec<(String, String)> {
        let Some(entry) = self.entries.get(name) else { return Vec::new() };
        let mut files = vec![("tool.yaml".to_owned(), entry.text.clone())];
        files.extend(entry.card.file.clone().map(|f| (f, entry.source.clone())));
        let admission = self.admission(name).and_then(|a| serde_json::to_string_pretty(a).ok());
        files.extend(admission.map(|a| (ADMISSION.to_owned(), a + "\n")));
        files
    }

    /// Makes a tool ready to score. The sandbox is what `Sandbox::open` said; a verifier cannot do without.
    pub fn open(
        &self,
        name: &str,
        sandbox: &Result<Sandbox, SandboxError>,
        packages: &Packages,
        limits: Limits,
    ) -> Result<Tool, RewardError> {
        let entry = self.entries.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.entries.keys().map(String::as_str).collect();
            RewardError::tool(name, format!("is not in the library; it holds: {}", known.join(", ")))
        })?;
        let broken = |e: &SandboxError| RewardError::tool(name, e.to_string());
        let engine = match entry.card.kind {
            Kind::Builtin => {
                let function = builtin(entry.card.builtin(), &entry.card.settings);
                Engine::Builtin(function.map_err(|why| RewardError::tool(name, why))?)
            }
            Kind::Verifier => {
                let sandbox = sandbox.as_ref().map_err(broken)?;
                let sandbox = sandbox.with_packages(&entry.card.requires, packages).map_err(|e| broken(&e))?;
                let function = entry.card.function.as_deref().unwrap_or_default();
                let verifier = Verifier::start(&sandbox, &entry.source, function, limits);
                Engine::Verifier(verifier.map_err(|e| broken(&e))?)
            }
        };
        let admitted = self.admission(name).is_some_and(|a| a.status == Status::Admitted);
        Ok(Tool { card: entry.card.clone(), engine, admitted })
    }
}

/// A tool that is ready to score.
#[derive(Debug)]
pub struct Tool {
    card: ToolCard,
    engine: Engine,
    /// Whether the court saw it answer every text: an exception or a limit is the reply's doing, then.
    admitted: bool,
}

#[derive(Debug)]
enum Engine {
    Builtin(Builtin),
    Verifier(Verifier),
}

impl Tool {
    /// The tool's card.
    pub fn card(&self) -> &ToolCard {
        &self.card
    }

    /// Outcomes in the order of the items.
    pub fn score(&self, items: &[(&Example, &Completion)]) -> Result<Vec<Outcome>, RewardError> {
        self.score_until(items, &|| false)
    }

    /// The same, until `over` says that no more outcomes are wanted: what has not begun by then has failed.
    pub fn score_until(&self, items: &[(&Example, &Completion)], over: Over) -> Result<Vec<Outcome>, RewardError> {
        let applies: Vec<bool> =
            items.iter().map(|(e, _)| !self.card.needs_reference || e.reference.is_some()).collect();
        let asked = items.iter().zip(&applies).filter(|(_, applies)| **applies).map(|(item, _)| item);
        let parts = |(e, c): &(&Example, &Completion)| -> [String; 3] {
            [e.prompt().to_owned(), c.scored().to_owned(), e.reference.clone().unwrap_or_default()]
        };
        let mut scored = match &self.engine {
            Engine::Builtin(function) => asked
                .map(|(example, completion)| match function(&self.card.settings, example, completion.scored()) {
                    Some(score) => self.in_range(score),
                    None => Outcome::Abstained("the example is not of the kind that this tool judges".into()),
                })
                .collect::<Vec<_>>(),
            Engine::Verifier(verifier) => {
                let calls: Vec<Call> = asked.map(|item| parts(item).into()).collect();
                let verdicts = verifier.score_until(&calls, over);
                let verdicts = verdicts.map_err(|e| RewardError::tool(&self.card.name, e.to_string()))?;
                verdicts.into_iter().map(|v| self.outcome(v.verdict)).collect()
            }
        }
        .into_iter();
        let abstained = || Outcome::Abstained("the example has no reference".into());
        Ok(applies.iter().map(|a| if *a { scored.next().unwrap_or_else(abstained) } else { abstained() }).collect())
    }

    fn outcome(&self, verdict: Verdict) -> Outcome {
        let failed = |f| Outcome::Failed(f);
        let provoked = |f| if self.admitted { Outcome::Scored(self.card.range[0]) } else { failed(f) };
        match verdict {
            Verdict::Score(score) => self.in_range(score),
            Verdict::NotFinite(value) => failed(Failure::Reply(value)),
            Verdict::NotANumber(kind) => failed(Failure::Reply(format!("a value of type {kind}"))),
            Verdict::Raised(error) => provoked(Failure::Exception(error)),
            Verdict::NotAsked => failed(Failure::Late),
            Verdict::TimeLimit(limit) => provoked(Failure::Limit(format!("no answer within {limit:?}"))),
            Verdict::MemoryLimit => provoked(Failure::Limit("memory".into())),
            Verdict::OutputLimit => provoked(Failure::Limit("output".into())),
            Verdict::Crashed(how) => provoked(Failure::Crash(how)),
            Verdict::Unrepeatable { first, again } => {
                failed(Failure::Reply(format!("{first:?} at first and {again:?} for the same call in a fresh process")))
            }
        }
    }

    fn in_range(&self, score: f64) -> Outcome {
        let [low, high] = self.card.range;
        if score >= low && score <= high {
            Outcome::Scored(score)
        } else {
            Outcome::Failed(Failure::Reply(format!("{score} lies outside its range of {low} to {high}")))
        }
    }
}
