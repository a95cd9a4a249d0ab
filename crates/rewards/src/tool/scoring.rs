//! Opened tools: tools with all that they need to score replies.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rlar_data::{Completion, Example};
use rlar_net::hub::Hub;
use rlar_net::llm::Llm;
use rlar_sandbox::{CallArguments, Packages, Sandbox, SandboxError, SandboxLimits, ShouldStop, Verdict, Verifier};
use serde_json::{Map, Value};

use crate::tool::accepted_answers::AcceptedAnswers;
use crate::tool::builtin::{Builtin, ScoredBy, find_builtin};
use crate::tool::card::{ToolCard, ToolKind};
use crate::tool::code_tests::CodeTests;
use crate::tool::composite::Ruling;
use crate::tool::judge::Judge;
use crate::tool::judge_log::{JudgeLlm, JudgeLog};
use crate::tool::literals::literals;
use crate::tool::python::run_state::FunctionRun;
use crate::tool::python::scorer::PythonScorer;
use crate::tool::reason::Reason;
use crate::tool::reward_model::ModelScorer;
use crate::tool::score_record::{ScoreRecord, with_mean_seconds};
use crate::{Failure, Outcome, RewardError};

/// What tools need to run: a sandbox, Python packages, a device, a language model.
#[derive(Clone, Debug)]
pub struct ToolContext {
    /// The sandbox in which untrusted code runs, or the reason why there is no sandbox.
    pub sandbox: Result<Sandbox, SandboxError>,
    /// The Python packages that verifiers may import.
    pub packages: Packages,
    /// The limits of time, memory and output for scoring one reply.
    pub limits: SandboxLimits,
    /// The device on which reward models run: `cpu`, `cuda:N` or `auto`.
    pub device: String,
    /// The language model that judges ask. When it is `None`, judges cannot be opened.
    pub llm: Option<Arc<dyn Llm>>,
    /// The log of what judges are asked and answer.
    pub judge_log: Arc<JudgeLog>,
    /// The Hugging Face Hub whose local cache holds reward models. When it is `None`, environment variables name the
    /// Hub and the cache.
    pub hub: Option<Hub>,
    /// What users' reward functions share with the run: the training step and the log of prints.
    pub functions: Arc<FunctionRun>,
}

impl ToolContext {
    /// A context with the best sandbox that this machine has, reward models on the CPU, and no language model.
    pub fn new(limits: SandboxLimits) -> Self {
        Self {
            sandbox: Sandbox::open(),
            packages: Packages::default(),
            limits,
            device: "cpu".into(),
            llm: None,
            judge_log: Arc::default(),
            hub: None,
            functions: Arc::default(),
        }
    }
}

/// An opened tool, which is ready to score replies: its verifier is started, or its model is loaded.
#[derive(Debug)]
pub struct Tool {
    card: ToolCard,
    scorer: Scorer,
    /// Content hash of the tool: of its card, its code and its parts.
    identity: String,
    /// The code of a verifier, or the fingerprint of a model's files; empty for other tools.
    source: String,
    /// Whether the tool passed the admission checks. Only then can a reply be at fault for a failure: see
    /// [`Tool::attribute_failures`].
    admitted: bool,
}

/// What computes the scores of a tool; one variant for each way.
#[derive(Debug)]
enum Scorer {
    Builtin { builtin: Builtin, settings: Map<String, Value> },
    CodeTests(CodeTests),
    Verifier(Verifier),
    Python(Box<PythonScorer>),
    Model(Box<ModelScorer>),
    Judge(Judge),
    Composite(Vec<Tool>),
}

