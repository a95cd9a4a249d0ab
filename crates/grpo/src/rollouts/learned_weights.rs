//! Weights that are learned while training runs (`rewards.weights: learned`): how much each of several tools counts
//! whose scores are only roughly right, such as reward models and judges.
//!
//! An admitted verifier that judges a prompt, and is not provisional, decides alone. Otherwise the roughly right tools
//! share the sum of the weights that they were given, by the estimator in [`rlar_rewards::weights`]. What it is fitted on
//! is in [`LearnedWeights`]. Weights change between two steps only; those of a step are written to the journal before the
//! step's replies are sampled, and every checkpoint holds what they are computed from.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::f64::consts::TAU;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rlar_data::{Completion, Example, ExampleList, Preference};
use rlar_rewards::weights::{Agreement, LabelledPair, NonNegativeFit, PairCounts, TaskPairs, ToolWeight};
use rlar_rewards::{
    CombineAs, Library, Orchestrator, Outcome, Scores, Status, ToolCard, ToolEvidence, ToolScore, WeightedTool, domain,
};
use rlar_run::{Checkpoint, Journal};
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::config::{Config, WeightSource};
use crate::rollouts::drawn_prompts::DrawnPrompts;
use crate::rollouts::rollout::{Group, Rollout};
use crate::schedule::Stream;

/// The file of a checkpoint with the learned weights and what they are computed from.
pub const WEIGHTS: &str = "weights.json";

/// The kind of the journal entries that hold the weights of a step.
const FITTED: &str = "weights";

/// The kind of the journal entry that holds what the preference pairs showed of the tools.
const PREFERENCES: &str = "preferences";

/// Number of labelled pairs as which the admission checks of a tool count at most. Their bad replies are easier to tell
/// from good ones than those of a policy.
const ADMISSION_PAIRS: f64 = 10.0;

/// Number of draws from which the interval of a weight is computed.
const DRAWS: usize = 200;

/// The weights of the tools, by domain and tool.
pub type DomainWeights = BTreeMap<String, BTreeMap<String, ToolWeight>>;

/// Largest number of pairs of audited replies to the prompts of a domain that are kept; the latest ones are.
const MAX_PAIRS: usize = 1000;

/// What the replies to the prompts of a domain showed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct DomainEvidence {
    /// Names of the tools that score the prompts.
    tools: BTreeSet<String>,
    /// Pairs of audited replies, in the order of the steps.
    pairs: VecDeque<LabelledPair>,
}

/// The weights in use, and the evidence that they are fitted on. Held-out prompts and suites are no part of it, and of
/// the audited prompts only those for which [`teaches_weights`] is true.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LearnedWeights {
    /// Names of the tools whose weights are learned, in the order of `agreement`.
    tools: Vec<String>,
    /// How much the tools agree on the replies to one prompt.
    agreement: Agreement,
    /// What is known of each domain.
    domains: BTreeMap<String, DomainEvidence>,
    /// The pairs in `data.preferences` with the scores of the tools; `None` before the first step.
    preferences: Option<Vec<LabelledPair>>,
    /// The weights in use.
    fitted: DomainWeights,
}

/// Whether the audits of the replies to a prompt, given by its index, are evidence for the learned weights. About half of
/// the prompts are; the audits of the others are reported and monitored, so that the weights are never judged by what
/// they were fitted on.
pub fn teaches_weights(config: &Config, example: usize) -> bool {
    config.rewards.weights == WeightSource::Learned
        && Stream::TaughtPrompts.seed_at(config.seed, example as u64).is_multiple_of(2)
}

