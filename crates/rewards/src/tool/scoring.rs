//! A tool that is ready to score.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rlar_data::{Completion, Example};
use rlar_net::hub::Hub;
use rlar_net::llm::Llm;
use rlar_sandbox::{CallArguments, Packages, Sandbox, SandboxError, SandboxLimits, ShouldStop, Verdict, Verifier};
use serde_json::Value;

use crate::tool::builtin::{Builtin, builtin};
use crate::tool::card::{ToolCard, ToolKind};
use crate::tool::code_tests::{CODE_TESTS, CodeTests};
use crate::tool::composite::Ruling;
use crate::tool::judge::Judge;
use crate::tool::reward_model::Model;
use crate::{Failure, Outcome, RewardError};

/// What tools run with.
#[derive(Clone, Debug)]
pub struct ToolContext {
    /// Where untrusted code runs, or why it cannot.
    pub sandbox: Result<Sandbox, SandboxError>,
    /// Packages that verifiers may import.
    pub packages: Packages,
    /// Bounds of one score.
    pub limits: SandboxLimits,
    /// Where reward models run: `cpu`, `cuda:N` or `auto`.
    pub device: String,
    /// Whom judges ask.
    pub llm: Option<Arc<dyn Llm>>,
    /// Whose cache holds reward models; the usual one when absent.
    pub hub: Option<Hub>,
}

impl ToolContext {
    /// The best sandbox of this machine, reward models on the CPU, nobody for judges to ask.
    pub fn new(limits: SandboxLimits) -> Self {
        Self {
            sandbox: Sandbox::open(),
            packages: Packages::default(),
            limits,
            device: "cpu".into(),
            llm: None,
            hub: None,
        }
    }
}

/// An outcome and what it took.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreRecord {
    /// What the tool said.
    pub outcome: Outcome,
    /// How long that took, in seconds; of tools that answer many at once the mean.
    pub seconds: f64,
    /// Tokens of a language model.
    pub tokens: u64,
    /// Whether it will be said again: what a limit of time or memory decided depends on the moment.
    pub cacheable: bool,
}

impl ScoreRecord {
    /// What took nothing.
    pub(crate) fn at_once(outcome: Outcome) -> Self {
        Self { outcome, seconds: 0.0, tokens: 0, cacheable: true }
    }
}

/// A tool that is ready to score.
#[derive(Debug)]
pub struct Tool {
    card: ToolCard,
    scorer: Scorer,
    identity: String,
    /// A verifier's code.
    source: String,
    /// Whether the court saw it answer every text: an exception or a limit is the reply's doing, then.
    admitted: bool,
}

#[derive(Debug)]
enum Scorer {
    Builtin(Builtin),
    Code(CodeTests),
    Verifier(Verifier),
    Model(Box<Model>),
    Judge(Judge),
    Composite(Vec<Tool>),
}

impl Tool {
    /// A tool by its card, the folder that it is in, its code, and the tools that it is composed of.
    pub(crate) fn open(
        card: &ToolCard,
        home: &Path,
        source: &str,
        parts: Vec<Self>,
        means: &ToolContext,
    ) -> Result<Self, RewardError> {
        let broken = |why: String| RewardError::tool(&card.name, why);
        let sandbox = || means.sandbox.clone().map_err(|e| broken(e.to_string()));
        let scorer = match card.kind {
            ToolKind::Builtin if card.builtin() == CODE_TESTS => {
                let partial = card.settings.get("partial").and_then(Value::as_bool).unwrap_or(false);
                Scorer::Code(CodeTests { sandbox: sandbox()?, limits: means.limits, partial })
            }
            ToolKind::Builtin => Scorer::Builtin(builtin(card.builtin(), &card.settings).map_err(broken)?),
            ToolKind::Verifier => {
                let started = sandbox()?.with_packages(&card.requires, &means.packages).and_then(|sandbox| {
                    let function = card.function.as_deref().unwrap_or_default();
                    Verifier::start(&sandbox, source, function, means.limits)
                });
                Scorer::Verifier(started.map_err(|e| broken(e.to_string()))?)
            }
            ToolKind::Model => {
                let pointer = card.model.as_ref().ok_or_else(|| broken("its card names no model".into()))?;
                let model = Model::load(home, pointer, card.range, &means.device, means.hub.as_ref());
                Scorer::Model(Box::new(model.map_err(|e| broken(e.to_string()))?))
            }
            ToolKind::Judge => {
                let rubric = card.judge.clone().ok_or_else(|| broken("its card has no rubric".into()))?;
                let llm = means.llm.clone().ok_or_else(|| {
                    broken("a judge asks a language model: name one in a config's `rewards.llm`, or with --llm or --llm-replay".into())
                })?;
                Scorer::Judge(Judge::new(&card.name, llm, rubric, card.range))
            }
            ToolKind::Composite => Scorer::Composite(parts),
        };
        Ok(Self { card: card.clone(), scorer, identity: String::new(), source: source.to_owned(), admitted: false })
    }

