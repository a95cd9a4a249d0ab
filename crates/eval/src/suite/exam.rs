//! A suite with its prompts and its tools, ready to be sat.

use std::collections::BTreeMap;

use rlar_policy::Policy;
use rlar_rewards::Orchestrator;
use rlar_run::sha256;
use serde_json::{Map, Value, json};

use super::answers::{Asking, answers};
use super::engine::{Engine, Reply};
use super::figures::{Figure, check_instructions, figures};
use super::grade::{Verdict, give_tools, grade};
use super::metric::Metric;
use super::spec::Suite;
use super::tasks::Task;
use super::vote::agreement;
use crate::EvalError;
use crate::bootstrap::Bootstrap;
use crate::prompt::{encode_prompt, leaves_room};
use crate::report::{between, percent};
use crate::table::{markdown, render};

/// A suite, its prompts, and what judges the replies.
#[derive(Debug)]
pub struct Exam {
    suite: Suite,
    tasks: Vec<Task>,
    rewards: Orchestrator,
}

/// What came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Marks {
    /// The suite.
    pub suite: String,
    /// Who answered.
    pub engine: String,
    /// Prompts.
    pub prompts: usize,
    /// Replies per prompt.
    pub samples: usize,
    /// The figures; the first stands for the suite.
    pub figures: Vec<Figure>,
    /// The first figure by group, with the group's prompts, where there are several groups.
    pub groups: Vec<(String, usize, Figure)>,
    /// Replies that nobody gave.
    pub unanswered: usize,
    /// Replies that no tool scored; they count as wrong.
    pub unscored: usize,
    /// Why the first reply without a score has none.
    pub why: Option<String>,
    /// Replies that were cut off at their greatest length.
    pub cut: usize,
}

impl Exam {
    /// Everything that can be refused is refused here: tools that may not score, instructions that nobody can check.
    pub fn new(suite: Suite, tasks: Vec<Task>, mut rewards: Orchestrator) -> Result<Self, EvalError> {
        give_tools(&suite, &mut rewards)?;
        check_instructions(&suite, &tasks)?;
        Ok(Self { suite, tasks, rewards })
    }

    /// The suite.
    pub fn suite(&self) -> &Suite {
        &self.suite
    }

    /// The prompts.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// What tells it from others: its name, and a hash of the suite, the prompts, and the tools as they are.
    pub fn print(&self) -> String {
        let prompts: Vec<Value> = self.tasks.iter().map(|t| json!([t.example, t.references, t.group])).collect();
        let tools: Vec<_> = self.suite.tools.iter().map(|m| self.rewards.library().identity(&m.tool)).collect();
        let all = json!([self.suite, prompts, tools]);
        format!("{} {}", self.suite.name, &sha256(all.to_string().as_bytes())[..32])
    }

    /// An error where a policy has room for none of the prompts.
    pub fn fits(&self, policy: &Policy) -> Result<(), EvalError> {
        let mut last = None;
        for task in &self.tasks {
            let tokens = encode_prompt(policy, &task.example, self.suite.format)?.len();
            match leaves_room(policy, &task.example, tokens) {
                Ok(()) => return Ok(()),
                Err(e) => last = Some(e),
            }
        }
        let why = last.map_or_else(|| "it has no prompts".into(), |e| e.to_string());
        Err(EvalError::Mismatch(format!("suite `{}`: no prompt has room: {why}", self.suite.name)))
    }

    /// Asks an engine; nothing if it was interrupted. `done` hears of every prompt.
    pub fn ask(
        &self,
        engine: &dyn Engine,
        asking: &Asking,
        done: &mut dyn FnMut(usize),
    ) -> Result<Option<Vec<Vec<Reply>>>, EvalError> {
        answers(&self.suite, &self.tasks, engine, asking, done)
    }