impl LearnedWeights {
    /// The weights of a run: from a checkpoint, or else without evidence of replies, for the tools that the prompts have
    /// now. `None` unless the config asks for learned weights.
    pub fn load(
        checkpoint: Option<&Checkpoint>,
        config: &Config,
        examples: &ExampleList,
        rewards: &Orchestrator,
    ) -> Result<Option<Self>, TrainError> {
        if config.rewards.weights != WeightSource::Learned {
            return Ok(None);
        }
        if let Some(checkpoint) = checkpoint.filter(|c| c.path.join(WEIGHTS).exists()) {
            return Ok(Some(serde_json::from_slice(&checkpoint.read(WEIGHTS)?)?));
        }
        let mut weights = Self::default();
        let assigned = |example: Example| (rewards.assignment_of(&example), example);
        examples.for_each(assigned, |(assignment, example)| -> Result<(), TrainError> {
            let names: Vec<String> = assignment?.tools.into_iter().map(|chosen| chosen.tool).collect();
            let learned = names.iter().filter(|name| is_learned(name, rewards.library(), &config.rewards.always));
            learned.for_each(|name| weights.add_tool(domain(&example), name));
            Ok(())
        })?;
        Ok(Some(weights))
    }

    /// The weights in use.
    pub fn fitted(&self) -> &DomainWeights {
        &self.fitted
    }

    /// Lets the tools that prompts have at the start score the pairs in `data.preferences`, once in a run. The two replies
    /// of a pair answer one prompt, so that they also show how much the tools agree, and in which unit each scores.
    pub fn score_preferences(
        &mut self,
        step: u64,
        preferences: &[Preference],
        rewards: &mut Orchestrator,
        config: &Config,
        journal: &mut Journal,
    ) -> Result<(), TrainError> {
        if self.preferences.is_none() {
            let score = || Ok::<_, TrainError>(scored_preferences(&self.tools, preferences, rewards, config));
            let pairs: Vec<LabelledPair> = journal.once(step, PREFERENCES, score)?;
            for pair in &pairs {
                // Agreement is about differences within a group, so the worse reply may have the score 0.
                let replies = |difference: &Option<f64>| vec![*difference, difference.map(|_| 0.0)];
                self.agreement.add_group(&pair.differences.iter().map(replies).collect::<Vec<_>>());
            }
            self.preferences = Some(pairs);
        }
        Ok(())
    }

    /// Fits the weights of a step anew, or reads them from the journal.
    pub fn fit(&mut self, step: u64, seed: u64, library: &Library, journal: &mut Journal) -> Result<(), TrainError> {
        self.fitted = journal.once(step, FITTED, || Ok::<_, TrainError>(self.estimate(step, seed, library)))?;
        Ok(())
    }

    fn estimate(&self, step: u64, seed: u64, library: &Library) -> DomainWeights {
        let of_domain = |(name, evidence): (&String, &DomainEvidence)| TaskPairs {
            scored: self.tools.iter().map(|tool| evidence.tools.contains(tool)).collect(),
            pairs: evidence.pairs.iter().cloned().collect(),
            counts: self
                .tools
                .iter()
                .map(|tool| admission_counts(library, name, tool).filter(|_| evidence.tools.contains(tool)))
                .map(Option::unwrap_or_default)
                .collect(),
        };
        let mut tasks: Vec<TaskPairs> = self.domains.iter().map(of_domain).collect();
        // The preference pairs name no domain: they are evidence for the weights of all domains together.
        let pairs = self.preferences.clone().unwrap_or_default();
        tasks.push(TaskPairs { scored: vec![true; self.tools.len()], pairs, counts: Vec::new() });
        let fit = NonNegativeFit::new(&self.agreement, &tasks);
        let mut random = ChaCha8Rng::seed_from_u64(Stream::WeightIntervals.seed_at(seed, step));
        let mut normal = || normal(&mut random);
        let mut weights = DomainWeights::new();
        for (task, (name, evidence)) in self.domains.iter().enumerate() {
            let of_tools = self.tools.iter().cloned().zip(fit.intervals(task, DRAWS, &mut normal));
            weights.insert(name.clone(), of_tools.filter(|(tool, _)| evidence.tools.contains(tool)).collect());
        }
        weights
    }

