//! Runs a suite: generates a reply to each prompt, scores the replies, and computes the metrics.

use std::collections::BTreeMap;

use rlar_policy::Policy;
use rlar_rewards::Orchestrator;
use rlar_run::{Activity, percent, sha256};
use serde_json::{Map, Value, json};

use super::agreement::agreement;
use super::generator::{ReplyGenerator, ReplyResult};
use super::grade::{GradedReply, assign_tools, grade};
use super::metric::SuiteMetric;
use super::metric_values::{MetricValue, check_instructions, metric_values};
use super::prompts::SuitePrompt;
use super::replies::{GenerationOptions, generate_replies};
use super::spec::Suite;
use crate::EvalError;
use crate::bootstrap::Bootstrap;
use crate::prompt_encoding::{check_prompt_fits, encode_prompt};
use crate::report::between;
use crate::table::{markdown, render};

/// A suite with its prompts and the reward tools that grade the replies.
#[derive(Debug)]
pub struct SuiteEval {
    suite: Suite,
    prompts: Vec<SuitePrompt>,
    rewards: Orchestrator,
}

/// The values of a suite's metrics for one model.
#[derive(Clone, Debug, PartialEq)]
pub struct SuiteResult {
    /// Name of the suite.
    pub suite: String,
    /// Name of the model that replied.
    pub generator: String,
    /// Number of prompts in the suite.
    pub prompts: usize,
    /// Number of replies to each prompt.
    pub samples: usize,
    /// The values of all metrics. The first one stands for the suite where one number is needed.
    pub metrics: Vec<MetricValue>,
    /// The first metric's value for each group of prompts, such as a subject; empty where the suite has fewer than two
    /// groups.
    pub groups: Vec<GroupValue>,
    /// Number of replies that are missing, because they could not be generated or are not in the file of replies.
    pub unanswered: usize,
    /// Number of replies that are there but got no score; 0 where the suite has no tools.
    pub unscored: usize,
    /// The reason for the first reply that is missing or got no score; `None` where there is no such reply.
    pub first_failure: Option<String>,
    /// Number of replies that were cut off at `max_tokens`.
    pub truncated: usize,
}

/// The value of a suite's first metric on one group of prompts.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupValue {
    /// Name of the group, as the suite's template `group` renders it.
    pub group: String,
    /// Number of prompts in the group.
    pub prompts: usize,
    /// The value of the suite's first metric on the prompts of the group.
    pub value: MetricValue,
}

impl SuiteEval {
    /// Prepares an evaluation. Fails where a tool of the suite may not grade its replies, for example because it has
    /// not passed its admission checks (see [`assign_tools`]), or where a prompt has an instruction that `ifeval` does
    /// not know.
    pub fn new(suite: Suite, prompts: Vec<SuitePrompt>, mut rewards: Orchestrator) -> Result<Self, EvalError> {
        assign_tools(&suite, &mut rewards)?;
        check_instructions(&suite, &prompts)?;
        Ok(Self { suite, prompts, rewards })
    }

    /// The suite that is evaluated.
    pub fn suite(&self) -> &Suite {
        &self.suite
    }

    /// The suite's prompts, in the order of the data.
    pub fn prompts(&self) -> &[SuitePrompt] {
        &self.prompts
    }

    /// What the evaluation is doing at the moment: the tools that are scoring.
    pub fn activity(&self) -> &Activity {
        self.rewards.activity()
    }

    /// Makes `activity`, such as that of a training run, the one under which the tools that are scoring are shown.
    pub fn report_to(&mut self, activity: &Activity) {
        self.rewards.report_to(activity);
    }

    /// A text that identifies what is measured: the suite's name, and a hash of the suite, the prompts and the contents
    /// of the tools.
    pub fn fingerprint(&self) -> String {
        let prompts: Vec<Value> = self.prompts.iter().map(|p| json!([p.example, p.references, p.group])).collect();
        let tools: Vec<_> = self.suite.tools.iter().map(|m| self.rewards.library().identity(&m.tool)).collect();
        let all = json!([self.suite, prompts, tools]);
        format!("{} {}", self.suite.name, &sha256(all.to_string().as_bytes())[..32])
    }

    /// Fails where every prompt is too long for the model's context, so that no reply can be generated.
    pub fn check_context(&self, policy: &Policy) -> Result<(), EvalError> {
        let mut last = None;
        for prompt in &self.prompts {
            let tokens = encode_prompt(&policy.tokenizer, &prompt.example, self.suite.format)?.len();
            match check_prompt_fits(policy, &prompt.example, tokens) {
                Ok(()) => return Ok(()),
                Err(e) => last = Some(e),
            }
        }
        let reason = last.map_or_else(|| "it has no prompts".into(), |e| e.to_string());
        Err(EvalError::Mismatch(format!("suite `{}`: no prompt fits into the context: {reason}", self.suite.name)))
    }