impl Tool {
    /// Opens the tool of a card. `home` is the tool's folder, `source` the code of a verifier, and `parts` holds the
    /// opened parts of a composite.
    pub(crate) fn open(
        card: &ToolCard,
        home: &Path,
        source: &str,
        parts: Vec<Self>,
        context: &ToolContext,
    ) -> Result<Self, RewardError> {
        let broken = |why: String| RewardError::tool(&card.name, why);
        let sandbox = || context.sandbox.clone().map_err(|e| broken(e.to_string()));
        let scorer = match &card.kind {
            ToolKind::Builtin { builtin, settings } => {
                let found = find_builtin(builtin.as_deref().unwrap_or(&card.name), settings).map_err(broken)?;
                match found.scored_by {
                    ScoredBy::Function(_) | ScoredBy::Explained(_) => {
                        Scorer::Builtin { builtin: found, settings: settings.clone() }
                    }
                    ScoredBy::Programs => Scorer::CodeTests(CodeTests::new(sandbox()?, context.limits, settings)),
                }
            }
            ToolKind::Verifier { function, requires, .. } => {
                let started = sandbox()?
                    .with_packages(requires, &context.packages)
                    .and_then(|sandbox| Verifier::start(&sandbox, source, function, context.limits));
                Scorer::Verifier(started.map_err(|e| broken(e.to_string()))?)
            }
            ToolKind::Python { .. } => Scorer::Python(Box::new(PythonScorer::open(card, home, source, context)?)),
            ToolKind::Model(pointer) => {
                let model = ModelScorer::load(home, pointer, card.range, &context.device, context.hub.as_ref());
                Scorer::Model(Box::new(model.map_err(|e| broken(e.to_string()))?))
            }
            ToolKind::Judge(rubric) => {
                let llm = context.llm.clone().ok_or_else(|| {
                    broken("a judge asks a language model: name one in a config's `rewards.llm`, or with --llm, --llm-local or --llm-replay".into())
                })?;
                let llm = Arc::new(JudgeLlm::new(llm, Arc::clone(&context.judge_log)));
                Scorer::Judge(Judge::new(&card.name, llm, rubric.clone(), card.range))
            }
            ToolKind::Composite { .. } => Scorer::Composite(parts),
        };
        Ok(Self { card: card.clone(), scorer, identity: String::new(), source: source.to_owned(), admitted: false })
    }

    /// Sets the tool's content hash, and whether the tool passed the admission checks.
    pub(crate) fn with_identity(self, identity: String, admitted: bool) -> Self {
        Self { identity, admitted, ..self }
    }

    /// The tool as it is during its admission checks: it and its parts count as not admitted, so that every failure is
    /// the fault of the tool, never of the reply.
    pub(crate) fn for_admission(mut self) -> Self {
        self.admitted = false;
        self.scorer = match self.scorer {
            Scorer::Composite(parts) => Scorer::Composite(parts.into_iter().map(Self::for_admission).collect()),
            Scorer::Python(function) => Scorer::Python(Box::new(function.alone())),
            other => other,
        };
        self
    }

    /// The name of the language model that a judge asks; for a composite, the one of the first judge among its parts.
    /// `None` for other tools.
    pub(crate) fn llm_name(&self) -> Option<String> {
        match &self.scorer {
            Scorer::Judge(judge) => Some(judge.llm_name()),
            Scorer::Composite(parts) => parts.iter().find_map(Self::llm_name),
            _ => None,
        }
    }

    /// Whether the tool, or one of its parts, is a judge.
    pub(crate) fn has_judge(&self) -> bool {
        self.llm_name().is_some()
    }

    /// Whether the tool, or one of its parts, is a reward model.
    pub(crate) fn has_model(&self) -> bool {
        match &self.scorer {
            Scorer::Model(_) => true,
            Scorer::Composite(parts) => parts.iter().any(Self::has_model),
            _ => false,
        }
    }

    /// The string literals in a verifier's code; empty for other tools. The admission checks try them as replies,
    /// because a backdoor in the code may reward one of them.
    pub(crate) fn literals(&self) -> Vec<String> {
        match &self.scorer {
            Scorer::Verifier(_) => literals(&self.source),
            Scorer::Python(_) if self.card.is_ranked() => literals(&self.source),
            _ => Vec::new(),
        }
    }

    /// The card of the tool: the checked contents of its `tool.yaml`.
    pub fn card(&self) -> &ToolCard {
        &self.card
    }

    /// The content hash of the tool: of its card, its code and its parts.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// A text that identifies everything that the tool's scores depend on besides example and reply: the content hash,
    /// the version of rlar, and for judges the language model and the version of the prompt.
    pub fn cache_identity(&self) -> String {
        self.cached_as().unwrap_or_else(|| self.versioned_identity())
    }

    /// The [`Self::cache_identity`] of a tool whose scores are cached. `None` for builtins that are pure functions, and
    /// for composites of such builtins: their scores are computed as fast as they would be looked up. `None` also for
    /// users' functions.
    pub(crate) fn cached_as(&self) -> Option<String> {
        let identity = self.versioned_identity();
        match &self.scorer {
            // A function's scores may depend on the other replies of a group, so it gets whole groups.
            Scorer::Builtin { .. } | Scorer::Python(_) => None,
            Scorer::Judge(judge) => Some(format!("{identity} {}", judge.cache_identity())),
            Scorer::Composite(parts) => {
                let names: Vec<String> = parts.iter().filter_map(Self::cached_as).collect();
                (!names.is_empty()).then(|| format!("{identity} {}", names.join(" ")))
            }
            Scorer::CodeTests(_) | Scorer::Verifier(_) | Scorer::Model(_) => Some(identity),
        }
    }

    fn versioned_identity(&self) -> String {
        format!("{} {}", self.identity, env!("CARGO_PKG_VERSION"))
    }