    /// Gives the scores of a reply to a prompt of this domain their learned weights. If an admitted verifier judges the
    /// prompt, and was not measured to pay for perfect replies only, the scores of roughly right tools are removed; all
    /// replies to a prompt are treated alike, because a tool abstains only because of the prompt. Tools in
    /// `rewards.always` keep their weights.
    pub fn apply(&self, domain: &str, scores: &mut Scores, library: &Library, always: &[WeightedTool]) {
        let is_term = |score: &ToolScore| score.weight > 0.0;
        let decides = |score: &ToolScore| {
            let is_verifier = library.card(&score.tool).is_some_and(ToolCard::is_verifier);
            let is_always = always.iter().any(|member| member.tool == *score.tool);
            let judges = !matches!(score.outcome, Outcome::Abstained(_));
            let is_perfect_only = library.evidence(domain, &score.tool).is_some_and(ToolEvidence::is_perfect_only);
            let is_decisive = is_verifier && is_admitted(library, &score.tool) && !is_perfect_only;
            is_term(score) && is_decisive && !is_always && judges
        };
        let is_fuzzy = |score: &ToolScore| is_term(score) && is_learned(&score.tool, library, always);
        if scores.tools.iter().any(decides) {
            scores.tools.retain(|score| !is_fuzzy(score));
            return;
        }
        let fitted = self.fitted.get(domain);
        let known = |score: &ToolScore| Some(fitted?.get(&*score.tool)?.weight);
        let fuzzy = || scores.tools.iter().filter(|score| is_fuzzy(score));
        let weights: Vec<f64> = fuzzy().filter_map(known).collect();
        // A tool of which nothing is known yet, because it has just come into use, counts as much as the others' mean.
        let mean = if weights.is_empty() { 1.0 } else { weights.iter().sum::<f64>() / weights.len() as f64 };
        let sum: f64 = fuzzy().map(|score| known(score).unwrap_or(mean)).sum();
        let given: f64 = fuzzy().map(|score| score.weight).sum();
        let count = fuzzy().count() as f64;
        for score in scores.tools.iter_mut().filter(|score| is_fuzzy(score)) {
            let weight = known(score).unwrap_or(mean);
            let learned = given * if sum > 0.0 { weight / sum } else { 1.0 / count };
            score.weight = if is_provisional(library, &score.tool) { learned.min(score.weight) } else { learned };
        }
    }

    /// Adds what the replies of a step show: how much the tools agree, and which audited replies they rank right. Replies
    /// that a gate or a veto did not let pass show nothing, because their scores are not those that the tools gave.
    pub fn observe<'g>(
        &mut self,
        groups: impl Iterator<Item = &'g Group>,
        prompts: &DrawnPrompts,
        rewards: &mut Orchestrator,
        config: &Config,
    ) -> Result<(), TrainError> {
        for group in groups {
            let example = &prompts[group.example].example;
            let assigned = rewards.assign(example)?.tools.clone();
            let (name, library) = (domain(example), rewards.library());
            let tools = group.replies.first().map_or(&[][..], |reply| &reply.scores.tools);
            let learned = tools.iter().filter(|s| is_learned(&s.tool, library, &config.rewards.always));
            let learned: BTreeSet<&str> = learned.map(|score| &*score.tool).collect();
            if learned.is_empty() {
                continue;
            }
            for tool in &learned {
                self.add_tool(name, tool);
            }
            let passed = |reply: &&Rollout| !is_ruled_out(&assigned, &reply.scores, library);
            let replies: Vec<&Rollout> = group.replies.iter().filter(passed).collect();
            let column = |tool: &str| replies.iter().map(|r| r.scores.get(tool)?.outcome.score()).collect();
            let columns: Vec<Vec<Option<f64>>> = self.tools.iter().map(|tool| column(tool)).collect();
            self.agreement.add_group(&columns);
            if !teaches_weights(config, group.example) {
                continue;
            }
            let audits: Vec<Option<f64>> = replies.iter().map(|reply| reply.audit).collect();
            let evidence = self.domains.entry(name.to_owned()).or_default();
            evidence.pairs.extend(LabelledPair::of_group(&columns, &audits));
            let surplus = evidence.pairs.len().saturating_sub(MAX_PAIRS);
            evidence.pairs.drain(..surplus);
        }
        Ok(())
    }

    /// Takes note that a tool scores prompts of a domain.
    fn add_tool(&mut self, domain: &str, tool: &str) {
        if !self.tools.iter().any(|known| known == tool) {
            self.tools.push(tool.to_owned());
            self.agreement.grow(self.tools.len());
        }
        self.domains.entry(domain.to_owned()).or_default().tools.insert(tool.to_owned());
    }
}

