//! Learned weights: what agreement and labelled pairs of replies say about tools, on data whose truth is known.

use rlar_rewards::weights::{Agreement, LabelledPair, NonNegativeFit, PairCounts, TaskPairs, ToolWeight, loadings};

/// Uniform and normal random numbers (SplitMix64, and the sum of twelve uniform numbers).
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// A group of four replies: the truth about each, and the scores of the tools, `[tool][reply]`.
struct Replies {
    truth: Vec<Option<f64>>,
    scores: Vec<Vec<Option<f64>>>,
}

/// Groups in which every tool's score is the truth times the tool's loading, plus noise, with variance 1.
fn groups(loadings: &[f64], count: usize, seed: u64) -> Vec<Replies> {
    let mut random = Random(seed);
    let mut group = || {
        let truth: Vec<f64> = (0..4).map(|_| random.normal()).collect();
        let of_tool = |loading: &f64| -> Vec<Option<f64>> {
            let noise = (1.0 - loading * loading).sqrt();
            truth.iter().map(|t| Some(loading * t + noise * random.normal())).collect()
        };
        let scores = loadings.iter().map(of_tool).collect();
        Replies { scores, truth: truth.into_iter().map(|t| Some(f64::from(u8::from(t > 0.0)))).collect() }
    };
    (0..count).map(|_| group()).collect()
}

fn agreement(groups: &[Replies]) -> Agreement {
    let mut agreement = Agreement::new(groups[0].scores.len());
    for group in groups {
        agreement.add_group(&group.scores);
    }
    agreement
}

/// The labelled pairs of the first `labelled` groups.
fn pairs(groups: &[Replies], labelled: usize) -> TaskPairs {
    let of_group = |group: &Replies| LabelledPair::of_group(&group.scores, &group.truth);
    TaskPairs {
        scored: vec![true; groups[0].scores.len()],
        pairs: groups[..labelled].iter().flat_map(of_group).collect(),
        counts: Vec::new(),
    }
}

/// The weights of one task.
fn weights(groups: &[Replies], labelled: usize) -> Vec<f64> {
    NonNegativeFit::new(&agreement(groups), &[pairs(groups, labelled)]).weights(0)
}

/// A task of which only the tools' shares of right pairs are known.
fn shares(right: &[f64], pairs: f64) -> TaskPairs {
    let counts = right.iter().map(|share| PairCounts::from_auc(*share, pairs)).collect();
    TaskPairs { scored: vec![true; right.len()], pairs: Vec::new(), counts }
}

#[track_caller]
fn all_close(a: &[f64], b: &[f64], tolerance: f64) {
    assert!(a.len() == b.len() && a.iter().zip(b).all(|(x, y)| (x - y).abs() <= tolerance), "{a:?} and {b:?}");
}

#[test]
fn loadings_are_those_that_made_the_scores() {
    let found = loadings(&agreement(&groups(&[0.9, 0.7, 0.5, 0.0], 20_000, 1)).correlations());
    all_close(&found, &[0.9, 0.7, 0.5, 0.0], 0.02);
}

#[test]
fn two_tools_that_agree_with_each_other_alone_have_the_same_loading() {
    let found = loadings(&agreement(&groups(&[0.8, 0.8, 0.0], 5000, 14)).correlations());
    all_close(&found, &[0.8, 0.8, 0.0], 0.05);
}

#[test]
fn without_labels_weights_follow_the_loadings() {
    let raw = [0.9, 0.7, 0.5].map(|l: f64| l / (1.0 - l * l));
    let expected = raw.map(|w| w / raw.iter().sum::<f64>());
    all_close(&weights(&groups(&[0.9, 0.7, 0.5], 20_000, 2), 0), &expected, 0.03);
}

#[test]
fn units_and_what_a_prompt_adds_to_all_scores_do_not_matter() {
    let plain = groups(&[0.8, 0.6, 0.3], 300, 3);
    let mut other = groups(&[0.8, 0.6, 0.3], 300, 3);
    for (g, group) in other.iter_mut().enumerate() {
        group.scores[1].iter_mut().for_each(|s| *s = s.map(|s| 1000.0 * s - 7.0 + g as f64));
        group.scores[2].iter_mut().for_each(|s| *s = s.map(|s| 0.001 * s));
    }
    for labelled in [0, 5, 100] {
        all_close(&weights(&plain, labelled), &weights(&other, labelled), 1e-8);
    }
}

