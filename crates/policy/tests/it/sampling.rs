use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use rlar_policy::ops::kernels::has_bf16;
use rlar_policy::ops::{Ops, Products};
use rlar_policy::{
    Engine, Finish, GenerationRequest, PrefixCache, Sample, Sampling, Sequence, StreamControl, TokenEvent, sample_token,
};

use crate::tiny;

fn sampling() -> Sampling {
    Sampling { max_tokens: 12, ..Sampling::default() }
}

fn requests() -> Vec<GenerationRequest> {
    let prompt = |p: &[u32], seeds: &[u64]| GenerationRequest { prompt: p.to_vec(), seeds: seeds.to_vec() };
    vec![prompt(&[5, 6, 7], &[1, 2, 3]), prompt(&[100], &[4]), prompt(&[8; 20], &[5, 6])]
}

#[test]
fn log_probs_of_the_sampler_are_those_of_the_scorer() {
    for ops in [Ops::Fused(Products::Single), Ops::Plain] {
        let policy = tiny::policy_on(ops);
        for temperature in [1.0, 0.5] {
            let sampling = Sampling { temperature, ..sampling() };
            let out = policy.engine(4).generate(&requests(), &sampling).unwrap();
            for (request, samples) in requests().iter().zip(&out) {
                assert_eq!(samples.len(), request.seeds.len());
                for s in samples {
                    let sequence = Sequence { prompt: &request.prompt, completion: &s.tokens };
                    let scored = policy.decoder.log_probs(&[sequence], temperature).log_probs.into_data();
                    for (a, b) in scored.as_slice::<f32>().unwrap().iter().zip(&s.log_probs) {
                        assert!((a - b).abs() < 1e-4, "{ops:?}: scorer {a}, sampler {b}");
                    }
                }
            }
        }
    }
}

/// On a processor that has the instructions, sampling rounds the matrices once instead of for every product.
#[test]
fn sampling_in_bfloat16_stays_near_the_scorer_and_does_not_depend_on_the_batch() {
    if !has_bf16() {
        return;
    }
    let policy = tiny::policy_on(Ops::Fused(Products::Bf16));
    let single = tiny::policy_on(Ops::Fused(Products::Single));
    let out = policy.engine(6).generate(&requests(), &sampling()).unwrap();
    let mut differences = Vec::new();
    for (request, samples) in requests().iter().zip(&out) {
        let alone = policy.engine(1).generate(std::slice::from_ref(request), &sampling()).unwrap();
        for (s, alone) in samples.iter().zip(&alone[0]) {
            assert_eq!(s.tokens, alone.tokens);
            let sequence = Sequence { prompt: &request.prompt, completion: &s.tokens };
            for scorer in [&policy, &single] {
                let scored = scorer.decoder.log_probs(&[sequence], 1.0).log_probs.into_data();
                for (a, b) in scored.as_slice::<f32>().unwrap().iter().zip(&s.log_probs) {
                    assert!((a - b).abs() < 0.05, "scorer {a}, sampler {b}");
                    differences.push((a - b).abs());
                }
            }
        }
    }
    assert!(differences.iter().any(|difference| *difference > 1e-4), "products in f32 would be nearer");
}

#[test]
fn a_seed_decides_its_sample_whatever_runs_beside_it() {
    let policy = tiny::policy();
    let together = policy.engine(64).generate(&requests(), &sampling()).unwrap();
    for (request, samples) in requests().iter().zip(together) {
        for (seed, sample) in request.seeds.iter().zip(samples) {
            let one = [GenerationRequest { prompt: request.prompt.clone(), seeds: vec![*seed] }];
            let alone = policy.engine(1).generate(&one, &sampling()).unwrap();
            assert_eq!(alone[0][0].tokens, sample.tokens);
        }
    }
}

