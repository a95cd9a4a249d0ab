//! Matrix products with packed copies in `f32`, with which sampling computes.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rlar_policy::ops::Products;
use rlar_policy::ops::kernels::{PackedMatrix, linear};

#[test]
fn products_have_the_same_bits_packed_and_not_alone_and_in_a_batch() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let shapes = [
        [1, 1, 1],
        [3, 5, 7],
        [8, 16, 48],
        [9, 17, 49],
        [2, 1, 95],
        [32, 577, 700],
        [13, 1500, 65],
        [300, 40, 3],
        [70, 128, 512],
        [6, 300, 2100],
        [0, 4, 4],
    ];
    for [n, inner, outer] in shapes {
        let mut random = |count: usize| -> Vec<f32> { (0..count).map(|_| rng.random_range(-1.0..1.0)).collect() };
        let (x, w) = (random(n * inner), random(outer * inner));
        let matrix = PackedMatrix::single(&w, inner);
        let product = |matrices: &[&PackedMatrix], x: &[f32]| PackedMatrix::products(matrices, x).remove(0);
        let narrow = PackedMatrix::single(&w[..inner], inner);
        let [together, first] = &PackedMatrix::products(&[&matrix, &narrow], &x)[..] else { panic!("two products") };
        assert!(first.iter().eq(together.iter().step_by(outer)), "{n} {inner} {outer}");
        let (product, alone) = (product(&[&matrix], &x), |x: &[f32]| product(&[&matrix], x));
        assert_eq!(&product, together);
        assert_eq!(product, linear([n, inner, outer], &x, &w, None, Products::BatchInvariant), "{n} {inner} {outer}");
        for (x, row) in x.chunks(inner).zip(product.chunks(outer)) {
            assert_eq!(alone(x), row, "{n} {inner} {outer}");
            for (w, is) in w.chunks(inner).zip(row) {
                let terms = || x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w));
                let (expected, magnitude) = (terms().sum::<f64>(), terms().map(f64::abs).sum::<f64>());
                let bound = f64::from(f32::EPSILON) * inner as f64 * magnitude;
                assert!((f64::from(*is) - expected).abs() <= bound, "{n} {inner} {outer}: {is}, not {expected}");
            }
        }
        let padded = 4 * (outer + 15) * inner;
        assert!(matrix.size() >= 4 * w.len() && matrix.size() <= padded, "{}", matrix.size());
    }
}
