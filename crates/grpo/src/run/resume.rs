//! Finds where a run starts: from the beginning, from the first step with inputs from the journal, or from a
//! checkpoint.

use rlar_run::{Checkpoint, JOURNAL, Journal, RunFolder};

use crate::TrainError;
use crate::config::{Config, Method};
use crate::engine::local::trainable::Trainable;
use crate::engine::local::trainer::LocalTrainer;
use crate::run::job::Job;
use crate::update::train_state::{Counters, FORMAT, TrainState};

/// The kind of the journal entry for step 0, which holds the counters before the first step.
const START: &str = "start";

/// The point from which a run starts or continues.
#[derive(Debug)]
pub struct ResumePoint {
    /// The newest checkpoint that is intact; `None` if there is none.
    pub checkpoint: Option<Checkpoint>,
    /// Counters and journal of the earlier run; `None` for a run that starts from the beginning.
    resumed: Option<Resumed>,
}

/// Counters and journal with which a resumed run continues.
#[derive(Debug)]
struct Resumed {
    counters: Counters,
    /// The journal, with the recorded inputs of the steps after the checkpoint.
    journal: Journal,
}

impl ResumePoint {
    /// Finds the point from which a job starts or continues. Also returns messages for the user about this point. Warns
    /// of damaged checkpoints.
    pub fn find(run: &RunFolder, job: &Job) -> Result<(Self, Vec<String>), TrainError> {
        let anew = Self { checkpoint: None, resumed: None };
        if !job.resume {
            return Ok((anew, Vec::new()));
        }
        let (checkpoint, damaged) = run.checkpoints().newest()?;
        for line in &damaged {
            tracing::warn!("damaged checkpoint, using the one before: {line}");
        }
        let mut notes = Vec::new();
        if let Some(checkpoint) = checkpoint {
            let counters = Counters::parse(&checkpoint.read("state.json")?, &checkpoint.path)?;
            let journal = run.journal(counters.step)?;
            return Ok((Self { checkpoint: Some(checkpoint), resumed: Some(Resumed { counters, journal }) }, notes));
        }
        if run.needs_checkpoint()? {
            let why = damaged.last().map_or("its checkpoints are missing", String::as_str);
            let message = format!("no checkpoint is intact ({why}); start a new run in another `run.folder`");
            return Err(TrainError::Checkpoint { path: run.path().to_owned(), message });
        }
        let mut journal = run.journal(0)?;
        let Some(counters) = journal.recall::<serde_json::Value>(0, START)? else {
            notes.push("no step was taken yet: starting from the beginning".into());
            return Ok((anew, notes));
        };
        let path = run.path().join(JOURNAL);
        let counters = Counters::parse(counters.to_string().as_bytes(), &path)?;
        if job.config.train.method == Method::RewardModel && counters.format < FORMAT {
            let message = format!(
                "the run was started by rlar {}, which drew the reward head's first weights from another random stream, and \
                 has no checkpoint yet; start it anew",
                counters.version
            );
            return Err(TrainError::Checkpoint { path, message });
        }
        notes.push("no checkpoint yet: repeating the first steps from the journal".into());
        Ok((Self { checkpoint: None, resumed: Some(Resumed { counters, journal }) }, notes))
    }

    /// The counters to continue with; `None` for a run that starts from the beginning.
    pub fn counters(&self) -> Option<&Counters> {
        self.resumed.as_ref().map(|resumed| &resumed.counters)
    }

    /// Whether an earlier run is continued, from a checkpoint or from its journal.
    pub fn is_resumed(&self) -> bool {
        self.resumed.is_some()
    }

    /// The state of training in this process to continue with: that of the checkpoint, or a fresh one with the trainer that
    /// `first` makes.
    pub fn state<M: Trainable>(
        &self,
        config: &Config,
        first: impl FnOnce() -> Result<LocalTrainer<M>, TrainError>,
    ) -> Result<TrainState<LocalTrainer<M>>, TrainError> {
        let counters = self.counters().cloned().unwrap_or_else(Counters::now);
        let trainer = match &self.checkpoint {
            Some(checkpoint) => LocalTrainer::load(checkpoint, counters.optimizer_steps, config)?,
            None => first()?,
        };
        Ok(TrainState { trainer, counters })
    }

    /// The journal to continue with. A run that starts from the beginning has `plan` set the counters that depend on its
    /// data, removes files of an earlier start from the folder, and writes its counters to the journal.
    pub fn start(
        self,
        run: &RunFolder,
        counters: &mut Counters,
        plan: impl FnOnce(&mut Counters) -> Result<(), TrainError>,
    ) -> Result<Journal, TrainError> {
        if let Some(resumed) = self.resumed {
            return Ok(resumed.journal);
        }
        plan(counters)?;
        run.clear(&[JOURNAL, "start", "before.json", "warmup.jsonl", "rollouts"])?;
        let mut journal = run.journal(0)?;
        journal.record(0, START, counters)?;
        Ok(journal)
    }
}