    /// The tool with its content hash, and whether the court admitted it.
    pub(crate) fn known_as(self, identity: String, admitted: bool) -> Self {
        Self { identity, admitted, ..self }
    }

    /// The tool as the court sees it: what it cannot answer is its own fault, and its parts' too.
    pub(crate) fn for_admission(mut self) -> Self {
        self.admitted = false;
        if let Scorer::Composite(parts) = self.scorer {
            self.scorer = Scorer::Composite(parts.into_iter().map(Self::for_admission).collect());
        }
        self
    }

    /// Whom a judge, or a judge among the parts, asks.
    pub(crate) fn llm_name(&self) -> Option<String> {
        match &self.scorer {
            Scorer::Judge(judge) => Some(judge.llm_name()),
            Scorer::Composite(parts) => parts.iter().find_map(Self::llm_name),
            _ => None,
        }
    }

    /// Whether it, or one of its parts, is of a kind.
    pub(crate) fn has(&self, kind: ToolKind) -> bool {
        match &self.scorer {
            Scorer::Composite(parts) => parts.iter().any(|p| p.has(kind)),
            _ => self.card.kind == kind,
        }
    }

    /// Texts that stand in its code, and with which it might be bought.
    pub(crate) fn literals(&self) -> Vec<String> {
        match &self.scorer {
            Scorer::Verifier(_) => literals(&self.source),
            _ => Vec::new(),
        }
    }

    /// The tool's card.
    pub fn card(&self) -> &ToolCard {
        &self.card
    }

    /// Its content hash.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// What its scores may be kept by, beside example and reply.
    pub fn cache_identity(&self) -> String {
        self.cache_name().unwrap_or_else(|| format!("{} {}", self.identity, env!("CARGO_PKG_VERSION")))
    }

    /// What its scores are remembered by beside example and reply; nothing for what is computed as fast as remembered.
    pub(crate) fn cache_name(&self) -> Option<String> {
        let identity = format!("{} {}", self.identity, env!("CARGO_PKG_VERSION"));
        match &self.scorer {
            Scorer::Builtin(_) => None,
            Scorer::Judge(judge) => Some(format!("{identity} {}", judge.asks())),
            Scorer::Composite(parts) => {
                let names: Vec<String> = parts.iter().filter_map(Self::cache_name).collect();
                (!names.is_empty()).then(|| format!("{identity} {}", names.join(" ")))
            }
            Scorer::Code(_) | Scorer::Verifier(_) | Scorer::Model(_) => Some(identity),
        }
    }

    /// Outcomes in the order of the items.
    pub fn score(&self, items: &[(&Example, &Completion)]) -> Result<Vec<Outcome>, RewardError> {
        self.score_until(items, &|| false)
    }

    /// The same, until `over` says that no more outcomes are wanted: what has not begun by then has failed.
    pub fn score_until(
        &self,
        items: &[(&Example, &Completion)],
        over: ShouldStop,
    ) -> Result<Vec<Outcome>, RewardError> {
        Ok(self.score_records(items, over)?.into_iter().map(|t| t.outcome).collect())
    }