/// Prompts of all lengths that take the places of sequences that have ended.
#[test]
fn sequences_that_join_a_running_batch_are_sampled_as_if_they_were_alone() {
    let many: Vec<GenerationRequest> = (0..40)
        .map(|i| GenerationRequest {
            prompt: (0..=(i * 7) % 29).map(|j| (i * 31 + j * 17) as u32 % 290).collect(),
            seeds: vec![i as u64, 500 + i as u64],
        })
        .collect();
    let sampling = Sampling { max_tokens: 30, ..sampling() };
    for ops in [Ops::Fused(Products::Single), Ops::Plain] {
        let policy = tiny::policy_on(ops);
        let together = policy.engine(6).generate(&many, &sampling).unwrap();
        assert!(together.iter().flatten().any(|s| s.tokens.len() < 20), "some end early");
        for (request, together) in many.iter().zip(&together) {
            let alone = policy.engine(1).generate(std::slice::from_ref(request), &sampling).unwrap();
            for (alone, together) in alone[0].iter().zip(together) {
                assert_eq!(alone.tokens, together.tokens, "{ops:?}");
                let difference = alone.log_probs.iter().zip(&together.log_probs).map(|(a, b)| (a - b).abs());
                assert!(difference.fold(0.0, f32::max) < 1e-4, "{ops:?}");
            }
        }
    }
}

#[test]
fn a_request_that_comes_while_others_go_on_is_sampled_as_if_it_were_alone() {
    let policy = tiny::policy();
    let heard = AtomicUsize::new(0);
    let (mut coming, expected) = (requests().into_iter(), policy.engine(6).generate(&requests(), &sampling()).unwrap());
    let mut next = || {
        // The first comes at once, the others after some tokens.
        let due = 3 * (requests().len() - coming.len());
        (heard.load(Ordering::Relaxed) >= due).then(|| coming.next()).flatten()
    };
    let mut on_token = |_: TokenEvent| {
        heard.fetch_add(1, Ordering::Relaxed);
        StreamControl::Continue
    };
    let samples = policy.engine(6).serve(&mut next, &sampling(), &mut on_token).unwrap();
    let tokens =
        |samples: &[Vec<Sample>]| -> Vec<Vec<u32>> { samples.iter().flatten().map(|s| s.tokens.clone()).collect() };
    assert_eq!(tokens(&samples), tokens(&expected));
}

#[test]
fn prompts_that_begin_alike_are_read_once_and_sampled_as_without_that() {
    let policy = tiny::policy();
    let instructions: Vec<u32> = (0..25).map(|i| 40 + i * 9 % 200).collect();
    let prompt = |shared: usize, own: &[u32]| [&instructions[..shared], own].concat();
    let request = |prompt: Vec<u32>| GenerationRequest { prompt, seeds: vec![3, 9] };
    let prompts = [
        prompt(25, &[5, 6]),
        prompt(25, &[7]),
        prompt(25, &[]),
        prompt(3, &[8, 9, 10]),
        prompt(0, &[11]),
        prompt(25, &[5, 6]),
        prompt(25, &[5, 6, 12, 13]),
    ];
    let requests: Vec<GenerationRequest> = prompts.into_iter().map(request).collect();
    let expected = policy.engine(64).generate(&requests, &sampling()).unwrap();
    let check = |samples: &[Vec<rlar_policy::Sample>], expected: &[Vec<rlar_policy::Sample>]| {
        for (sample, expected) in samples.iter().flatten().zip(expected.iter().flatten()) {
            assert_eq!(sample.tokens, expected.tokens);
            assert!(sample.log_probs.iter().zip(&expected.log_probs).all(|(a, b)| (a - b).abs() < 1e-4));
        }
    };
    for tokens in [0, 30, 1000] {
        for batch in [1, 4, 64] {
            let prefixes = PrefixCache::new(tokens);
            let engine = policy.engine(batch).with_prefixes(&prefixes);
            for _ in 0..2 {
                check(&engine.generate(&requests, &sampling()).unwrap(), &expected);
                for (request, expected) in requests.iter().zip(&expected) {
                    let one = engine.generate(std::slice::from_ref(request), &sampling()).unwrap();
                    check(&one, std::slice::from_ref(expected));
                }
            }
        }
    }
    // What is kept is used: with the keys and values of other weights, something else comes out.
    let (prefixes, other) = (PrefixCache::new(1000), tiny::policy_with_seed(8));
    other.engine(1).with_prefixes(&prefixes).generate(&requests[..1], &sampling()).unwrap();
    let wrong = policy.engine(1).with_prefixes(&prefixes).generate(&requests[..1], &sampling()).unwrap();
    assert_ne!(wrong[0][0].log_probs, expected[0][0].log_probs);
}

