//! Products: every kernel, batches, bounds, gradients.

use rlar_quant::{BlockType, Kernel, QuantisedMatrix, QuantisedRows, error_bound};

use crate::reference::{Random, random_bytes, random_matrix, weights};

fn product(kernel: Kernel, w: &QuantisedMatrix, x: &[f32]) -> Vec<f32> {
    let x = QuantisedRows::new(x, w.columns(), w.activation_block()).unwrap();
    let mut y = vec![f32::NAN; x.batch() * w.rows()];
    w.product_by(kernel, &x, &mut y).unwrap();
    y
}

fn bits(y: &[f32]) -> Vec<u32> {
    y.iter().map(|y| y.to_bits()).collect()
}

/// Activations of several kinds: normal, with outliers, all alike, tiny, and zero.
fn activations(batch: usize, columns: usize, random: &mut Random) -> Vec<f32> {
    let mut x = random.normals(batch * columns);
    for (kind, row) in x.chunks_exact_mut(columns).enumerate() {
        match kind % 6 {
            1 => (0..columns / 64).for_each(|_| row[random.below(columns)] *= 1000.0),
            2 => row.iter_mut().for_each(|x| *x = x.signum() * 3.0),
            3 => row.iter_mut().for_each(|x| *x *= 1e-20),
            4 => row[..columns / 2].fill(0.0),
            5 => row.iter_mut().for_each(|x| *x = x.powi(7)),
            _ => {}
        }
    }
    x
}

#[test]
fn every_kernel_gives_the_same_bits_for_every_batch() {
    let mut random = Random(11);
    for t in BlockType::ALL {
        // Miri is slow, but it also checks what this processor cannot run.
        let shapes: &[(usize, usize)] =
            if cfg!(miri) { &[(17, 256)] } else { &[(1, 256), (16, 512), (37, 2304), (48, 1024)] };
        for &(rows, columns) in shapes {
            let columns = if t.values() == 32 && ![512, 1024].contains(&columns) { columns + 32 } else { columns };
            let w = random_matrix(t, rows, columns, &mut random);
            let x = activations(if cfg!(miri) { 9 } else { 13 }, columns, &mut random);
            let expected = product(Kernel::Portable, &w, &x);
            for kernel in Kernel::ALL.into_iter().filter(|k| k.is_available()) {
                for batch in if cfg!(miri) { vec![9] } else { vec![1, 2, 3, 4, 5, 7, 8, 9, 13] } {
                    let y = product(kernel, &w, &x[..batch * columns]);
                    assert!(
                        bits(&y) == bits(&expected[..batch * rows]),
                        "{t}, {kernel:?}, [{rows}, {columns}], {batch}"
                    );
                }
            }
        }
    }
}