    /// The same with what each took.
    pub fn score_records(
        &self,
        items: &[(&Example, &Completion)],
        over: ShouldStop,
    ) -> Result<Vec<ScoreRecord>, RewardError> {
        let applies = |e: &Example| !self.card.needs_reference || e.reference.is_some();
        let asked: Vec<(&Example, &Completion)> = items.iter().copied().filter(|(e, _)| applies(e)).collect();
        let mut told = self.ask(&asked, over)?.into_iter();
        let silent = || ScoreRecord::at_once(Outcome::Abstained("the example has no reference".into()));
        let tell = |(e, _): &(&Example, &Completion)| applies(e).then(|| told.next()).flatten().unwrap_or_else(silent);
        Ok(items.iter().map(tell).collect())
    }

    fn ask(&self, items: &[(&Example, &Completion)], over: ShouldStop) -> Result<Vec<ScoreRecord>, RewardError> {
        let broken = |why: String| RewardError::tool(&self.card.name, why);
        let began = Instant::now();
        let mean = |outcomes: Vec<(Outcome, bool)>| {
            let seconds = began.elapsed().as_secs_f64() / outcomes.len().max(1) as f64;
            let record = |(outcome, cacheable)| ScoreRecord { outcome, seconds, tokens: 0, cacheable };
            outcomes.into_iter().map(record).collect()
        };
        let cacheable = |outcomes: Vec<Outcome>| mean(outcomes.into_iter().map(|o| (o, true)).collect());
        Ok(match &self.scorer {
            Scorer::Builtin(function) => {
                cacheable(items.iter().map(|(e, c)| self.builtin(*function, e, c, over)).collect())
            }
            Scorer::Code(tests) => mean(tests.score(items, over).map_err(|e| broken(e.to_string()))?),
            Scorer::Verifier(verifier) => {
                let call = |(e, c): &(&Example, &Completion)| -> CallArguments {
                    vec![e.prompt().to_owned(), c.scored_text().to_owned(), e.reference.clone().unwrap_or_default()]
                };
                let calls: Vec<CallArguments> = items.iter().map(call).collect();
                let verdicts = verifier.score_until(&calls, over).map_err(|e| broken(e.to_string()))?;
                let told = verdicts.into_iter().map(|v| {
                    let seconds = v.usage.wall.as_secs_f64();
                    ScoreRecord { outcome: self.outcome(v.verdict), seconds, tokens: 0, cacheable: true }
                });
                let mut told: Vec<ScoreRecord> = told.collect();
                if self.admitted {
                    self.blame(verifier, items, &mut told, over).map_err(|e| broken(e.to_string()))?;
                }
                told
            }
            Scorer::Model(model) => cacheable(model.score(items, over)),
            Scorer::Judge(judge) => {
                let judged = judge.score(items, over);
                let seconds = began.elapsed().as_secs_f64() / judged.len().max(1) as f64;
                judged
                    .into_iter()
                    .map(|(outcome, tokens)| ScoreRecord { outcome, seconds, tokens, cacheable: true })
                    .collect()
            }
            Scorer::Composite(parts) => {
                let told = parts.iter().map(|p| p.score_records(items, over)).collect::<Result<Vec<_>, _>>()?;
                (0..items.len()).map(|i| self.compose(parts, &told, i)).collect()
            }
        })
    }

    fn builtin(&self, function: Builtin, example: &Example, completion: &Completion, over: ShouldStop) -> Outcome {
        if over() {
            return Outcome::Failed(Failure::Late);
        }
        match function(&self.card.settings, example, completion.scored_text()) {
            Some(score) => self.in_range(score),
            None => Outcome::Abstained("the example is not of the kind that this tool judges".into()),
        }
    }

