//! Writes the rollouts of a step to a Parquet file, with the columns of TRL's completion logs and more.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use rlar_data::{Column, Example, parquet};
use rlar_policy::PolicyError;
use rlar_rewards::{ToolScore, domain};
use rlar_run::{Disk, RunError, RunFolder, sync_or_rewrite};

use crate::TrainError;
use crate::rollouts::batch::Batch;
use crate::rollouts::drawn_prompts::DrawnPrompts;
use crate::rollouts::rollout::{Group, Rollout};

/// The folder `rollouts/` of a run, with one Parquet file per recorded step.
#[derive(Debug)]
pub struct RolloutFiles {
    folder: PathBuf,
    disk: Disk,
    /// Files that are not synced to disk yet, so that a crash of the machine could lose them.
    unsynced: Vec<PathBuf>,
}

impl RolloutFiles {
    /// Opens the folder, and removes the files of steps after step `done`.
    pub fn open(run: &RunFolder, disk: Disk, done: u64) -> Result<Self, TrainError> {
        let folder = run.path().join("rollouts");
        let step = |path: &PathBuf| path.file_stem()?.to_str()?.strip_prefix("step-")?.parse::<u64>().ok();
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if step(&path).is_some_and(|step| step > done) {
                fs::remove_file(&path).map_err(|source| RunError::Io { path, action: "cannot remove", source })?;
            }
        }
        Ok(Self { folder, disk, unsynced: Vec::new() })
    }

    /// Writes the rollouts of a step. The first columns are TRL's (`step`, `prompt`, `completion`, one per tool,
    /// `advantage`), with the reasons beside the scores of each tool; the others exist only in rlar. `trainer_log_probs` are
    /// those of the tokens of each reply of the batch's groups, without the replaced ones; empty if the trainer computed none.
    /// `drawn` are the prompts of the batch; `render` makes the text of the prompt that the policy gets for an example.
    pub fn write(
        &mut self,
        step: u64,
        batch: &Batch,
        advantages: &[Vec<Option<f64>>],
        trainer_log_probs: &[Vec<f32>],
        drawn: &DrawnPrompts,
        render: impl Fn(&Example) -> Result<String, PolicyError>,
    ) -> Result<(), TrainError> {
        let groups: Vec<&Group> = batch.sampled().collect();
        let prompts = groups.iter().map(|g| render(&drawn[g.example].example)).collect::<Result<Vec<String>, _>>();
        let prompts = prompts.map_err(|e| TrainError::Rollouts { step, message: e.to_string() })?;
        // Replaced groups are not trained on, so they have no advantages.
        let replaced = batch.replaced.iter().map(|g| vec![None; g.replies.len()]);
        let advantages: Vec<Vec<Option<f64>>> = advantages.iter().cloned().chain(replaced).collect();
        let rows = ReplyRows { groups: &groups, drawn, prompts: &prompts, trainer_log_probs };
        let bytes = parquet(&columns(step, &rows, &advantages))
            .map_err(|e| TrainError::Rollouts { step, message: e.to_string() })?;
        let path = self.folder.join(format!("step-{step:06}.parquet"));
        let temporary = path.with_extension("tmp");
        let io = |path: &PathBuf| {
            let path = path.clone();
            move |source| RunError::Io { path, action: "cannot write", source }
        };
        self.disk.write(|| {
            fs::create_dir_all(&self.folder).map_err(io(&self.folder))?;
            fs::write(&temporary, &bytes).map_err(io(&temporary))?;
            fs::rename(&temporary, &path).map_err(io(&path))
        })?;
        self.unsynced.push(path);
        Ok(())
    }

    /// Syncs all files written so far to disk, so that they survive a crash of the machine.
    pub fn sync(&mut self) -> Result<(), TrainError> {
        while let Some(path) = self.unsynced.last() {
            sync_or_rewrite(path, self.disk)?;
            self.unsynced.pop();
        }
        Ok(())
    }
}

