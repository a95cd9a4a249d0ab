use rlar_policy::ops::{Ops, Products, kernels};
use rlar_policy::{ComputeDevice, Gradients, SavedActivations, Sequence, Weight};

use crate::tiny;

const SEQUENCES: [(&[u32], &[u32]); 3] =
    [(&[5, 9, 200], &[17, 3]), (&[44], &[1, 2, 3, 250, 9, 9, 8]), (&[7, 7, 7, 7, 7, 7], &[289])];

fn sequences() -> Vec<Sequence<'static>> {
    SEQUENCES.iter().map(|(prompt, completion)| Sequence { prompt, completion }).collect()
}

fn floats(t: burn::tensor::Tensor<1>) -> Vec<f32> {
    t.into_data().as_slice::<f32>().unwrap().to_vec()
}

#[test]
fn log_probs_and_entropies_are_the_same() {
    for temperature in [1.0, 0.7] {
        let [fused, plain] = [Ops::Fused(Products::Single), Ops::Plain]
            .map(|ops| tiny::decoder(ops).log_probs(&sequences(), temperature));
        for (a, b) in [(fused.log_probs, plain.log_probs), (fused.entropies, plain.entropies)] {
            for (a, b) in floats(a).into_iter().zip(floats(b)) {
                assert!((a - b).abs() < 2e-5, "{a} is not {b}");
            }
        }
    }
}

#[test]
fn gradients_are_the_same_for_every_weight() {
    let gradients = [Ops::Fused(Products::Single), Ops::Plain].map(|ops| {
        let tracked = tiny::decoder(ops).with_grad();
        let scored = tracked.log_probs(&sequences(), 1.0);
        let mut gradients = Gradients::default();
        gradients.accumulate(tracked.weights(), &(scored.log_probs.mean() * -1.0 + scored.entropies.mean() * 0.3));
        gradients.to_map()
    });
    for (name, plain) in &gradients[1] {
        let fused = &gradients[0][name];
        let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|v| v * v).sum::<f32>().sqrt();
        let whole = norm(&mut plain.iter().copied());
        assert!(whole > 0.0, "{name} has no gradient");
        let off = norm(&mut plain.iter().zip(fused).map(|(a, b)| a - b));
        assert!(off / whole < 1e-4, "{name}: relative error {}", off / whole);
    }
}

#[test]
fn a_gradient_is_the_slope_that_finite_differences_measure() {
    let tracked = tiny::decoder(Ops::Fused(Products::Single)).with_grad();
    let mut gradients = Gradients::default();
    gradients.accumulate(tracked.weights(), &tracked.log_probs(&sequences(), 1.0).log_probs.sum());
    let gradient = &gradients.to_map()["model.layers.0.self_attn.k_proj.weight"];
    let value = |delta: f32, at: usize| {
        let mut decoder = tiny::decoder(Ops::Fused(Products::Single));
        let name = "model.layers.0.self_attn.k_proj.weight";
        let index = decoder.layout().specs().iter().position(|s| s.name == name).unwrap();
        let weight = &mut decoder.weights_mut().values_mut()[index];
        let tensor = weight.dense().unwrap();
        let mut data = tensor.clone().into_data();
        data.as_mut_slice::<f32>().unwrap()[at] += delta;
        *weight = Weight::Dense(burn::tensor::Tensor::from_data(data, &tensor.device()));
        floats(decoder.log_probs(&sequences(), 1.0).log_probs).iter().map(|x| f64::from(*x)).sum::<f64>()
    };
    for at in [0, 100, 333] {
        let slope = (value(0.02, at) - value(-0.02, at)) / 0.04;
        let g = f64::from(gradient[at]);
        assert!((slope - g).abs() < 2e-3 + 0.02 * g.abs(), "at {at}: slope {slope}, gradient {g}");
    }
}

#[test]
fn neighbours_in_a_packed_batch_change_nothing() {
    let decoder = tiny::decoder(Ops::Fused(Products::Single));
    let together = floats(decoder.log_probs(&sequences(), 1.0).log_probs);
    let alone: Vec<f32> = sequences().iter().flat_map(|s| floats(decoder.log_probs(&[*s], 1.0).log_probs)).collect();
    for (a, b) in together.iter().zip(&alone) {
        assert!((a - b).abs() < 1e-5, "{a} is not {b}");
    }
}

