//! A folder of tools, and the curated one that comes with rlar.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rlar_data::{Completion, Example};
use rlar_run::sha256;
use rlar_sandbox::{Call, Limits, Over, Packages, Sandbox, SandboxError, Verdict, Verifier};

use crate::builtin::{Builtin, builtin};
use crate::card::{Kind, ToolCard};
use crate::{Failure, Outcome, RewardError};

/// The curated tools: card, and source where there is one.
const CURATED: [(&str, &str); 5] = [
    (include_str!("../library/last_number/tool.yaml"), include_str!("../library/last_number/verifier.py")),
    (include_str!("../library/numeric_match/tool.yaml"), ""),
    (include_str!("../library/exact_match/tool.yaml"), ""),
    (include_str!("../library/token_f1/tool.yaml"), ""),
    (include_str!("../library/brevity/tool.yaml"), ""),
];

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
}

impl Library {
    /// The tools that come with rlar.
    pub fn curated() -> Result<Self, RewardError> {
        let mut library = Self::default();
        for (text, source) in CURATED {
            library.add(Path::new("curated/tool.yaml"), text.to_owned(), source.to_owned())?;
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
            let source = match ToolCard::parse(&path, &text)?.file {
                Some(file) => {
                    let file = folder.join(file);
                    fs::read_to_string(&file).map_err(RewardError::io(&file))?
                }
                None => String::new(),
            };
            library.add(&path, text, source)?;
        }
        Ok(library)
    }

    pub(crate) fn add(&mut self, path: &Path, text: String, source: String) -> Result<(), RewardError> {
        let card = ToolCard::parse(path, &text)?;
        if card.kind == Kind::Builtin && builtin(&card.name).is_none() {
            return Err(RewardError::tool(&card.name, "its card says `builtin`, but rlar has no such builtin"));
        }
        let name = card.name.clone();
        if self.entries.insert(name.clone(), Entry { card, text, source }).is_some() {
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

    /// Files of a tool: name in its folder, and contents.
    pub fn files(&self, name: &str) -> Vec<(String, String)> {
        let Some(entry) = self.entries.get(name) else { return Vec::new() };
        let mut files = vec![("tool.yaml".to_owned(), entry.text.clone())];
        files.extend(entry.card.file.clone().map(|f| (f, entry.source.clone())));
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
        let engine = match (entry.card.kind, builtin(name)) {
            (Kind::Builtin, Some(function)) => Engine::Builtin(function),
            (Kind::Builtin, None) => return Err(RewardError::tool(name, "rlar has no such builtin")),
            (Kind::Verifier, _) => {
                let sandbox = sandbox.as_ref().map_err(broken)?;
                let sandbox = sandbox.with_packages(&entry.card.requires, packages).map_err(|e| broken(&e))?;
                let function = entry.card.function.as_deref().unwrap_or_default();
                let verifier = Verifier::start(&sandbox, &entry.source, function, limits);
                Engine::Verifier(verifier.map_err(|e| broken(&e))?)
            }
        };
        Ok(Tool { card: entry.card.clone(), engine })
    }
}

/// A tool that is ready to score.
#[derive(Debug)]
pub struct Tool {
    card: ToolCard,
    engine: Engine,
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
                .map(|item| {
                    let [prompt, reply, reference] = parts(item);
                    match function(&prompt, &reply, &reference) {
                        Some(score) => self.in_range(score),
                        None => Outcome::Abstained("the reference is not of the kind that this tool judges".into()),
                    }
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
        match verdict {
            Verdict::Score(score) => self.in_range(score),
            Verdict::NotFinite(value) => failed(Failure::Reply(value)),
            Verdict::NotANumber(kind) => failed(Failure::Reply(format!("a value of type {kind}"))),
            Verdict::Raised(error) => failed(Failure::Exception(error)),
            Verdict::NotAsked => failed(Failure::Late),
            Verdict::TimeLimit(limit) => failed(Failure::Limit(format!("no answer within {limit:?}"))),
            Verdict::MemoryLimit => failed(Failure::Limit("memory".into())),
            Verdict::OutputLimit => failed(Failure::Limit("output".into())),
            Verdict::Crashed(how) => failed(Failure::Crash(how)),
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