    /// Scores replies, each with its example; the outcomes are in the order of `items`.
    ///
    /// # Errors
    ///
    /// When the tool cannot run at all, such as when the sandbox is gone. A reply that gets no score is not an error:
    /// its [`Outcome`] says so.
    pub fn score(&self, items: &[(&Example, &Completion)]) -> Result<Vec<Outcome>, RewardError> {
        self.score_until(items, &|| false)
    }

    /// Scores like [`Self::score`] until `should_stop` returns true. Replies whose scoring has not been started by then
    /// get [`Failure::Late`].
    pub fn score_until(
        &self,
        items: &[(&Example, &Completion)],
        should_stop: ShouldStop,
    ) -> Result<Vec<Outcome>, RewardError> {
        Ok(self.score_records(items, should_stop)?.into_iter().map(|record| record.outcome).collect())
    }

    /// Scores like [`Self::score_until`], and also says why each score is as it is and what it cost. Where an example
    /// has several accepted answers, the one that gives the best score counts.
    pub fn score_records(
        &self,
        items: &[(&Example, &Completion)],
        should_stop: ShouldStop,
    ) -> Result<Vec<ScoreRecord>, RewardError> {
        let Some(answers) = AcceptedAnswers::of(items).filter(|_| self.card.needs_reference) else {
            return self.score_with_reference(items, should_stop);
        };
        let records = self.score_with_reference(&answers.items(), should_stop)?;
        Ok(answers.best(records).into_iter().map(|best| best.unwrap_or_else(ScoreRecord::without_reference)).collect())
    }

    /// Scores replies by the first reference of their examples; further accepted answers are not used.
    fn score_with_reference(
        &self,
        items: &[(&Example, &Completion)],
        should_stop: ShouldStop,
    ) -> Result<Vec<ScoreRecord>, RewardError> {
        let applies = |example: &Example| !self.card.needs_reference || example.reference.is_some();
        let applicable: Vec<(&Example, &Completion)> = items.iter().copied().filter(|(e, _)| applies(e)).collect();
        let mut records = self.run(&applicable, should_stop)?.into_iter();
        let record = |example| if applies(example) { records.next() } else { None };
        let records = items.iter().map(|(example, _)| *example).map(record);
        Ok(records.map(|record| record.unwrap_or_else(ScoreRecord::without_reference)).collect())
    }

    fn run(&self, items: &[(&Example, &Completion)], should_stop: ShouldStop) -> Result<Vec<ScoreRecord>, RewardError> {
        let broken = |e: SandboxError| RewardError::tool(&self.card.name, e.to_string());
        let start = Instant::now();
        Ok(match &self.scorer {
            Scorer::Builtin { builtin, settings } => {
                let record = |(e, c): &(&Example, &Completion)| {
                    if should_stop() {
                        return ScoreRecord::free(Outcome::Failed(Failure::Late));
                    }
                    let Some(found) = builtin.score(settings, e, c.scored_text()) else {
                        let why = (builtin.why_it_abstains)(e);
                        let why = why.unwrap_or("the example is not of the kind that this tool judges");
                        return ScoreRecord::free(Outcome::Abstained(why.to_owned()));
                    };
                    ScoreRecord { reason: found.reason, ..ScoreRecord::free(self.in_range(found.score)) }
                };
                with_mean_seconds(items.iter().map(record).collect(), start)
            }
            Scorer::CodeTests(tests) => with_mean_seconds(tests.score(items, should_stop).map_err(broken)?, start),
            Scorer::Verifier(verifier) => self.run_verifier(verifier, items, should_stop).map_err(broken)?,
            Scorer::Python(function) => {
                let lowest = (self.admitted && self.card.is_bounded()).then_some(self.card.range[0]);
                function.score(items, lowest, &|score| self.in_range(score), should_stop).map_err(broken)?
            }
            Scorer::Model(model) => {
                with_mean_seconds(model.score(items, should_stop).into_iter().map(ScoreRecord::free).collect(), start)
            }
            Scorer::Judge(judge) => with_mean_seconds(judge.score(items, should_stop), start),
            Scorer::Composite(parts) => {
                let records =
                    parts.iter().map(|part| part.score_records(items, should_stop)).collect::<Result<Vec<_>, _>>()?;
                (0..items.len()).map(|i| self.compose(parts, &records, i)).collect()
            }
        })
    }