#[test]
fn the_order_of_tools_does_not_matter() {
    let plain = groups(&[0.8, 0.6, 0.3, 0.0], 300, 4);
    let mut turned = groups(&[0.8, 0.6, 0.3, 0.0], 300, 4);
    for group in &mut turned {
        group.scores.rotate_left(1);
    }
    for labelled in [0, 5, 100] {
        let mut expected = weights(&plain, labelled);
        expected.rotate_left(1);
        all_close(&weights(&turned, labelled), &expected, 1e-6);
    }
}

#[test]
fn a_tool_of_noise_gets_little_weight() {
    let replies = groups(&[0.8, 0.7, 0.6, 0.0], 4000, 5);
    for labelled in [0, 4000] {
        assert!(weights(&replies, labelled)[3] < 0.1, "{labelled} labels: {:?}", weights(&replies, labelled));
    }
}

#[test]
fn a_tool_that_is_there_twice_shares_the_weight_of_one() {
    let plain = groups(&[0.8, 0.6, 0.3], 300, 6);
    let mut twice = groups(&[0.8, 0.6, 0.3], 300, 6);
    for group in &mut twice {
        // In another unit, as a copy under another name would have.
        let copy = group.scores[0].iter().map(|s| s.map(|s| 10.0 * s)).collect();
        group.scores.push(copy);
    }
    for labelled in [0, 5, 100] {
        let (one, two) = (weights(&plain, labelled), weights(&twice, labelled));
        all_close(&[two[0], two[3]], &[one[0] / 2.0; 2], 1e-8);
        all_close(&two[1..3], &one[1..], 1e-8);
    }
}

#[test]
fn labels_outweigh_agreement_the_more_there_are() {
    // Two tools agree with each other, and the labels say that only the third one is right.
    let agreed = agreement(&groups(&[0.8, 0.8, 0.0], 4000, 7));
    let third = |pairs: f64| NonNegativeFit::new(&agreed, &[shares(&[0.5, 0.5, 0.95], pairs)]).weights(0)[2];
    let found = [0.0, 10.0, 100.0, 1000.0].map(third);
    assert!(found[0] < 0.1 && found.is_sorted() && found[3] > 0.95, "{found:?}");
}

#[test]
fn tasks_that_differ_have_their_own_weights_and_those_without_labels_the_pooled_ones() {
    let agreed = agreement(&groups(&[0.6, 0.6], 2000, 8));
    let different = |third: TaskPairs| [shares(&[0.95, 0.6], 200.0), shares(&[0.6, 0.95], 200.0), third];
    let fit = NonNegativeFit::new(&agreed, &different(shares(&[0.0, 0.0], 0.0)));
    let [first, second, new] = [0, 1, 2].map(|task| fit.weights(task)[0]);
    assert!(first > 0.6 && second < 0.4 && (0.45..0.55).contains(&new), "{first} {second} {new}");
    // The fewer labels a task has, the more its weights are those of all tasks.
    let few = NonNegativeFit::new(&agreed, &different(shares(&[0.95, 0.6], 4.0))).weights(2)[0];
    assert!(new < few && few < first, "{new} {few} {first}");
}

#[test]
fn many_labels_of_a_task_are_followed_even_where_those_of_all_other_tasks_contradict_them() {
    // They contradict so much that whole steps of Newton's method would go back and forth between the two.
    let agreed = agreement(&groups(&[0.6, 0.6], 300, 15));
    let deviations = agreed.deviations();
    let task = |differences: [f64; 2], weight: f64| {
        let differences = differences.iter().zip(&deviations).map(|(d, deviation)| Some(d * deviation)).collect();
        TaskPairs { pairs: vec![LabelledPair { differences, weight }], ..shares(&[0.0; 2], 0.0) }
    };
    let fit = NonNegativeFit::new(&agreed, &[task([1.0, -1.0], 10_000.0), task([-4.0, 1.0], 100.0)]);
    assert!(fit.weights(0)[0] > 0.99 && fit.weights(1)[1] > 0.99, "{:?} {:?}", fit.weights(0), fit.weights(1));
}

