use rlar_grpo::algorithm::advantage::{GroupScores, ScoreColumn, advantages};
use rlar_grpo::config::{Algorithm, Combine, Estimator};

const ALL: [Estimator; 7] = [
    Estimator::Grpo,
    Estimator::GrpoBatchStd,
    Estimator::DrGrpo,
    Estimator::Rloo,
    Estimator::ReinforcePlusPlusBaseline,
    Estimator::MaxRl,
    Estimator::PassAtK,
];

fn with(advantage: Estimator) -> Algorithm {
    Algorithm { advantage, ..Algorithm::default() }
}

fn column(weight: f64, scores: &[Option<f64>]) -> ScoreColumn {
    ScoreColumn { weight, scores: scores.to_vec() }
}

fn one_tool(scores: &[Option<f64>]) -> GroupScores {
    GroupScores { tools: vec![column(1.0, scores)], lengths: (1..=scores.len()).collect() }
}

fn some(scores: &[f64]) -> Vec<Option<f64>> {
    scores.iter().map(|s| Some(*s)).collect()
}

fn close(a: &[Vec<Option<f64>>], b: &[Vec<Option<f64>>]) -> bool {
    let same = |(a, b): (&Option<f64>, &Option<f64>)| match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() < 1e-9 * (1.0 + a.abs()),
        (a, b) => a == b,
    };
    a.iter().flatten().zip(b.iter().flatten()).all(same)
}

const SCORES: [f64; 5] = [0.1, 0.7, 0.7, 2.0, 5.0];

#[test]
fn a_shift_of_the_rewards_changes_nothing() {
    // Maximum likelihood of success measures from zero: it alone is not invariant.
    for estimator in ALL.into_iter().filter(|e| *e != Estimator::MaxRl) {
        let shifted = SCORES.map(|s| s + 100.0);
        let [a, b] = [SCORES, shifted]
            .map(|s| advantages(&[one_tool(&some(&s)), one_tool(&some(&[s[0], s[4]]))], &with(estimator)));
        assert!(close(&a, &b), "{estimator:?}: {a:?} {b:?}");
    }
}

#[test]
fn the_order_of_replies_and_of_groups_changes_nothing() {
    for estimator in ALL {
        let groups = [one_tool(&some(&SCORES)), one_tool(&[Some(3.0), None, Some(1.0)])];
        let straight = advantages(&groups, &with(estimator));
        let mut turned = groups.clone();
        turned.reverse();
        for g in &mut turned {
            g.tools[0].scores.reverse();
            g.lengths.reverse();
        }
        let mut back = advantages(&turned, &with(estimator));
        for g in &mut back {
            g.reverse();
        }
        back.reverse();
        assert!(close(&straight, &back), "{estimator:?}");
    }
}

#[test]
fn advantages_are_zero_in_groups_without_spread() {
    // Three times 0.1 has a mean that is not 0.1: rounding must not pass for a difference.
    for estimator in ALL {
        let flat = advantages(&[one_tool(&some(&[0.1; 3])), one_tool(&some(&[0.1; 7]))], &with(estimator));
        assert!(flat.iter().flatten().all(|a| *a == Some(0.0)), "{estimator:?}: {flat:?}");
    }
    let beside = advantages(&[one_tool(&some(&[0.1; 3])), one_tool(&some(&SCORES))], &with(Estimator::Grpo));
    assert!(beside[0].iter().all(|a| *a == Some(0.0)));
}

#[test]
fn a_reply_without_a_score_has_no_advantage_and_leaves_those_of_the_others_alone() {
    for estimator in ALL {
        let with_gap = advantages(&[one_tool(&[Some(1.0), None, Some(0.0), Some(4.0)])], &with(estimator));
        let mut without = GroupScores { tools: vec![column(1.0, &some(&[1.0, 0.0, 4.0]))], lengths: vec![1, 3, 4] };
        let expected = advantages(std::slice::from_ref(&without), &with(estimator));
        assert_eq!(with_gap[0][1], None);
        let rest: Vec<_> = with_gap[0].iter().flatten().copied().map(Some).collect();
        assert!(close(&[rest], &expected), "{estimator:?}");
        without.tools[0].scores = vec![Some(1.0), None, None];
        assert_eq!(advantages(&[without], &with(estimator))[0], [None, None, None]);
    }
}

#[test]
fn with_several_tools_a_reply_that_one_failed_on_is_out_for_all() {
    let tools = vec![column(1.0, &[Some(1.0), Some(0.0), Some(9.0)]), column(2.0, &[Some(0.0), Some(10.0), None])];
    let group = GroupScores { tools, lengths: vec![1; 3] };
    let got = advantages(&[group], &with(Estimator::DrGrpo));
    assert_eq!(got[0], [Some(0.5 - 10.0), Some(-0.5 + 10.0), None]);
}

