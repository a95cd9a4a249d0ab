//! Where a run begins: afresh, from its first moments as the journal has them, or from a checkpoint.

use rlar_run::{Checkpoint, JOURNAL, Journal, RunFolder};

use crate::TrainError;
use crate::config::Config;
use crate::job::Job;
use crate::learner::Learner;
use crate::setup::{bar, fresh, plan_memory};
use crate::state::{Ledger, State, newest};

/// What a run goes on from.
#[derive(Debug)]
pub struct Begin {
    /// The newest whole checkpoint, where there is one.
    pub checkpoint: Option<Checkpoint>,
    /// The ledger to go on with; none for a run that starts afresh.
    pub ledger: Option<Ledger>,
    /// What entered the steps after that.
    pub journal: Journal,
}

/// The kind of the journal's entry for step 0: the ledger before the first step.
const START: &str = "start";

impl Begin {
    /// What a job goes on from. Where it starts afresh, what an earlier start left in the folder goes.
    pub fn of(run: &RunFolder, job: &Job) -> Result<Self, TrainError> {
        let say = |line: &str| bar(job, "", 0, 0).say(line);
        if job.resume {
            if let Some(checkpoint) = newest(run, say)? {
                let ledger = Ledger::read(&checkpoint.read("state.json")?, &checkpoint.path)?;
                let journal = run.journal(ledger.step)?;
                return Ok(Self { checkpoint: Some(checkpoint), ledger: Some(ledger), journal });
            }
            let mut journal = run.journal(0)?;
            if let Some(ledger) = journal.recall::<serde_json::Value>(0, START)? {
                let ledger = Ledger::read(ledger.to_string().as_bytes(), &run.path().join(JOURNAL))?;
                say("no checkpoint yet: taking the first steps again, as the journal has them");
                return Ok(Self { checkpoint: None, ledger: Some(ledger), journal });
            }
            say("no step was taken yet: starting from the beginning");
        }
        run.clear(&[JOURNAL, "start", "before.json"])?;
        Ok(Self { checkpoint: None, ledger: None, journal: run.journal(0)? })
    }

    /// Whether a run is taken up again.
    pub fn is_resumed(&self) -> bool {
        self.ledger.is_some()
    }

    /// The state to go on with: the checkpoint's, or that of the `first` model.
    pub fn state<M: Learner>(
        &self,
        config: &Config,
        first: impl FnOnce() -> Result<M, TrainError>,
    ) -> Result<State<M>, TrainError> {
        match (&self.checkpoint, &self.ledger) {
            (Some(checkpoint), Some(ledger)) => State::load(checkpoint, ledger.clone(), config),
            (_, None) => fresh(first()?),
            (None, Some(ledger)) => Ok(State { ledger: ledger.clone(), ..fresh(first()?)? }),
        }
    }

    /// Where a run starts afresh, plans its memory for sequences of at most `longest` tokens, and journals with what it
    /// starts.
    pub fn start<M: Learner>(
        &mut self,
        state: &mut State<M>,
        config: &Config,
        longest: usize,
    ) -> Result<(), TrainError> {
        if !self.is_resumed() {
            plan_memory(&mut state.ledger, config, state.model.decoder()?, longest);
            self.journal.record(0, START, &state.ledger)?;
        }
        Ok(())
    }
}
