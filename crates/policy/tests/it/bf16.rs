//! Matrix products in bfloat16 on the CPU, on a processor that has them. On others there is nothing to test but the refusal
//! (`fused_agrees_with_plain.rs`).

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rlar_policy::ops::kernels::{PackedMatrix, View, has_bf16, matmul_bf16, product_bf16};

/// Rounds to bfloat16, to nearest, ties to even.
fn rounded(x: f32) -> f64 {
    let bits = x.to_bits();
    f64::from(f32::from_bits((bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff_0000))
}

fn random(rng: &mut ChaCha8Rng, count: usize) -> Vec<f32> {
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

#[test]
fn products_are_those_of_the_rounded_elements_in_every_layout() {
    if !has_bf16() {
        return;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let shapes =
        [[1, 1, 1], [12, 32, 32], [13, 33, 31], [5, 385, 7], [100, 3, 65], [490, 769, 40], [7, 20, 2100], [3, 0, 4]];
    for [m, k, n] in shapes {
        let (a, b) = (random(&mut rng, m * k), random(&mut rng, k * n));
        for (a_is_transposed, b_is_transposed, add) in
            [(false, false, false), (true, false, true), (false, true, false), (true, true, true)]
        {
            let view_a = if a_is_transposed { View::rows(&a, m).t() } else { View::rows(&a, k) };
            let view_b = if b_is_transposed { View::rows(&b, k).t() } else { View::rows(&b, n) };
            let width = n + 3;
            let before = random(&mut rng, m * width);
            let mut out = before.clone();
            matmul_bf16([m, k, n], view_a, view_b, &mut out, width, add);
            let product = product_bf16([m, k, n], view_a, view_b);
            for i in 0..m {
                for j in 0..width {
                    let (was, is) = (before[i * width + j], out[i * width + j]);
                    if j >= n {
                        assert_eq!(was.to_bits(), is.to_bits(), "{m} {k} {n}: wrote beyond a row");
                        continue;
                    }
                    let of_a = |l: usize| rounded(if a_is_transposed { a[l * m + i] } else { a[i * k + l] });
                    let of_b = |l: usize| rounded(if b_is_transposed { b[j * k + l] } else { b[l * n + j] });
                    let exact: f64 = (0..k).map(|l| of_a(l) * of_b(l)).sum();
                    let size: f64 = (0..k).map(|l| (of_a(l) * of_b(l)).abs()).sum();
                    let expected = exact + if add { f64::from(was) } else { 0.0 };
                    assert!(
                        (f64::from(is) - expected).abs() <= 1e-6 * (1.0 + size),
                        "{m} {k} {n}: {is}, not {expected}"
                    );
                    assert!((f64::from(product[i * n + j]) - exact).abs() <= 1e-6 * (1.0 + size), "{m} {k} {n}");
                }
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    if !has_bf16() {
        return;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let [m, k, n] = [70, 900, 2200];
    let (a, b) = (random(&mut rng, m * k), random(&mut rng, k * n));
    let products = [1, 3].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| product_bf16([m, k, n], View::rows(&a, k), View::rows(&b, n)))
    });
    assert!(products[0].iter().zip(&products[1]).all(|(x, y)| x.to_bits() == y.to_bits()));
}

#[test]
fn a_matrix_that_is_rounded_once_has_the_same_products_row_by_row() {
    if !has_bf16() {
        return;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for [n, inner, outer] in
        [[1, 1, 1], [1, 384, 33], [12, 32, 32], [32, 577, 700], [13, 900, 65], [500, 40, 3], [0, 4, 4]]
    {
        let (x, w) = (random(&mut rng, n * inner), random(&mut rng, outer * inner));
        let matrix = PackedMatrix::bf16(&w, inner);
        let product = PackedMatrix::products(&[&matrix], &x).remove(0);
        let expected = product_bf16([n, inner, outer], View::rows(&x, inner), View::rows(&w, inner).t());
        assert_eq!(product.len(), expected.len());
        for (is, expected) in product.iter().zip(&expected) {
            assert!((is - expected).abs() <= 1e-6 * inner as f32, "{n} {inner} {outer}: {is}, not {expected}");
        }
        for (row, x) in product.chunks(outer).zip(x.chunks(inner)) {
            let alone = PackedMatrix::products(&[&matrix], x).remove(0);
            assert!(row.iter().zip(&alone).all(|(a, b)| a.to_bits() == b.to_bits()), "{n} {inner} {outer}");
        }
        assert!(matrix.size() >= 2 * w.len() && matrix.size() <= 2 * (outer + 31) * (inner + 1), "{}", matrix.size());
    }
}