    /// Judges replies of `engine` and adds up.
    pub fn mark(
        &mut self,
        engine: &str,
        replies: Vec<Vec<Reply>>,
        bootstrap: Option<Bootstrap>,
        over: &(dyn Fn() -> bool + Sync),
    ) -> Result<(Marks, Vec<Vec<Verdict>>), EvalError> {
        let samples = replies.iter().map(Vec::len).min().unwrap_or(0);
        if let Some(metric) = self.suite.metrics.iter().find(|m| m.draws() > samples) {
            let message =
                format!("suite `{}`: `{metric}` needs more replies per prompt than {samples}", self.suite.name);
            return Err(EvalError::Mismatch(message));
        }
        let suite = &self.suite;
        let verdicts = grade(suite, &self.tasks, replies, &mut self.rewards, over)?;
        let agree = agreement(suite, &self.tasks, &verdicts, &mut self.rewards)?;
        let count = |f: &dyn Fn(&Verdict) -> bool| verdicts.iter().flatten().filter(|v| f(v)).count();
        let marks = Marks {
            suite: suite.name.clone(),
            engine: engine.to_owned(),
            prompts: self.tasks.len(),
            samples,
            figures: figures(suite, &self.tasks, &verdicts, &agree, bootstrap),
            groups: self.groups(&verdicts, &agree),
            unanswered: count(&|v| v.text.is_none()),
            unscored: if suite.tools.is_empty() { 0 } else { count(&|v| v.text.is_some() && v.score.is_none()) },
            why: verdicts.iter().flatten().find_map(|v| v.why.clone()),
            cut: count(&|v| v.cut),
        };
        Ok((marks, verdicts))
    }

    fn groups(&self, verdicts: &[Vec<Verdict>], agree: &[Vec<usize>]) -> Vec<(String, usize, Figure)> {
        let mut by_group: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (place, task) in self.tasks.iter().enumerate() {
            by_group.entry(task.group.as_deref().unwrap_or("")).or_default().push(place);
        }
        if by_group.len() < 2 {
            return Vec::new();
        }
        let first = Suite { metrics: self.suite.metrics[..1].to_vec(), ..self.suite.clone() };
        let of = |(group, places): (&str, Vec<usize>)| {
            let tasks: Vec<Task> = places.iter().map(|p| self.tasks[*p].clone()).collect();
            let verdicts: Vec<Vec<Verdict>> = places.iter().map(|p| verdicts[*p].clone()).collect();
            let agree: Vec<Vec<usize>> = places.iter().map(|p| agree[*p].clone()).collect();
            let figure = figures(&first, &tasks, &verdicts, &agree, None).into_iter().next()?;
            Some((group.to_owned(), places.len(), figure))
        };
        by_group.into_iter().filter_map(of).collect()
    }

    /// A line of JSON per reply: what was said of it.
    pub fn lines(&self, verdicts: &[Vec<Verdict>]) -> String {
        let mut out = String::new();
        for (task, own) in self.tasks.iter().zip(verdicts) {
            for (sample, v) in own.iter().enumerate() {
                let mut line = json!({ "id": task.example.id, "sample": sample, "reply": v.text, "score": v.score });
                if !self.suite.tools.is_empty() {
                    line["right"] = v.right().into();
                }
                if let Some(why) = &v.why {
                    line["why"] = why.as_str().into();
                }
                out += &(line.to_string() + "\n");
            }
        }
        out
    }
}

impl Marks {
    /// The figure that stands for the suite, or the named one.
    pub fn figure(&self, name: Option<&str>) -> Option<&Figure> {
        match name {
            None => self.figures.first(),
            Some(name) => self.figures.iter().find(|f| f.name == name),
        }
    }

    /// Replies without a score, for want of a reply or of a verdict.
    fn lost(&self) -> usize {
        self.unanswered + self.unscored
    }