#[test]
fn extreme_integers_do_not_overflow() {
    for t in BlockType::ALL {
        for fill in if cfg!(miri) { vec![0xff] } else { vec![0x00, 0xff, 0x80, 0x7f] } {
            let mut bytes = vec![fill; 17 * 512 / t.values() * t.bytes()];
            for block in bytes.chunks_exact_mut(t.bytes()) {
                let halves: &[usize] = if t == BlockType::Q6_K { &[208] } else { &[0, 2] };
                for at in halves.iter().take(if t.values() == 256 || t.bytes() % 4 == 0 { 2 } else { 1 }) {
                    block[*at..at + 2].copy_from_slice(&[0, 0x24]);
                }
            }
            let w = QuantisedMatrix::new(t, 17, 512, bytes.into()).unwrap();
            let dense = w.dequantise().unwrap();
            // Every rounded activation is 127 or −127, without an error of rounding.
            for pattern in [|_: usize| 127.0, |_| -127.0, |i: usize| if i.is_multiple_of(2) { 127.0 } else { -127.0 }] {
                let x: Vec<f32> = (0..4 * 512).map(pattern).collect();
                let exact: f64 = dense[..512].iter().zip(&x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
                let size: f64 = dense[..512].iter().map(|w| f64::from(w.abs()) * 127.0).sum();
                for kernel in Kernel::ALL.into_iter().filter(|k| k.is_available()) {
                    for y in product(kernel, &w, &x).into_iter().chain(product(kernel, &w, &x[..512])) {
                        assert!(
                            (f64::from(y) - exact).abs() <= 1e-5 * size.max(1.0),
                            "{t}, {kernel:?}, {fill}: {y}, {exact}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn the_distance_to_the_exact_product_is_below_the_bound() {
    let mut random = Random(12);
    for t in BlockType::ALL {
        let (rows, columns, batch) = (24, 1024, 12);
        let bytes = random_bytes(t, rows, columns, &mut random);
        let exact = weights(t, &bytes);
        let w = QuantisedMatrix::new(t, rows, columns, bytes.into()).unwrap();
        let x = activations(batch, columns, &mut random);
        let y = product(Kernel::best(), &w, &x);
        for (x, y) in x.chunks_exact(columns).zip(y.chunks_exact(rows)) {
            for (w, y) in exact.chunks_exact(columns).zip(y) {
                let values: Vec<f32> = w.iter().map(|w| w.value as f32).collect();
                let magnitudes: Vec<f32> = w.iter().map(|w| w.magnitude as f32).collect();
                let product: f64 = w.iter().zip(x).map(|(w, x)| w.value * f64::from(*x)).sum();
                let bound = error_bound(x, &values, &magnitudes, t.values());
                assert!((f64::from(*y) - product).abs() <= bound, "{t}: {y} is not {product} within {bound}");
            }
        }
    }
}

#[test]
fn with_normal_activations_the_error_is_below_one_percent() {
    let mut random = Random(13);
    for t in BlockType::ALL {
        let w = random_matrix(t, 64, 2048, &mut random);
        let x = random.normals(16 * 2048);
        let y = product(Kernel::best(), &w, &x);
        let mut exact = vec![0f32; y.len()];
        w.product_f32(&x, &mut exact).unwrap();
        let square = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>();
        let error = square(&mut y.iter().zip(&exact).map(|(y, e)| y - e)) / square(&mut exact.iter().copied());
        // A step of 2·2.2 to 2·2.9 standard deviations in 254 parts, divided by √12.
        assert!(error.sqrt() < 0.01, "{t}: {}", error.sqrt());
    }
}

#[test]
fn the_f32_product_is_that_of_the_dequantised_weights() {
    let mut random = Random(14);
    for t in BlockType::ALL {
        let (rows, columns) = (37, if t.values() == 32 { 608 } else { 768 });
        let w = random_matrix(t, rows, columns, &mut random);
        let dense = w.dequantise().unwrap();
        for batch in [1, 6, 11, 300] {
            let x = random.normals(batch * columns);
            let mut y = vec![f32::NAN; batch * rows];
            w.product_f32(&x, &mut y).unwrap();
            for (x, y) in x.chunks_exact(columns).zip(y.chunks_exact(rows)) {
                for (w, y) in dense.chunks_exact(columns).zip(y) {
                    close(w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)), *y, t);
                }
            }
        }
    }
}

#[test]
fn a_column_of_the_f32_product_has_the_dequantised_values() {
    let mut random = Random(16);
    for t in BlockType::ALL {
        // Full tiles and a part of one; blocks that are not a multiple of four.
        let (rows, columns) = (37, if t.values() == 32 { 608 } else { 768 });
        let w = random_matrix(t, rows, columns, &mut random);
        let dense = w.dequantise().unwrap();
        let chosen: Vec<usize> = (0..columns).step_by(7).collect();
        let mut x = vec![0.0; chosen.len() * columns];
        chosen.iter().enumerate().for_each(|(i, c)| x[i * columns + c] = 1.0);
        let mut y = vec![f32::NAN; chosen.len() * rows];
        w.product_f32(&x, &mut y).unwrap();
        for (c, y) in chosen.iter().zip(y.chunks_exact(rows)) {
            let column: Vec<f32> = dense.iter().skip(*c).step_by(columns).copied().collect();
            assert_eq!(y, column, "{t}, column {c}");
        }
    }
}

#[test]
fn the_transposed_product_is_the_gradient() {
    let mut random = Random(15);
    for t in BlockType::ALL {
        let (rows, columns) = (300, if t.values() == 32 { 608 } else { 768 });
        let w = random_matrix(t, rows, columns, &mut random);
        let dense = w.dequantise().unwrap();
        for batch in [1, 6, 11, 260] {
            let dy = random.normals(batch * rows);
            let mut dx = vec![f32::NAN; batch * columns];
            w.transposed_product(&dy, &mut dx).unwrap();
            for (dy, dx) in dy.chunks_exact(rows).zip(dx.chunks_exact(columns)).step_by(batch.div_ceil(8)) {
                for (c, dx) in dx.iter().enumerate() {
                    close(
                        dy.iter().enumerate().map(|(r, dy)| f64::from(*dy) * f64::from(dense[r * columns + c])),
                        *dx,
                        t,
                    );
                }
            }
        }
    }
}

/// Whether a sum in `f32` is that of the terms, within the rounding of as many additions.
fn close(terms: impl Iterator<Item = f64>, found: f32, t: BlockType) {
    let (mut sum, mut size) = (0.0, 0.0);
    for term in terms {
        sum += term;
        size += term.abs();
    }
    assert!((f64::from(found) - sum).abs() <= 1e-5 * size, "{t}: {found} is not {sum}");
}

#[test]
fn a_value_that_is_no_number_spoils_its_row_alone() {
    let mut random = Random(16);
    for t in BlockType::ALL {
        let w = random_matrix(t, 20, 512, &mut random);
        let mut x = random.normals(6 * 512);
        let clean = product(Kernel::Portable, &w, &x);
        x[2 * 512 + 300] = f32::NAN;
        x[4 * 512 + 3] = f32::NEG_INFINITY;
        for kernel in Kernel::ALL.into_iter().filter(|k| k.is_available()) {
            let y = product(kernel, &w, &x);
            for (c, (y, clean)) in y.chunks_exact(20).zip(clean.chunks_exact(20)).enumerate() {
                if [2, 4].contains(&c) {
                    assert!(y.iter().all(|y| y.is_nan()), "{t}, {kernel:?}");
                } else {
                    assert_eq!(y, clean, "{t}, {kernel:?}");
                }
            }
        }
    }
}