    fn run_verifier(
        &self,
        verifier: &Verifier,
        items: &[(&Example, &Completion)],
        should_stop: ShouldStop,
    ) -> Result<Vec<ScoreRecord>, SandboxError> {
        let calls: Vec<CallArguments> = items.iter().map(|(e, c)| verifier_call(e, c.scored_text())).collect();
        let verdicts = verifier.score_until(&calls, should_stop)?;
        let mut records: Vec<ScoreRecord> = verdicts
            .into_iter()
            .map(|measured| {
                let seconds = measured.usage.wall.as_secs_f64();
                let reason = Reason::new(&measured.printed);
                ScoreRecord { reason, seconds, ..ScoreRecord::free(self.classify(measured.verdict)) }
            })
            .collect();
        if self.admitted {
            self.attribute_failures(verifier, items, &mut records, should_stop)?;
        }
        Ok(records)
    }

    /// Combines the records that a composite's parts have for one item into the composite's record.
    fn compose(&self, parts: &[Self], records: &[Vec<ScoreRecord>], item: usize) -> ScoreRecord {
        let of_item: Vec<&ScoreRecord> = records.iter().map(|part| &part[item]).collect();
        let members = || self.card.parts().iter().zip(&of_item);
        let outcome = if let Some(unscored) = of_item.iter().find(|record| record.outcome.score().is_none()) {
            unscored.outcome.clone()
        } else {
            let terms = members().filter(|(member, _)| member.combine.is_term());
            let sum: f64 = terms.filter_map(|(member, r)| r.outcome.score().map(|s| s * member.weight)).sum();
            let rulings = members().zip(parts).map(|((m, r), part)| (m.combine, m.least(part.card.range), &r.outcome));
            self.in_range(Ruling::of(rulings).apply(sum, self.card.range, 1.0))
        };
        let said =
            members().filter_map(|(member, r)| Some(format!("{}: {}", member.tool, r.reason.as_ref()?.as_str())));
        ScoreRecord {
            outcome,
            reason: Reason::new(&said.collect::<Vec<_>>().join("\n")),
            seconds: of_item.iter().map(|record| record.seconds).sum(),
            tokens: of_item.iter().map(|record| record.tokens).sum(),
            cacheable: of_item.iter().all(|record| record.cacheable),
            cached: false,
        }
    }

    /// Decides for each failure of an admitted verifier whether the verifier or the reply is at fault.
    ///
    /// The verifier is called again with the example's reference (or an empty text) as the reply. If this second call
    /// gives a score, the original reply is at fault and gets the lowest score of the range, which is not cached.
    /// Otherwise the failure stays the verifier's.
    fn attribute_failures(
        &self,
        verifier: &Verifier,
        items: &[(&Example, &Completion)],
        records: &mut [ScoreRecord],
        should_stop: ShouldStop,
    ) -> Result<(), SandboxError> {
        let has_failed = |r: &ScoreRecord| matches!(&r.outcome, Outcome::Failed(f) if *f != Failure::Late);
        let failed: Vec<usize> = (0..records.len()).filter(|i| has_failed(&records[*i])).collect();
        let mut examples: Vec<&Example> = failed.iter().map(|i| items[*i].0).collect();
        examples.dedup_by(|a, b| std::ptr::eq(*a, *b));
        let controls: Vec<CallArguments> =
            examples.iter().map(|e| verifier_call(e, e.reference.as_deref().unwrap_or_default())).collect();
        let verdicts = verifier.score_until(&controls, should_stop)?;
        let answers = verdicts.into_iter().map(|measured| self.classify(measured.verdict).score().is_some());
        let answers: Vec<(&Example, bool)> = examples.into_iter().zip(answers).collect();
        for i in failed {
            if answers.iter().any(|(example, answers)| *answers && std::ptr::eq(*example, items[i].0)) {
                records[i].blame_reply(self.card.range[0]);
            }
        }
        Ok(())
    }

    /// Translates the way in which a call of a verifier (a Python function in the sandbox) ended into an outcome.
    fn classify(&self, verdict: Verdict) -> Outcome {
        let failure = match verdict {
            Verdict::Score(score) => return self.in_range(score),
            Verdict::NotFinite(value) => Failure::Reply(value),
            Verdict::NotANumber(kind) => Failure::Reply(format!("a value of type {kind}")),
            Verdict::Raised(error) => Failure::Exception(error),
            Verdict::Skipped => Failure::Late,
            Verdict::TimeLimit(limit) => Failure::Limit(format!("no answer within {limit:?}")),
            Verdict::MemoryLimit => Failure::Limit("memory".into()),
            Verdict::OutputLimit => Failure::Limit("output".into()),
            Verdict::Crashed(how) => Failure::Crash(how),
            verdict @ Verdict::Unrepeatable { .. } => Failure::Reply(verdict.to_string()),
        };
        Outcome::Failed(failure)
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

/// The arguments of a call of a verifier: the prompt, the reply, and the reference (an empty text when there is none).
fn verifier_call(example: &Example, reply: &str) -> CallArguments {
    vec![example.prompt().to_owned(), reply.to_owned(), example.reference.clone().unwrap_or_default()]
}
