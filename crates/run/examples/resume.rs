//! A job of five steps that is stopped after three and resumed: the result is that of a job that was never stopped.
#![allow(clippy::print_stdout)]

use rlar_run::{Disk, Journal, RunError, RunFolder};

/// The steps of the job.
const STEPS: u64 = 5;

/// The state that a checkpoint holds: the sum of what every step drew.
type Sum = u64;

/// Takes steps `first..=last`. Each step adds a number that cannot be drawn again, so it is recorded before it is used.
fn train(journal: &mut Journal, mut sum: Sum, first: u64, last: u64) -> Result<Sum, RunError> {
    for step in first..=last {
        let drawn = journal.once(step, "drawn", || Ok::<_, RunError>(u64::from(std::process::id()) % 7 + step))?;
        sum += drawn;
    }
    Ok(sum)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;

    // The first process saves a checkpoint after step 2 and is killed after step 3.
    let run = RunFolder::open(folder.path(), false, Disk::default())?;
    run.write("config.yaml", b"steps: 5\n")?;
    let mut journal = run.journal(0)?;
    let sum = train(&mut journal, 0, 1, 2)?;
    run.checkpoints().save(2, &[&|| Ok::<_, RunError>(vec![("sum".to_owned(), sum.to_string().into_bytes())])])?;
    let killed = train(&mut journal, sum, 3, 3)?;
    drop((journal, run));

    // The second process continues from the checkpoint; step 3 comes from the journal.
    let run = RunFolder::open(folder.path(), true, Disk::default())?;
    let (newest, damaged) = run.checkpoints().newest()?;
    let checkpoint = newest.ok_or("there is no checkpoint")?;
    let sum: Sum = String::from_utf8(checkpoint.read("sum")?)?.parse()?;
    let mut journal = run.journal(checkpoint.step)?;
    let replayed = train(&mut journal, sum, 3, 3)?;
    assert_eq!(replayed, killed);
    let sum = train(&mut journal, replayed, 4, STEPS)?;
    println!("resumed after step {} ({} damaged checkpoints); sum {sum}", checkpoint.step, damaged.len());
    Ok(())
}
