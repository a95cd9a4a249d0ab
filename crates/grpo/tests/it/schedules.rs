use std::collections::BTreeSet;

use rlar_grpo::Decay;
use rlar_grpo::config::Domain;
use rlar_grpo::rollouts::mixture::{DrawPlan, Mixture};
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

fn plan(per_step: u64) -> DrawPlan {
    DrawPlan { per_step, steps: 1000 }
}

fn domain(weight: f64, from: u64, until: Option<u64>) -> Domain {
    Domain { train: Some("x".into()), heldout: None, demonstrations: None, columns: None, weight, from, until }
}

#[test]
fn one_source_is_drawn_as_without_a_mixture() {
    let mixture = Mixture::new(&[], &[10], plan(4), &|_| true);
    for drawn in [0, 3, 9, 25] {
        assert_eq!(mixture.draw(7, drawn, 5), draw(10, 7, drawn, 5));
    }
}

#[test]
fn domains_are_drawn_by_weight_and_every_prompt_once_per_epoch_of_its_domain() {
    let domains = [domain(3.0, 0, None), domain(1.0, 0, None)];
    let mixture = Mixture::new(&domains, &[30, 10], plan(8), &|_| true);
    let drawn = mixture.draw(40, 0, 1);
    let mut sorted = drawn.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..40).collect::<Vec<usize>>(), "weights that fit the sizes use everything up together");
    // In every stretch the shares are those of the weights, to within one.
    for stretch in drawn.chunks(8) {
        assert_eq!(stretch.iter().filter(|p| **p >= 30).count(), 2, "{stretch:?}");
    }
    // What is drawn does not depend on how it is cut into steps.
    let pieces: Vec<usize> = (0..10).flat_map(|i| mixture.draw(4, 4 * i, 1)).collect();
    assert_eq!(pieces, drawn);
    assert_ne!(mixture.draw(40, 40, 1), drawn, "another epoch has another order");
}

#[test]
fn a_shift_comes_at_its_step_and_unfit_prompts_never() {
    let domains = [domain(1.0, 0, Some(3)), domain(1.0, 3, None)];
    let mixture = Mixture::new(&domains, &[20, 20], plan(4), &|p| p % 2 == 0);
    let drawn = mixture.draw(40, 0, 9);
    assert!(drawn[..12].iter().all(|p| *p < 20) && drawn[12..].iter().all(|p| *p >= 20), "{drawn:?}");
    assert!(drawn.iter().all(|p| p % 2 == 0));
    assert_eq!(mixture.len(), 20);
    assert_eq!(mixture.gap(1000), None);
    let ends = [domain(1.0, 0, Some(3))];
    assert_eq!(Mixture::new(&ends, &[20], plan(4), &|_| true).gap(1000), Some(12));
}