    /// What the parts' outcomes for one item come to.
    fn compose(&self, parts: &[Self], told: &[Vec<ScoreRecord>], item: usize) -> ScoreRecord {
        let of = |p: usize| &told[p][item];
        let seconds = (0..parts.len()).map(|p| of(p).seconds).sum();
        let tokens = (0..parts.len()).map(|p| of(p).tokens).sum();
        let members = || self.card.parts.iter().enumerate();
        let outcome = if let Some(silent) = (0..parts.len()).find(|p| of(*p).outcome.score().is_none()) {
            of(silent).outcome.clone()
        } else {
            let terms = members().filter(|(_, m)| m.part.is_term());
            let sum: f64 = terms.filter_map(|(p, m)| of(p).outcome.score().map(|s| s * m.weight)).sum();
            let rulings = members().map(|(p, m)| (m.part, m.least(parts[p].card.range), &of(p).outcome));
            self.in_range(Ruling::of(rulings).apply(sum, self.card.range, 1.0))
        };
        let cacheable = (0..parts.len()).all(|p| of(p).cacheable);
        ScoreRecord { outcome, seconds, tokens, cacheable }
    }

    /// Finds whose fault the failures of an admitted verifier are. Where it has an answer to the example's own reference (or
    /// to an empty reply), the reply provoked the failure, and scores the minimum; that is not remembered.
    fn blame(
        &self,
        verifier: &Verifier,
        items: &[(&Example, &Completion)],
        told: &mut [ScoreRecord],
        over: ShouldStop,
    ) -> Result<(), SandboxError> {
        let is_broken = |told: &ScoreRecord| matches!(&told.outcome, Outcome::Failed(f) if *f != Failure::Late);
        let broken: Vec<usize> = (0..told.len()).filter(|i| is_broken(&told[*i])).collect();
        let mut examples: Vec<&Example> = broken.iter().map(|i| items[*i].0).collect();
        examples.dedup_by(|a, b| std::ptr::eq(*a, *b));
        let control = |e: &&Example| -> CallArguments {
            let reference = e.reference.clone().unwrap_or_default();
            vec![e.prompt().to_owned(), reference.clone(), reference]
        };
        let verdicts = verifier.score_until(&examples.iter().map(control).collect::<Vec<_>>(), over)?;
        let answers = verdicts.into_iter().map(|v| self.outcome(v.verdict).score().is_some());
        let answers: Vec<(&Example, bool)> = examples.into_iter().zip(answers).collect();
        for i in broken {
            if answers.iter().any(|(example, answers)| *answers && std::ptr::eq(*example, items[i].0)) {
                told[i].outcome = Outcome::Scored(self.card.range[0]);
                told[i].cacheable = false;
            }
        }
        Ok(())
    }

    fn outcome(&self, verdict: Verdict) -> Outcome {
        let failed = |f| Outcome::Failed(f);
        match verdict {
            Verdict::Score(score) => self.in_range(score),
            Verdict::NotFinite(value) => failed(Failure::Reply(value)),
            Verdict::NotANumber(kind) => failed(Failure::Reply(format!("a value of type {kind}"))),
            Verdict::Raised(error) => failed(Failure::Exception(error)),
            Verdict::Skipped => failed(Failure::Late),
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

/// Most texts of a program that are looked at.
const MOST_LITERALS: usize = 60;

/// The texts between quotes in a Python program, of 3 to 80 characters, longest first.
fn literals(source: &str) -> Vec<String> {
    let quoted = regex::Regex::new(r#"'([^'\\\n]{3,80})'|"([^"\\\n]{3,80})""#);
    let Ok(quoted) = quoted else { return Vec::new() };
    let found = quoted.captures_iter(source).filter_map(|c| c.get(1).or_else(|| c.get(2)));
    let mut texts: Vec<String> =
        found.map(|m| m.as_str().to_owned()).filter(|t| t.chars().any(char::is_alphanumeric)).collect();
    texts.sort_by_key(|t| (std::cmp::Reverse(t.len()), t.clone()));
    texts.dedup();
    texts.truncate(MOST_LITERALS);
    texts
}