#[test]
fn the_scale_of_a_tools_scores_does_not_act_as_a_weight() {
    let group = |scale: f64| GroupScores {
        tools: vec![column(1.0, &some(&[1.0, 0.0, 0.0, 1.0])), column(1.0, &some(&[0.0, scale, 0.0, scale]))],
        lengths: vec![3; 4],
    };
    let normalise = with(Estimator::Grpo);
    let sum = Algorithm { combine: Combine::SumThenNormalise, ..with(Estimator::Grpo) };
    let of = |algorithm: &Algorithm| [1.0, 1000.0].map(|scale| advantages(&[group(scale)], algorithm)[0][0].unwrap());
    let [small, large] = of(&normalise);
    assert!((small - large).abs() < 1e-3, "{small} {large}");
    let [small, large] = of(&sum);
    assert!((small - large).abs() > 0.5, "{small} {large}");
}

/// How much a reply raises the best score of `k` replies, averaged over all sets of `k` replies with it.
fn brute_force(scores: &[f64], own: usize, k: usize) -> f64 {
    let others: Vec<f64> = scores.iter().enumerate().filter(|(i, _)| *i != own).map(|(_, s)| *s).collect();
    let (mut sum, mut sets) = (0.0, 0);
    for set in 0u32..1 << others.len() {
        if set.count_ones() as usize == k - 1 {
            let chosen = others.iter().enumerate().filter(|(i, _)| set >> i & 1 == 1).map(|(_, s)| *s);
            let best = chosen.fold(f64::NEG_INFINITY, f64::max);
            sum += (scores[own] - best).max(0.0);
            sets += 1;
        }
    }
    sum / f64::from(sets)
}

#[test]
fn pass_at_k_is_what_counting_all_sets_gives() {
    let scores = [0.3, -1.0, 2.5, 0.3, 1.0, 0.0, 2.5];
    for k in 2..=7 {
        let algorithm = Algorithm { pass_k: k, ..with(Estimator::PassAtK) };
        let got = advantages(&[one_tool(&some(&scores))], &algorithm);
        for (i, a) in got[0].iter().enumerate() {
            let want = brute_force(&scores, i, k);
            assert!((a.unwrap() - want).abs() < 1e-12, "k {k}, reply {i}: {a:?}, not {want}");
        }
    }
}

#[test]
fn maximum_likelihood_weighs_rare_success_by_its_rarity() {
    // Tajwar et al., 2026: the advantage is the score over its group's mean, less one.
    let rare = advantages(&[one_tool(&some(&[1.0, 0.0, 0.0, 0.0]))], &with(Estimator::MaxRl));
    assert_eq!(rare[0], some(&[3.0, -1.0, -1.0, -1.0]));
    let common = advantages(&[one_tool(&some(&[1.0, 1.0, 1.0, 0.0]))], &with(Estimator::MaxRl));
    assert!((common[0][0].unwrap() - 1.0 / 3.0).abs() < 1e-12 && common[0][3] == Some(-1.0));
}

#[test]
fn a_group_has_spread_where_its_advantages_have() {
    let two = |a: [f64; 3], b: [f64; 3], weight: f64| GroupScores {
        tools: vec![column(1.0, &some(&a)), column(weight, &some(&b))],
        lengths: vec![1, 2, 3],
    };
    for combine in [Combine::NormaliseThenSum, Combine::SumThenNormalise] {
        for (group, spread) in [
            (two([1.0, 1.0, 1.0], [2.0, 2.0, 2.0], 1.0), [false, false]),
            (two([1.0, 0.0, 1.0], [2.0, 2.0, 2.0], 1.0), [true, true]),
            // A tool that counts for nothing makes no difference.
            (two([1.0, 1.0, 1.0], [2.0, 3.0, 4.0], 0.0), [false, false]),
            // Scores that differ and sums that do not.
            (two([1.0, 2.0, 3.0], [3.0, 2.0, 1.0], 1.0), [true, false]),
        ] {
            let algorithm = Algorithm { combine, advantage: Estimator::DrGrpo, ..Algorithm::default() };
            let spread = spread[usize::from(combine == Combine::SumThenNormalise)];
            assert_eq!(group.has_spread(combine), spread, "{group:?}");
            // Opposite tools of equal weight cancel after their normalisation, too: no advantage without spread.
            let pulled = advantages(std::slice::from_ref(&group), &algorithm)[0].iter().flatten().any(|a| *a != 0.0);
            assert!(spread || !pulled, "{group:?}");
        }
    }
}
