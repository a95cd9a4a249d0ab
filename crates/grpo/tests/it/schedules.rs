use std::collections::BTreeSet;

use rlar_grpo::Decay;
use rlar_grpo::schedule::{batch, draw, learning_rate};

#[test]
fn every_item_comes_once_per_epoch_and_the_order_is_a_function_of_seed_and_step() {
    let epoch: Vec<usize> = (0..5).flat_map(|step| batch(20, 4, step, 7)).collect();
    assert_eq!(epoch.iter().collect::<BTreeSet<_>>().len(), 20);
    assert_eq!(batch(20, 4, 3, 7), batch(20, 4, 3, 7));
    assert_ne!(epoch, (0..5).flat_map(|step| batch(20, 4, step, 8)).collect::<Vec<_>>());
    assert_eq!(batch(3, 7, 0, 1).len(), 7);
}

#[test]
fn what_is_drawn_does_not_depend_on_how_it_is_cut() {
    let whole = draw(10, 25, 0, 3);
    let cut: Vec<usize> = [(7, 0), (1, 7), (17, 8)].into_iter().flat_map(|(n, drawn)| draw(10, n, drawn, 3)).collect();
    assert_eq!(whole, cut);
}

#[test]
fn learning_rates_rise_and_fall() {
    let lr = |step, decay| learning_rate(1.0, step, 110, 10, decay);
    assert!((lr(0, Decay::Linear) - 0.1).abs() < 1e-6 && (lr(9, Decay::Linear) - 1.0).abs() < 1e-6);
    assert!((lr(60, Decay::Linear) - 0.5).abs() < 1e-6 && lr(110, Decay::Linear).abs() < 1e-6);
    assert!((lr(60, Decay::Cosine) - 0.5).abs() < 1e-6 && (lr(109, Decay::Constant) - 1.0).abs() < 1e-6);
}