#[test]
fn greedy_takes_the_likeliest_token_and_narrow_sampling_equals_it() {
    let policy = tiny::policy();
    let run = |s: Sampling| policy.engine(64).generate(&requests(), &s).unwrap();
    let greedy = run(Sampling { temperature: 0.0, ..sampling() });
    let tokens = |out: &[Vec<rlar_policy::Sample>]| -> Vec<Vec<u32>> {
        out.iter().flatten().map(|s| s.tokens.clone()).collect()
    };
    assert_eq!(tokens(&greedy), tokens(&run(Sampling { top_k: 1, ..sampling() })));
    assert_eq!(tokens(&greedy), tokens(&run(Sampling { top_p: 1e-9, ..sampling() })));
}

#[test]
fn draws_follow_the_distribution() {
    let policy = tiny::policy();
    let request = [GenerationRequest { prompt: vec![5, 6, 7], seeds: (0..4000).collect() }];
    let one = Sampling { max_tokens: 1, ..sampling() };
    let out = policy.engine(4000).generate(&request, &one).unwrap();
    // The mean of the sampled log-probs estimates minus the entropy.
    let entropy = policy.decoder.log_probs(&[Sequence { prompt: &[5, 6, 7], completion: &[0] }], 1.0).entropies;
    let entropy = entropy.into_data().as_slice::<f32>().unwrap()[0];
    let mean = out[0].iter().map(|s| s.log_probs[0]).sum::<f32>() / 4000.0;
    assert!((mean + entropy).abs() < 0.05, "mean log-prob {mean}, entropy {entropy}");
}

#[test]
fn a_stop_text_ends_the_reply_and_is_left_out_of_it() {
    let policy = tiny::policy();
    let free = policy.engine(64).generate(&requests(), &sampling()).unwrap();
    let text = &free[0][0].text;
    let stop: String = text.chars().skip(2).take(1).collect();
    let limited = Sampling { stop: vec![stop.clone()], ..sampling() };
    let out = policy.engine(64).generate(&requests(), &limited).unwrap();
    assert_eq!(out[0][0].finish, Finish::Stop);
    assert!(!out[0][0].text.contains(&stop) && text.starts_with(&out[0][0].text));
}

#[test]
fn a_prompt_that_fills_the_positions_is_refused() {
    let policy = tiny::policy();
    let long = [GenerationRequest { prompt: vec![1; 64], seeds: vec![0] }];
    let error = policy.engine(1).generate(&long, &sampling()).unwrap_err();
    assert!(error.to_string().contains("64 tokens"), "{error}");
}

