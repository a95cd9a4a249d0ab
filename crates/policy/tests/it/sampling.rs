use rlar_policy::ops::Ops;
use rlar_policy::{Finish, Request, Sampling, Sequence, generate};

use crate::tiny;

fn sampling() -> Sampling {
    Sampling { max_tokens: 12, ..Sampling::default() }
}

fn requests() -> Vec<Request> {
    let prompt = |p: &[u32], seeds: &[u64]| Request { prompt: p.to_vec(), seeds: seeds.to_vec() };
    vec![prompt(&[5, 6, 7], &[1, 2, 3]), prompt(&[100], &[4]), prompt(&[8; 20], &[5, 6])]
}

#[test]
fn log_probs_of_the_sampler_are_those_of_the_scorer() {
    for ops in [Ops::Fused, Ops::Plain] {
        let policy = tiny::policy_on(ops);
        for temperature in [1.0, 0.5] {
            let sampling = Sampling { temperature, ..sampling() };
            let out = generate(&policy.decoder, &policy.tokenizer, &requests(), &sampling, 4).unwrap();
            for (request, samples) in requests().iter().zip(&out) {
                assert_eq!(samples.len(), request.seeds.len());
                for s in samples {
                    let sequence = Sequence { prompt: &request.prompt, completion: &s.tokens };
                    let scored = policy.decoder.score(&[sequence], temperature).log_probs.into_data();
                    for (a, b) in scored.as_slice::<f32>().unwrap().iter().zip(&s.log_probs) {
                        assert!((a - b).abs() < 1e-4, "{ops:?}: scorer {a}, sampler {b}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_seed_decides_its_sample_whatever_runs_beside_it() {
    let policy = tiny::policy();
    let together = generate(&policy.decoder, &policy.tokenizer, &requests(), &sampling(), 64).unwrap();
    for (request, samples) in requests().iter().zip(together) {
        for (seed, sample) in request.seeds.iter().zip(samples) {
            let one = [Request { prompt: request.prompt.clone(), seeds: vec![*seed] }];
            let alone = generate(&policy.decoder, &policy.tokenizer, &one, &sampling(), 1).unwrap();
            assert_eq!(alone[0][0].tokens, sample.tokens);
        }
    }
}

#[test]
fn greedy_takes_the_likeliest_token_and_narrow_sampling_equals_it() {
    let policy = tiny::policy();
    let run = |s: Sampling| generate(&policy.decoder, &policy.tokenizer, &requests(), &s, 64).unwrap();
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
    let request = [Request { prompt: vec![5, 6, 7], seeds: (0..4000).collect() }];
    let one = Sampling { max_tokens: 1, ..sampling() };
    let out = generate(&policy.decoder, &policy.tokenizer, &request, &one, 4000).unwrap();
    // The mean of the sampled log-probs estimates minus the entropy.
    let entropy = policy.decoder.score(&[Sequence { prompt: &[5, 6, 7], completion: &[0] }], 1.0).entropies;
    let entropy = entropy.into_data().as_slice::<f32>().unwrap()[0];
    let mean = out[0].iter().map(|s| s.log_probs[0]).sum::<f32>() / 4000.0;
    assert!((mean + entropy).abs() < 0.05, "mean log-prob {mean}, entropy {entropy}");
}

#[test]
fn a_stop_text_ends_the_reply_and_is_left_out_of_it() {
    let policy = tiny::policy();
    let free = generate(&policy.decoder, &policy.tokenizer, &requests(), &sampling(), 64).unwrap();
    let text = &free[0][0].text;
    let stop: String = text.chars().skip(2).take(1).collect();
    let limited = Sampling { stop: vec![stop.clone()], ..sampling() };
    let out = generate(&policy.decoder, &policy.tokenizer, &requests(), &limited, 64).unwrap();
    assert_eq!(out[0][0].finish, Finish::Stop);
    assert!(!out[0][0].text.contains(&stop) && text.starts_with(&out[0][0].text));
}

#[test]
fn a_prompt_that_fills_the_positions_is_refused() {
    let policy = tiny::policy();
    let long = [Request { prompt: vec![1; 64], seeds: vec![0] }];
    let error = generate(&policy.decoder, &policy.tokenizer, &long, &sampling(), 1).unwrap_err();
    assert!(error.to_string().contains("64 tokens"), "{error}");
}