    /// Generates the replies to all prompts, one list per prompt; `None` if cancelled. `on_progress` gets the number of
    /// finished prompts. See [`generate_replies`].
    pub fn generate(
        &self,
        generator: &dyn ReplyGenerator,
        options: &GenerationOptions,
        on_progress: &mut dyn FnMut(usize),
    ) -> Result<Option<Vec<Vec<ReplyResult>>>, EvalError> {
        generate_replies(&self.suite, &self.prompts, generator, options, on_progress)
    }

    /// Grades the replies (one list per prompt) and computes the metrics, with 95 % intervals where `bootstrap` is
    /// given. `generator` is the name of the model that replied. Replies that are not scored when `cancelled` returns
    /// true get no score.
    pub fn evaluate(
        &mut self,
        generator: &str,
        replies: Vec<Vec<ReplyResult>>,
        bootstrap: Option<Bootstrap>,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<(SuiteResult, Vec<Vec<GradedReply>>), EvalError> {
        let suite = &self.suite;
        let samples = replies.iter().map(Vec::len).min().unwrap_or(0);
        if let Some(metric) = suite.metrics.iter().find(|m| m.samples_needed() > samples) {
            let message = format!("suite `{}`: `{metric}` needs more replies per prompt than {samples}", suite.name);
            return Err(EvalError::Mismatch(message));
        }
        let graded = grade(suite, &self.prompts, replies, &mut self.rewards, cancelled)?;
        let answer_groups = agreement(suite, &self.prompts, &graded, &mut self.rewards)?;
        let all = || graded.iter().flatten();
        let unscored = all().filter(|r| r.text.is_some() && r.score.is_none()).count();
        let result = SuiteResult {
            suite: suite.name.clone(),
            generator: generator.to_owned(),
            prompts: self.prompts.len(),
            samples,
            metrics: metric_values(suite, &self.prompts, &graded, &answer_groups, bootstrap),
            groups: self.groups(&graded, &answer_groups),
            unanswered: all().filter(|r| r.text.is_none()).count(),
            unscored: if suite.tools.is_empty() { 0 } else { unscored },
            first_failure: all().find_map(|r| r.failure.clone()),
            truncated: all().filter(|r| r.truncated).count(),
        };
        Ok((result, graded))
    }

    fn groups(&self, graded: &[Vec<GradedReply>], answer_groups: &[Vec<usize>]) -> Vec<GroupValue> {
        let mut by_group: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (i, prompt) in self.prompts.iter().enumerate() {
            by_group.entry(prompt.group.as_deref().unwrap_or("")).or_default().push(i);
        }
        if by_group.len() < 2 {
            return Vec::new();
        }
        let suite = Suite { metrics: self.suite.metrics[..1].to_vec(), ..self.suite.clone() };
        let value = |(group, members): (&str, Vec<usize>)| {
            let prompts: Vec<SuitePrompt> = members.iter().map(|i| self.prompts[*i].clone()).collect();
            let graded: Vec<Vec<GradedReply>> = members.iter().map(|i| graded[*i].clone()).collect();
            let answer_groups: Vec<Vec<usize>> = members.iter().map(|i| answer_groups[*i].clone()).collect();
            let value = metric_values(&suite, &prompts, &graded, &answer_groups, None).into_iter().next()?;
            Some(GroupValue { group: group.to_owned(), prompts: members.len(), value })
        };
        by_group.into_iter().filter_map(value).collect()
    }

    /// The graded replies as JSONL: one line per reply, with its prompt, its text, its score and why a score is missing.
    pub fn graded_jsonl(&self, graded: &[Vec<GradedReply>]) -> String {
        let mut out = String::new();
        for (prompt, replies) in self.prompts.iter().zip(graded) {
            for (sample, r) in replies.iter().enumerate() {
                let example = &prompt.example;
                let (id, prompt) = (&example.id, example.prompt());
                let mut line =
                    json!({ "id": id, "sample": sample, "prompt": prompt, "reply": r.text, "score": r.score });
                if !self.suite.tools.is_empty() {
                    line["right"] = r.is_correct().into();
                }
                if let Some(reason) = &r.failure {
                    line["why"] = reason.as_str().into();
                }
                out += &(line.to_string() + "\n");
            }
        }
        out
    }
}

impl SuiteResult {
    /// The metric value with this name, such as `ifeval prompt strict`; without a name the first value, which stands
    /// for the suite. `None` where there is no such value.
    pub fn metric(&self, name: Option<&str>) -> Option<&MetricValue> {
        match name {
            None => self.metrics.first(),
            Some(name) => self.metrics.iter().find(|m| m.name == name),
        }
    }

