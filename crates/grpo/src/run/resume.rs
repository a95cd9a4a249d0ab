//! Where a run starts: anew, from its first step as the journal has it, or from a checkpoint.

use rlar_run::{Checkpoint, JOURNAL, Journal, RunFolder};

use crate::TrainError;
use crate::config::{Config, Method};
use crate::run::job::Job;
use crate::run::setup::plan_memory;
use crate::update::train_state::{Counters, FORMAT, TrainState};
use crate::update::trainable::Trainable;

/// The kind of the journal's entry for step 0: the counters before the first step.
const START: &str = "start";

/// The point that a run continues from.
#[derive(Debug)]
pub struct ResumePoint {
    /// The newest intact checkpoint; `None` without one.
    pub checkpoint: Option<Checkpoint>,
    /// `None` for a run that starts anew.
    resumed: Option<Resumed>,
}

/// What a resumed run continues with.
#[derive(Debug)]
struct Resumed {
    counters: Counters,
    /// What entered the steps after the checkpoint.
    journal: Journal,
}

impl ResumePoint {
    /// Finds where a job continues, with messages for the user.
    pub fn find(run: &RunFolder, job: &Job) -> Result<(Self, Vec<String>), TrainError> {
        let anew = Self { checkpoint: None, resumed: None };
        if !job.resume {
            return Ok((anew, Vec::new()));
        }
        let (checkpoint, damaged) = run.checkpoints().newest()?;
        let mut notes: Vec<String> =
            damaged.iter().map(|line| format!("damaged checkpoint, using the one before: {line}")).collect();
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

    /// The counters to continue with; `None` for a run that starts anew.
    pub fn counters(&self) -> Option<&Counters> {
        self.resumed.as_ref().map(|resumed| &resumed.counters)
    }

    /// Whether an earlier run is continued.
    pub fn is_resumed(&self) -> bool {
        self.resumed.is_some()
    }

    /// The state to continue with: the checkpoint's, or that of the model that `first` makes.
    pub fn state<M: Trainable>(
        &self,
        config: &Config,
        first: impl FnOnce() -> Result<M, TrainError>,
    ) -> Result<TrainState<M>, TrainError> {
        match (&self.checkpoint, self.counters()) {
            (Some(checkpoint), Some(counters)) => TrainState::load(checkpoint, counters.clone(), config),
            (_, None) => TrainState::fresh(first()?),
            (None, Some(counters)) => Ok(TrainState { counters: counters.clone(), ..TrainState::fresh(first()?)? }),
        }
    }

    /// The journal to continue with. A run that starts anew plans its memory for sequences of at most `longest` tokens,
    /// removes what an earlier start left in the folder, and journals its counters.
    pub fn start<M: Trainable>(
        self,
        run: &RunFolder,
        state: &mut TrainState<M>,
        config: &Config,
        longest: usize,
    ) -> Result<Journal, TrainError> {
        if let Some(resumed) = self.resumed {
            return Ok(resumed.journal);
        }
        plan_memory(&mut state.counters, config, state.model.decoder()?, longest);
        run.clear(&[JOURNAL, "start", "before.json", "warmup.jsonl", "rollouts"])?;
        let mut journal = run.journal(0)?;
        journal.record(0, START, &state.counters)?;
        Ok(journal)
    }
}