#[test]
fn cuts_and_penalties_do_what_they_say() {
    let logits = [2.0f32, 1.0, 0.0, -1.0];
    let p: Vec<f64> = {
        let weights = logits.map(|z| f64::from(z).exp());
        weights.iter().map(|w| w / weights.iter().sum::<f64>()).collect()
    };
    let seen = |sampling: &Sampling, before: &[u32]| -> BTreeSet<u32> {
        (0..1000)
            .map(|u| sample_token(&logits, sampling, before.iter().copied(), f64::from(u) / 1000.0).unwrap().token)
            .collect()
    };
    let all = Sampling::default();
    assert_eq!(seen(&all, &[]).len(), 4);
    assert_eq!(seen(&Sampling { top_k: 2, ..all.clone() }, &[]), [0, 1].into());
    // The first two make 88 %, the first three 97 %.
    assert_eq!(seen(&Sampling { top_p: 0.9, ..all.clone() }, &[]), [0, 1, 2].into());
    // The third is e⁻² times as likely as the first.
    assert_eq!(seen(&Sampling { min_p: 0.14, ..all.clone() }, &[]), [0, 1].into());
    assert_eq!(seen(&Sampling { min_p: 0.13, ..all.clone() }, &[]), [0, 1, 2].into());
    // A penalty halves positive logits of what occurred and doubles negative ones.
    let greedy = Sampling { temperature: 0.0, repetition_penalty: 4.0, ..all.clone() };
    assert_eq!(seen(&greedy, &[0]), [1].into());
    let cut = Sampling { top_k: 2, temperature: 0.5, ..all };
    let drawn = sample_token(&logits, &cut, [].into_iter(), 0.0).unwrap();
    let close = |a: f32, b: f64| assert!((f64::from(a) - b).abs() < 1e-5, "{a} is not {b}");
    let sharp: Vec<f64> = p.iter().map(|p| p * p).collect();
    close(drawn.plain_log_prob, p[0].ln());
    close(drawn.log_prob, (sharp[0] / sharp.iter().sum::<f64>()).ln());
    close(drawn.drawn_log_prob, (sharp[0] / (sharp[0] + sharp[1])).ln());
}