/// Whether the weight of a tool is learned: its scores are only roughly right, and `rewards.always` does not name it.
fn is_learned(tool: &str, library: &Library, always: &[WeightedTool]) -> bool {
    library.card(tool).is_some_and(ToolCard::is_fuzzy) && !always.iter().any(|member| member.tool == tool)
}

/// Whether the tool passed every admission check, and an example showed that it ranks good replies above bad ones.
fn is_admitted(library: &Library, tool: &str) -> bool {
    library.is_admitted(tool) && !is_provisional(library, tool)
}

/// Whether a gate or a veto of the prompt's tools did not let the reply pass, and changed the scores of the others.
fn is_ruled_out(assigned: &[WeightedTool], scores: &Scores, library: &Library) -> bool {
    let closes = |member: &WeightedTool| {
        let range = library.card(&member.tool).map_or([0.0, 1.0], |card| card.range);
        let score = scores.get(&member.tool).and_then(|score| score.outcome.score());
        member.combine != CombineAs::Term && score.is_some_and(|score| score < member.least(range))
    };
    assigned.iter().any(closes)
}

/// Whether no example showed that the tool ranks good replies above bad ones, so that its weight is limited.
fn is_provisional(library: &Library, tool: &str) -> bool {
    library.admission(tool).is_some_and(|admission| admission.status == Status::Provisional)
}

/// What the admission checks showed of a tool: on examples of the domain, or else on any. `None` if they showed nothing.
fn admission_counts(library: &Library, domain: &str, tool: &str) -> Option<PairCounts> {
    if let Some(auc) = library.evidence(domain, tool).and_then(|evidence| evidence.auc) {
        return Some(PairCounts::from_auc(auc, ADMISSION_PAIRS));
    }
    let admission = library.admission(tool)?;
    Some(PairCounts::from_auc(admission.auc?, ADMISSION_PAIRS.min(admission.examples as f64)))
}

/// The preference pairs with the differences of the tools' scores. A tool that cannot be run has none.
fn scored_preferences(
    tools: &[String],
    preferences: &[Preference],
    rewards: &mut Orchestrator,
    config: &Config,
) -> Vec<LabelledPair> {
    let part = config.rewards.scored.clone().unwrap_or_default();
    let prompt = |p: &Preference| Example { messages: p.messages.clone(), ..Example::new(p.id.clone(), "") };
    let prompts: Vec<Example> = preferences.iter().map(prompt).collect();
    let replies: Vec<Completion> =
        preferences.iter().flat_map(|p| [&p.chosen, &p.rejected]).map(|reply| part.completion(reply.clone())).collect();
    let items: Vec<(&Example, &Completion)> = prompts.iter().flat_map(|p| [p, p]).zip(&replies).collect();
    let mut pairs = vec![LabelledPair { differences: Vec::new(), weight: 1.0 }; preferences.len()];
    for tool in tools {
        let outcomes = rewards.score_with(tool, &items).unwrap_or_else(|why| {
            tracing::warn!("`data.preferences` show nothing of the tool `{tool}`: {why}");
            Vec::new()
        });
        for (i, pair) in pairs.iter_mut().enumerate() {
            let score = |at: usize| outcomes.get(at)?.score();
            pair.differences.push(score(2 * i).zip(score(2 * i + 1)).map(|(chosen, rejected)| chosen - rejected));
        }
    }
    pairs
}

/// A standard normal random number (Box and Muller, 1958).
fn normal(random: &mut ChaCha8Rng) -> f64 {
    let (radius, angle): (f64, f64) = (random.random(), random.random());
    (-2.0 * (1.0 - radius).ln()).sqrt() * (TAU * angle).cos()
}