/// Names and values of the columns of a file, with one row per reply.
fn columns(step: u64, rows: &ReplyRows, advantages: &[Vec<Option<f64>>]) -> Vec<(String, Column)> {
    let json = |value: Result<String, serde_json::Error>| value.unwrap_or_default();
    let mut ours = vec![
        ("example".to_owned(), rows.of_example(|e| e.id.clone())),
        ("domain".to_owned(), rows.of_example(|e| domain(e).to_owned())),
        ("group".to_owned(), rows.numbered_groups()),
        ("reference".to_owned(), rows.of_example(|e| e.reference.clone().unwrap_or_default())),
        ("reward".to_owned(), rows.numbers(|r| r.scores.total())),
        ("tokens".to_owned(), rows.integers(|r| r.tokens.len() as i64)),
        ("finish".to_owned(), rows.texts(|r| json(serde_json::to_string(&r.finish)).replace('"', ""))),
        ("audit".to_owned(), rows.numbers(|r| r.audit)),
        ("verdicts".to_owned(), rows.texts(|r| json(serde_json::to_string(&r.scores)))),
        ("messages".to_owned(), rows.of_example(|e| json(serde_json::to_string(&e.messages)))),
        ("rendered_prompt".to_owned(), rows.rendered_prompts()),
        ("token_ids".to_owned(), rows.texts(|r| json(serde_json::to_string(&r.tokens)))),
        ("log_probs".to_owned(), rows.texts(|r| json(serde_json::to_string(&r.log_probs)))),
    ];
    if !rows.trainer_log_probs.is_empty() {
        // Replaced groups, which come last, are not passed through the trainer.
        let known = rows.trainer_log_probs.iter().map(Some).chain(std::iter::repeat(None));
        let text = |(_, known): (&Rollout, Option<&Vec<f32>>)| {
            known.map_or_else(|| "[]".to_owned(), |known| json(serde_json::to_string(known)))
        };
        ours.push(("trainer_log_probs".to_owned(), Column::Text(rows.replies().zip(known).map(text).collect())));
    }
    let mut columns = vec![
        ("step".to_owned(), rows.integers(|_| step as i64)),
        ("prompt".to_owned(), rows.of_example(|e| e.prompt().to_owned())),
        ("completion".to_owned(), rows.texts(|r| r.text.clone())),
    ];
    let mut taken: BTreeSet<String> = columns.iter().chain(&ours).map(|(name, _)| name.clone()).collect();
    taken.insert("advantage".to_owned());
    let mut free = |name: String| {
        let name = if taken.contains(&name) { format!("tool_{name}") } else { name };
        taken.insert(name.clone());
        name
    };
    let tools: BTreeSet<&str> = rows.replies().flat_map(|r| &r.scores.tools).map(|s| &*s.tool).collect();
    for tool in tools {
        let score = |r: &Rollout| r.scores.get(tool).and_then(|score| score.outcome.score());
        columns.push((free(tool.to_owned()), rows.numbers(score)));
        let why = |r: &Rollout| r.scores.get(tool).map(ToolScore::why).unwrap_or_default();
        columns.push((free(format!("{tool}_reason")), rows.texts(why)));
    }
    columns.push(("advantage".to_owned(), Column::Number(advantages.iter().flatten().copied().collect())));
    columns.extend(ours);
    columns
}

/// Gives columns with one row per reply, for the replies of some groups.
struct ReplyRows<'a> {
    groups: &'a [&'a Group],
    drawn: &'a DrawnPrompts,
    /// For each group, the text of the prompt that the policy got.
    prompts: &'a [String],
    /// For each reply of the first groups, the log-probs that the trainer computed before the update; empty if it did not.
    trainer_log_probs: &'a [Vec<f32>],
}

impl<'a> ReplyRows<'a> {
    fn replies(&self) -> impl Iterator<Item = &'a Rollout> {
        self.groups.iter().flat_map(|g| &g.replies)
    }

    fn texts(&self, text: impl Fn(&Rollout) -> String) -> Column {
        Column::Text(self.replies().map(text).collect())
    }

    fn numbers(&self, number: impl Fn(&Rollout) -> Option<f64>) -> Column {
        Column::Number(self.replies().map(number).collect())
    }

    fn integers(&self, integer: impl Fn(&Rollout) -> i64) -> Column {
        Column::Whole(self.replies().map(integer).collect())
    }

    /// A column with a text of each reply's example: its id, prompt or reference.
    fn of_example(&self, text: impl Fn(&Example) -> String) -> Column {
        let rows = self.groups.iter().flat_map(|g| g.replies.iter().map(|_| &self.drawn[g.example].example));
        Column::Text(rows.map(text).collect())
    }

    /// A column with the text of each reply's prompt as the policy got it, for instance after the chat template.
    fn rendered_prompts(&self) -> Column {
        let rows = self.groups.iter().zip(self.prompts);
        Column::Text(rows.flat_map(|(g, prompt)| g.replies.iter().map(move |_| prompt.clone())).collect())
    }

    /// A column with the index of each reply's group in the step.
    fn numbered_groups(&self) -> Column {
        let rows = self.groups.iter().enumerate().flat_map(|(i, g)| g.replies.iter().map(move |_| i as i64));
        Column::Whole(rows.collect())
    }
}