#[test]
fn what_cannot_be_sampled_is_refused_by_name() {
    let policy = tiny::policy();
    for (sampling, name) in [
        (Sampling { temperature: f32::NAN, ..sampling() }, "temperature"),
        (Sampling { top_p: 0.0, ..sampling() }, "top_p"),
        (Sampling { min_p: 1.5, ..sampling() }, "min_p"),
        (Sampling { repetition_penalty: 0.0, ..sampling() }, "repetition_penalty"),
        (Sampling { max_tokens: 0, ..sampling() }, "max_tokens"),
        (Sampling { stop: vec![String::new()], ..sampling() }, "stop"),
    ] {
        let error = policy.engine(4).generate(&requests(), &sampling).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn a_stop_text_can_end_the_reply_as_its_last_part() {
    let policy = tiny::policy();
    let whole = policy.engine(64).generate(&requests(), &sampling()).unwrap();
    let stop: String = whole[2][0].text.chars().skip(3).take(2).collect();
    let cut = Sampling { stop: vec![stop.clone(), "never said".into()], ..sampling() };
    let kept = Sampling { include_stop: true, ..cut.clone() };
    let cut = policy.engine(64).generate(&requests(), &cut).unwrap();
    let kept = policy.engine(64).generate(&requests(), &kept).unwrap();
    assert_eq!(kept[2][0].text, cut[2][0].text.clone() + &stop);
    for (cut, kept) in cut.iter().flatten().zip(kept.iter().flatten()) {
        assert_eq!((&cut.tokens, &cut.log_probs, cut.finish), (&kept.tokens, &kept.log_probs, kept.finish));
    }
}

#[test]
fn a_stop_text_prevents_what_cannot_be_complete_with_it() {
    let of = |stop: &str, include_stop| Sampling { stop: vec![stop.into()], include_stop, ..sampling() };
    for (stop, needed, cut, kept) in [
        ("</a>", "</a>", true, false),
        ("a>", "</a>", true, false),
        ("</", "</a>", true, true),
        ("</a>\n", "</a>", false, false),
        ("\n\n", "</a>", false, false),
    ] {
        assert_eq!(of(stop, false).prevents(needed).is_some(), cut, "{stop:?}");
        assert_eq!(of(stop, true).prevents(needed).is_some(), kept, "{stop:?}");
    }
}

#[test]
fn what_is_heard_is_what_comes_out() {
    let policy = tiny::policy();
    let whole = policy.engine(64).generate(&requests(), &sampling()).unwrap();
    let stop: String = whole[2][0].text.chars().skip(3).take(2).collect();
    for (stop, include_stop) in [(Vec::new(), false), (vec![stop.clone()], false), (vec![stop], true)] {
        let sampling = Sampling { stop, include_stop, ..sampling() };
        let (mut texts, mut tokens) = (BTreeMap::new(), BTreeMap::new());
        let engine = Engine::new(&policy.decoder, &policy.tokenizer, 2);
        let out = engine.stream(&requests(), &sampling, &mut |fresh| {
            texts.entry((fresh.request, fresh.index)).or_insert_with(String::new).push_str(fresh.text);
            tokens.entry((fresh.request, fresh.index)).or_insert_with(Vec::new).push(fresh.token);
            StreamControl::Continue
        });
        for (r, samples) in out.unwrap().iter().enumerate() {
            for (i, sample) in samples.iter().enumerate() {
                assert_eq!(texts[&(r, i)], sample.text);
                assert_eq!(tokens[&(r, i)], sample.tokens);
            }
        }
    }
}

#[test]
fn one_sequence_or_all_can_be_cancelled_in_the_middle() {
    let policy = tiny::policy();
    let engine = Engine::new(&policy.decoder, &policy.tokenizer, 64);
    let whole = engine.generate(&requests(), &sampling()).unwrap();
    let out = engine.stream(&requests(), &sampling(), &mut |fresh| {
        if (fresh.request, fresh.index) == (0, 1) { StreamControl::EndSequence } else { StreamControl::Continue }
    });
    let out = out.unwrap();
    assert_eq!((out[0][1].finish, out[0][1].tokens.len()), (Finish::Cancelled, 1));
    assert_eq!((&out[0][0], &out[0][2], &out[2]), (&whole[0][0], &whole[0][2], &whole[2]));
    let mut heard = 0;
    let out = engine.stream(&requests(), &sampling(), &mut |_| {
        heard += 1;
        if heard == 9 { StreamControl::EndAll } else { StreamControl::Continue }
    });
    let out = out.unwrap();
    assert_eq!(out.iter().map(Vec::len).collect::<Vec<_>>(), [3, 1, 2]);
    assert!(out.iter().flatten().all(|s| s.tokens.len() <= 2 && s.finish == Finish::Cancelled));
}

#[test]
fn tokens_and_log_probs_do_not_depend_on_the_batch_at_all() {
    let policy = tiny::policy();
    let engine = |batch| policy.engine(batch);
    let many: Vec<GenerationRequest> = (0..50)
        .map(|i| GenerationRequest {
            prompt: vec![5 + i as u32 % 7; 1 + i % 9],
            seeds: vec![i as u64, 1000 + i as u64],
        })
        .collect();
    let together = engine(200).generate(&many, &sampling()).unwrap();
    for (request, together) in many.iter().zip(&together) {
        assert_eq!(&engine(1).generate(std::slice::from_ref(request), &sampling()).unwrap()[0], together);
    }
}

#[test]
fn a_job_that_does_not_fit_the_machine_is_refused_with_its_plan() {
    let policy = tiny::policy();
    let engine = Engine::new(&policy.decoder, &policy.tokenizer, usize::MAX);
    let plan = engine.plan(&requests(), &sampling());
    let parameters: usize = policy.layout().specs().iter().map(|s| s.shape[0] * s.shape[1]).sum();
    let weights = 4 * parameters as u64;
    assert_eq!((policy.decoder.weight_bytes(), plan.weights), (weights, policy.decoder.for_sampling().weight_bytes()));
    assert!((weights..=3 * weights).contains(&plan.weights), "{plan}");
    // 6 sequences of at most 32 tokens, 2 layers, keys and values of 20 numbers.
    assert_eq!(plan.cache, 4 * 6 * 32 * 2 * 2 * 20);
    let seeds = (0..200_000_000).collect();
    let huge = [GenerationRequest { prompt: vec![1; 40], seeds }];
    let error = engine.generate(&huge, &sampling()).unwrap_err().to_string();
    assert!(error.contains("cache") && error.contains("fewer sequences"), "{error}");
}
