//! Where a run begins: afresh, from its first moments as the journal has them, or from a checkpoint.

use rlar_run::{Checkpoint, JOURNAL, Journal, RunFolder};

use crate::TrainError;
use crate::config::Config;
use crate::run::job::Job;
use crate::run::setup::{fresh, plan_memory};
use crate::update::train_state::{Ledger, State};
use crate::update::trainable::Learner;

/// What a run goes on from.
#[derive(Debug)]
pub struct Begin {
    /// The newest whole checkpoint, where there is one.
    pub checkpoint: Option<Checkpoint>,
    /// The ledger to go on with, and what entered the steps after it; none for a run that starts afresh.
    resumed: Option<(Ledger, Journal)>,
}

/// The kind of the journal's entry for step 0: the ledger before the first step.
const START: &str = "start";

impl Begin {
    /// What a job goes on from, and what there is to say about it.
    pub fn of(run: &RunFolder, job: &Job) -> Result<(Self, Vec<String>), TrainError> {
        let fresh = Self { checkpoint: None, resumed: None };
        if !job.resume {
            return Ok((fresh, Vec::new()));
        }
        let (checkpoint, damaged) = run.checkpoints().newest()?;
        let mut notes: Vec<String> =
            damaged.iter().map(|line| format!("damaged checkpoint, using what was before: {line}")).collect();
        if let Some(checkpoint) = checkpoint {
            let ledger = Ledger::read(&checkpoint.read("state.json")?, &checkpoint.path)?;
            let journal = run.journal(ledger.step)?;
            return Ok((Self { checkpoint: Some(checkpoint), resumed: Some((ledger, journal)) }, notes));
        }
        if run.needs_checkpoint()? {
            let why = damaged.last().map_or("its checkpoints are gone", String::as_str);
            let message = format!("no checkpoint is whole ({why}); start a new run in another `run.folder`");
            return Err(TrainError::Checkpoint { path: run.path().to_owned(), message });
        }
        let mut journal = run.journal(0)?;
        let Some(ledger) = journal.recall::<serde_json::Value>(0, START)? else {
            notes.push("no step was taken yet: starting from the beginning".into());
            return Ok((fresh, notes));
        };
        let ledger = Ledger::read(ledger.to_string().as_bytes(), &run.path().join(JOURNAL))?;
        notes.push("no checkpoint yet: taking the first steps again, as the journal has them".into());
        Ok((Self { checkpoint: None, resumed: Some((ledger, journal)) }, notes))
    }

    /// The ledger to go on with; none for a run that starts afresh.
    pub fn ledger(&self) -> Option<&Ledger> {
        self.resumed.as_ref().map(|(ledger, _)| ledger)
    }

    /// Whether a run is taken up again.
    pub fn is_resumed(&self) -> bool {
        self.resumed.is_some()
    }

    /// The state to go on with: the checkpoint's, or that of the `first` model.
    pub fn state<M: Learner>(
        &self,
        config: &Config,
        first: impl FnOnce() -> Result<M, TrainError>,
    ) -> Result<State<M>, TrainError> {
        match (&self.checkpoint, self.ledger()) {
            (Some(checkpoint), Some(ledger)) => State::load(checkpoint, ledger.clone(), config),
            (_, None) => fresh(first()?),
            (None, Some(ledger)) => Ok(State { ledger: ledger.clone(), ..fresh(first()?)? }),
        }
    }

    /// The journal to go on with. A run that starts afresh plans its memory for sequences of at most `longest` tokens,
    /// puts away what an earlier start left in the folder, and journals with what it starts.
    pub fn start<M: Learner>(
        self,
        run: &RunFolder,
        state: &mut State<M>,
        config: &Config,
        longest: usize,
    ) -> Result<Journal, TrainError> {
        if let Some((_, journal)) = self.resumed {
            return Ok(journal);
        }
        plan_memory(&mut state.ledger, config, state.model.decoder()?, longest);
        run.clear(&[JOURNAL, "start", "before.json", "warmup.jsonl", "rollouts"])?;
        let mut journal = run.journal(0)?;
        journal.record(0, START, &state.ledger)?;
        Ok(journal)
    }
}