    /// Number of replies that are missing or got no score.
    pub fn without_score(&self) -> usize {
        self.unanswered + self.unscored
    }

    /// Whether a value is only a lower bound, because there are replies without a score and the metric counts them as
    /// wrong.
    fn is_bound(&self, value: &MetricValue) -> bool {
        value.is_lower_bound && self.without_score() > 0
    }

    /// The result as JSON, with the keys that `docs/reference/evaluation.md` lists. Shares are numbers from 0 to 1.
    pub fn json(&self) -> Value {
        let metric = |m: &MetricValue| {
            let mut json = json!({ "value": m.value });
            if let Some(i) = m.interval {
                json["interval"] = json!([i.low, i.high]);
            }
            if self.is_bound(m) {
                json["scored_only"] = m.scored_only.into();
                json["lower_bound"] = true.into();
            }
            json
        };
        let metrics: Map<String, Value> = self.metrics.iter().map(|m| (m.name.clone(), metric(m))).collect();
        let group = |g: &GroupValue| (g.group.clone(), json!({ "prompts": g.prompts, "value": g.value.value }));
        let groups: Map<String, Value> = self.groups.iter().map(group).collect();
        json!({
            "suite": self.suite,
            "engine": self.generator,
            "prompts": self.prompts,
            "samples": self.samples,
            "figures": metrics,
            "groups": groups,
            "unanswered": self.unanswered,
            "unscored": self.unscored,
            "cut_off": self.truncated,
        })
    }

    /// The result as tables for a terminal, or in Markdown. Notes about missing and unscored replies follow the tables.
    pub fn table(&self, as_markdown: bool) -> String {
        let draw = if as_markdown { markdown } else { render };
        let mut out = draw(&self.metric_rows());
        if let Some(first) = self.groups.first() {
            let mut rows = vec![vec![String::new(), first.value.name.clone(), "prompts".into()]];
            let row = |g: &GroupValue| vec![g.group.clone(), self.value_cell(&g.value), g.prompts.to_string()];
            rows.extend(self.groups.iter().map(row));
            out = out + "\n" + &draw(&rows);
        }
        out + &self.notes()
    }

    fn metric_rows(&self) -> Vec<Vec<String>> {
        let has_intervals = self.metrics.iter().any(|m| m.interval.is_some());
        let has_bounds = self.metrics.iter().any(|m| self.is_bound(m));
        let mut header = vec![self.suite.clone(), "value".into()];
        header.extend(has_intervals.then(|| "95 %".to_owned()));
        header.extend(has_bounds.then(|| "scored only".to_owned()));
        let mut rows = vec![header];
        for m in &self.metrics {
            let mut row = vec![m.name.clone(), self.value_cell(m)];
            row.extend(has_intervals.then(|| interval_cell(m)));
            row.extend(has_bounds.then(|| m.scored_only.map_or("–".into(), percent)));
            rows.push(row);
        }
        rows
    }

    fn value_cell(&self, m: &MetricValue) -> String {
        let bound = if self.is_bound(m) { "≥ " } else { "" };
        match m.value {
            None => format!("{bound}–"),
            Some(x) if m.metric.is_share() => format!("{bound}{}", percent(x)),
            Some(x) => format!("{bound}{x:.2}"),
        }
    }

    fn notes(&self) -> String {
        let replies = if self.samples == 1 { "reply" } else { "replies" };
        let effect = if self.metrics.iter().any(|m| m.is_lower_bound) {
            "they count as wrong, the values are lower bounds"
        } else if self.metrics.iter().any(|m| m.metric == SuiteMetric::Score) {
            "they are left out"
        } else {
            "they count as empty"
        };
        let mut notes =
            vec![format!("\n{} prompts, {} {replies} each, by {}", self.prompts, self.samples, self.generator)];
        if self.truncated > 0 {
            notes.push(format!("{} replies were cut off at `max_tokens`", self.truncated));
        }
        if self.unanswered > 0 {
            notes.push(format!("{} replies are missing: {effect}", self.unanswered));
        }
        if self.unscored > 0 {
            notes.push(format!("{} replies have no score: {effect}", self.unscored));
        }
        notes.extend(self.first_failure.as_ref().map(|reason| format!("the first of them: {reason}")));
        notes.join("\n") + "\n"
    }
}

fn interval_cell(m: &MetricValue) -> String {
    match m.interval {
        None => "–".to_owned(),
        Some(i) if m.metric.is_share() => between(&i),
        Some(i) => format!("{:.2} to {:.2}", i.low, i.high),
    }
}
