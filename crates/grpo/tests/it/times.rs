//! The times of a run add up to the time that its processes took.

use std::time::{Duration, Instant};

use rlar_grpo::update::train_state::{ProcessClock, TotalSeconds};

#[test]
fn the_time_that_no_phase_counted_is_outside_the_steps() {
    let began = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
    // An earlier process of the run.
    let mut seconds = TotalSeconds { sampling: 4.0, outside: 2.0, ..TotalSeconds::default() };
    let clock = ProcessClock::new(began, &seconds);
    seconds.training += 7.0;
    clock.count_outside(&mut seconds);
    assert!((seconds.outside - 5.0).abs() < 0.5, "{seconds:?}");
    // Counted again, only the time since then is added.
    clock.count_outside(&mut seconds);
    let elapsed = began.elapsed().as_secs_f64();
    assert!(seconds.total() <= 6.0 + elapsed && seconds.total() > 6.0 + elapsed - 0.5, "{seconds:?}");
    // A resumed run counts the time that an earlier process sampled.
    seconds.sampling += 100.0;
    let before = seconds.outside;
    clock.count_outside(&mut seconds);
    assert_eq!(seconds.outside, before);
}