    /// As JSON: shares from 0 to 1.
    pub fn json(&self) -> Value {
        let figure = |f: &Figure| {
            let mut shown = json!({ "value": f.value });
            if let Some(i) = f.interval {
                shown["interval"] = json!([i.low, i.high]);
            }
            if f.is_bound && self.lost() > 0 {
                shown["scored_only"] = f.scored_only.into();
                shown["lower_bound"] = true.into();
            }
            shown
        };
        let figures: Map<String, Value> = self.figures.iter().map(|f| (f.name.clone(), figure(f))).collect();
        let groups: Map<String, Value> =
            self.groups.iter().map(|(g, n, f)| (g.clone(), json!({ "prompts": n, "value": f.value }))).collect();
        json!({
            "suite": self.suite,
            "engine": self.engine,
            "prompts": self.prompts,
            "samples": self.samples,
            "figures": figures,
            "groups": groups,
            "unanswered": self.unanswered,
            "unscored": self.unscored,
            "cut_off": self.cut,
        })
    }

    /// The table for a terminal, or in Markdown, with notes below.
    pub fn table(&self, as_markdown: bool) -> String {
        let value = |f: &Figure| match f.value {
            None => "–".to_owned(),
            Some(x) if f.share => percent(x),
            Some(x) => format!("{x:.2}"),
        };
        let interval = |f: &Figure| match f.interval {
            None => "–".to_owned(),
            Some(i) if f.share => between(&i),
            Some(i) => format!("{:.2} to {:.2}", i.low, i.high),
        };
        let bound = |f: &Figure| if f.is_bound && self.lost() > 0 { "≥ " } else { "" };
        let sure = self.figures.iter().any(|f| f.interval.is_some());
        let lost = self.figures.iter().any(|f| f.is_bound) && self.lost() > 0;
        let mut header = vec![self.suite.clone(), "figure".into()];
        header.extend(sure.then(|| "95 %".to_owned()));
        header.extend(lost.then(|| "scored only".to_owned()));
        let mut rows = vec![header];
        for f in &self.figures {
            let mut row = vec![f.name.clone(), format!("{}{}", bound(f), value(f))];
            row.extend(sure.then(|| interval(f)));
            row.extend(lost.then(|| f.scored_only.map_or("–".into(), percent)));
            rows.push(row);
        }
        let draw = if as_markdown { markdown } else { render };
        let mut said = draw(&rows);
        if let Some((_, _, first)) = self.groups.first() {
            let mut rows = vec![[String::new(), first.name.clone(), "prompts".into()].to_vec()];
            rows.extend(
                self.groups.iter().map(|(g, n, f)| vec![g.clone(), format!("{}{}", bound(f), value(f)), n.to_string()]),
            );
            said = said + "\n" + &draw(&rows);
        }
        let replies = if self.samples == 1 { "reply" } else { "replies" };
        let judged = self.figures.iter().any(|f| f.is_bound);
        let missing = if judged {
            "they count as wrong, the figures are lower bounds"
        } else if self.figures.iter().any(|f| f.name == Metric::Score.to_string()) {
            "they are left out"
        } else {
            "they count as empty"
        };
        let notes = [
            (self.unanswered, format!("replies are missing: {missing}")),
            (self.unscored, format!("replies have no score: {missing}")),
        ];
        let notes = notes.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}\n"));
        let cut =
            if self.cut > 0 { format!("{} replies were cut off at `max_tokens`\n", self.cut) } else { String::new() };
        let who = format!("\n{} prompts, {} {replies} each, by {}\n", self.prompts, self.samples, self.engine);
        let why = self.why.as_ref().map_or(String::new(), |why| format!("the first of them: {why}\n"));
        said + &who + &cut + &notes.collect::<String>() + &why
    }
}

/// Whether a name is a figure of a suite.
pub fn has_figure(suite: &Suite, name: &str) -> bool {
    suite.metrics.iter().any(|m| match m {
        Metric::IfEval => ["prompt strict", "instruction strict", "prompt loose", "instruction loose"]
            .iter()
            .any(|part| name == format!("ifeval {part}")),
        other => name == other.to_string(),
    })
}