#[test]
fn tools_whose_scores_never_differ_do_not_agree() {
    let mut agreed = Agreement::new(2);
    for score in [0.1, 0.7] {
        agreed.add_group(&[vec![Some(score); 3], vec![Some(score); 3]]);
    }
    assert_eq!((agreed.correlations()[0][1], agreed.deviations()), (None, vec![1.0, 1.0]));
}

#[test]
fn a_tool_below_chance_is_not_used_upside_down() {
    let agreed = agreement(&groups(&[0.3, 0.0], 2000, 9));
    assert_eq!(NonNegativeFit::new(&agreed, &[shares(&[0.7, 0.1], 100.0)]).weights(0), [1.0, 0.0]);
    // If no tool is better than chance, nothing speaks for one of them.
    assert_eq!(NonNegativeFit::new(&agreed, &[shares(&[0.1, 0.1], 100.0)]).weights(0), [0.5, 0.5]);
}

#[test]
fn a_tool_that_does_not_score_a_task_has_no_weight_there() {
    let agreed = agreement(&groups(&[0.8, 0.6, 0.5], 300, 10));
    let mut task = shares(&[0.8, 0.7, 0.6], 20.0);
    task.scored[0] = false;
    let found = NonNegativeFit::new(&agreed, &[task]).weights(0);
    assert_eq!(found[0], 0.0);
    all_close(&[found[1] + found[2]], &[1.0], 1e-12);
}

#[test]
fn weights_are_shares_with_intervals_around_them_whatever_the_evidence() {
    let mut random = Random(11);
    for _ in 0..50 {
        // Groups with missing scores, a constant tool, and one without any score.
        let mut agreed = Agreement::new(5);
        for _ in 0..3 {
            let mut reply = |tool: usize| match tool {
                3 => Some(1.0),
                4 => None,
                _ => Some(random.normal() * 1e6).filter(|_| random.uniform() < 0.7),
            };
            agreed.add_group(&(0..5).map(|tool| (0..3).map(|_| reply(tool)).collect()).collect::<Vec<Vec<_>>>());
        }
        let mut task = || TaskPairs {
            counts: (0..5).map(|_| PairCounts::from_auc(random.uniform(), 1000.0 * random.uniform())).collect(),
            pairs: vec![LabelledPair { differences: vec![Some(1e6 * random.normal()), None], weight: 1.0 }],
            ..shares(&[0.0; 5], 0.0)
        };
        let tasks = [task(), task()];
        let fit = NonNegativeFit::new(&agreed, &tasks);
        for task in 0..2 {
            let found = fit.intervals(task, 50, &mut || random.normal());
            let sum: f64 = found.iter().map(|w| w.weight).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{found:?}");
            for ToolWeight { weight, low, high } in found {
                assert!(
                    (0.0..=weight).contains(&low) && (weight..=1.0 + 1e-12).contains(&high),
                    "{weight} {low} {high}"
                );
            }
        }
    }
}

#[test]
fn intervals_narrow_with_labels() {
    let agreed = agreement(&groups(&[0.7, 0.5], 300, 12));
    let width = |pairs: f64| {
        let mut random = Random(13);
        let fit = NonNegativeFit::new(&agreed, &[shares(&[0.8, 0.7], pairs)]);
        let first = fit.intervals(0, 400, &mut || random.normal())[0];
        first.high - first.low
    };
    assert!(width(10.0) > 2.0 * width(1000.0), "{} {}", width(10.0), width(1000.0));
}

#[test]
fn pairs_of_one_prompt_count_as_one() {
    let scores = [[1.0, 3.0, 2.0].map(Some).to_vec(), vec![None, Some(5.0), Some(4.0)]];
    let pair = |differences: [Option<f64>; 2], weight: f64| LabelledPair { differences: differences.to_vec(), weight };
    let found = LabelledPair::of_group(&scores, &[Some(0.0), Some(1.0), Some(0.0)]);
    assert_eq!(found, [pair([Some(2.0), None], 0.5), pair([Some(1.0), Some(1.0)], 0.5)]);
    let half = LabelledPair::of_group(&scores, &[Some(0.5), Some(0.0), None]);
    assert_eq!(half, [pair([Some(-2.0), None], 0.5)]);
    assert!(LabelledPair::of_group(&scores, &[Some(1.0); 3]).is_empty());
}