#[test]
fn the_same_step_gives_the_same_bits() {
    let run = || {
        let tracked = tiny::decoder(Ops::Fused(Products::Single)).with_grad();
        let mut gradients = Gradients::default();
        gradients.accumulate(tracked.weights(), &tracked.log_probs(&sequences(), 1.0).log_probs.sum());
        gradients.to_map()
    };
    assert_eq!(run(), run());
}

#[test]
fn half_precision_stays_near_and_its_gradients_are_whole() {
    let norm = |x: &[f32]| x.iter().map(|v| v * v).sum::<f32>().sqrt();
    let run = |ops| {
        let decoder = tiny::decoder(ops);
        let mut gradients = Gradients::default();
        gradients.add(&decoder, &sequences(), 1.0, SavedActivations::All, |s| s.log_probs.mean().neg());
        (floats(decoder.log_probs(&sequences(), 1.0).log_probs), gradients.to_map())
    };
    let (plain, plain_gradients) = run(Ops::Plain);
    let fused = kernels::has_bf16().then_some(Ops::Fused(Products::Bf16));
    for ops in fused.into_iter().chain([Ops::Half]) {
        let (half, half_gradients) = run(ops);
        assert_ne!(half, plain);
        for (a, b) in half.iter().zip(&plain) {
            assert!((a - b).abs() < 0.05, "{ops:?}: {a} is far from {b}");
        }
        for (name, plain) in &plain_gradients {
            let off: Vec<f32> = half_gradients[name].iter().zip(plain).map(|(a, b)| a - b).collect();
            assert!(norm(&off) < 0.05 * norm(plain), "{ops:?}: {name}");
        }
    }
}

#[test]
fn half_precision_is_refused_on_a_processor_that_lacks_it() {
    match ComputeDevice::with_precision("cpu", rlar_policy::Precision::Bf16) {
        Ok(device) => assert!(kernels::has_bf16() && device.ops == Ops::Fused(Products::Bf16)),
        Err(error) => {
            let error = error.to_string();
            assert!(!kernels::has_bf16() && error.contains("AVX512-BF16") && error.contains("f32"), "{error}");
        }
    }
}

/// Three replies to one prompt and two to another: `together` side by side, or so that no prompt follows itself.
fn groups(together: bool) -> Vec<Sequence<'static>> {
    let long: &[u32] = &[5, 9, 200, 31, 7, 7, 12, 90];
    let short: &[u32] = &[44, 3];
    let replies: [(&[u32], &[u32]); 5] =
        [(long, &[17, 3]), (long, &[8]), (long, &[1, 2, 3, 250]), (short, &[9, 9, 8, 5, 60]), (short, &[4, 4])];
    let order = if together { [0, 1, 2, 3, 4] } else { [0, 3, 1, 4, 2] };
    order.map(|i| Sequence { prompt: replies[i].0, completion: replies[i].1 }).to_vec()
}

#[test]
fn a_prompt_that_is_run_once_for_its_group_gives_the_same_log_probs_and_gradients() {
    let both = |ops| {
        [true, false].map(|together| {
            let tracked = tiny::decoder(ops).with_grad();
            let scored = tracked.log_probs(&groups(together), 0.8);
            let mut gradients = Gradients::default();
            gradients.accumulate(tracked.weights(), &(scored.log_probs.clone().sum() + scored.entropies.sum() * 0.3));
            let mut log_probs = floats(scored.log_probs.inner());
            log_probs.sort_by(f32::total_cmp);
            (log_probs, gradients.to_map())
        })
    };
    for ops in [Ops::Fused(Products::Single), Ops::Plain] {
        let [together, apart] = both(ops);
        for (a, b) in together.0.iter().zip(&apart.0) {
            assert!((a - b).abs() < 2e-5, "{ops:?}: {a} is not {b}");
        }
        for (name, apart) in &apart.1 {
            let off: f32 = together.1[name].iter().zip(apart).map(|(a, b)| (a - b).powi(2)).sum();
            let whole: f32 = apart.iter().map(|x| x * x).sum();
            assert!(
                whole > 0.0 && (off / whole).sqrt() < 1e-4,
                "{ops:?} {name}: relative error {}",
                (off / whole).sqrt()
            );
        }
    }
}
