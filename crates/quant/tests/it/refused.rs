//! What is refused: shapes, lengths, scales and operands that do not fit.

use std::sync::Arc;

use rlar_quant::{BlockType, QuantError, QuantisedMatrix, QuantisedRows, SharedBytes};

use crate::reference::{Random, random_bytes, random_matrix};

#[test]
fn lying_shapes_are_refused_before_anything_is_read() {
    let mut random = Random(21);
    let sizes = [0, 1, 31, 32, 255, 256, 1 << 20, 1 << 32, 1 << 56, 1 << 63, usize::MAX - 255, usize::MAX];
    for t in BlockType::ALL {
        let bytes = SharedBytes::from(random_bytes(t, 2, 512, &mut random));
        for rows in sizes {
            for columns in sizes {
                if rows.checked_mul(columns) == Some(2 * 512) {
                    continue;
                }
                let error = QuantisedMatrix::new(t, rows, columns, bytes.clone()).unwrap_err().to_string();
                assert!(error.contains(&columns.to_string()), "{error}");
            }
        }
        QuantisedMatrix::new(t, 2, 512, bytes.clone()).unwrap();
        QuantisedMatrix::new(t, 4, 256, bytes).unwrap();
    }
}

#[test]
fn random_sizes_types_and_bytes_never_panic() {
    let mut random = Random(22);
    let mut accepted = 0;
    for _ in 0..5000 {
        let number = random.below(32) as u32;
        let Ok(t) = BlockType::from_number(number) else { continue };
        let mut bytes = random_bytes(t, 1 + random.below(4), 256 * (1 + random.below(3)), &mut random);
        // A shape that fits, shortened or extended bytes, or a changed byte.
        let columns = if random.below(4) == 0 { random.below(2000) } else { 256 };
        let rows = bytes.len() * t.values() / t.bytes() / columns.max(1);
        match random.below(4) {
            0 => bytes.truncate(random.below(bytes.len())),
            1 => bytes.push(random.bits() as u8),
            _ => {}
        }
        if !bytes.is_empty() {
            let at = random.below(bytes.len());
            bytes[at] = random.bits() as u8;
        }
        let Ok(w) = QuantisedMatrix::new(t, rows, columns, bytes.into()) else { continue };
        accepted += 1;
        let x = random.normals(5 * columns);
        let x = QuantisedRows::new(&x, columns, w.activation_block()).unwrap();
        let mut y = vec![0.0; 5 * rows];
        w.product(&x, &mut y).unwrap();
        assert!(y.iter().all(|y| y.is_finite()));
    }
    assert!(accepted > 200, "{accepted}");
}

#[test]
fn scales_that_are_not_finite_are_found() {
    let mut random = Random(23);
    for t in BlockType::ALL {
        let halves: &[usize] = match t {
            BlockType::Q6_K => &[208],
            BlockType::Q4_1 | BlockType::Q5_1 | BlockType::Q4_K | BlockType::Q5_K => &[0, 2],
            _ => &[0],
        };
        for at in halves {
            for bits in [0x7c00u16, 0xfc00, 0x7e01] {
                let mut bytes = random_bytes(t, 3, 512, &mut random);
                let start = (2 * 512 / t.values() + 1) * t.bytes() + at;
                bytes[start..start + 2].copy_from_slice(&bits.to_le_bytes());
                let error = QuantisedMatrix::new(t, 3, 512, bytes.into()).unwrap_err();
                assert_eq!(error, QuantError::Scale { row: 2, block: 1 });
            }
        }
    }
}

#[test]
fn types_are_known_by_their_numbers() {
    for t in BlockType::ALL {
        assert_eq!(BlockType::from_number(t.number()), Ok(t));
    }
    for number in [0, 1, 10, 11, 15, 16, 99, u32::MAX] {
        let error = BlockType::from_number(number).unwrap_err().to_string();
        assert!(error.contains(&number.to_string()) && error.contains("Q4_K"), "{error}");
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let mut random = Random(24);
    let w = random_matrix(BlockType::Q4_K, 8, 512, &mut random);
    let x = random.normals(2 * 512);
    let rows = |columns, block| QuantisedRows::new(&x, columns, block);
    assert!(rows(512, 64).is_err() && rows(0, 32).is_err() && rows(100, 32).is_err() && rows(768, 256).is_err());
    let mut y = vec![0.0; 16];
    assert!(w.product(&rows(512, 256).unwrap(), &mut y).is_ok());
    assert!(w.product(&rows(512, 256).unwrap(), &mut y[1..]).unwrap_err().to_string().contains('y'));
    assert!(matches!(w.product(&rows(512, 32).unwrap(), &mut y), Err(QuantError::ActivationBlock { .. })));
    assert!(w.product(&rows(256, 256).unwrap(), &mut y).is_err());
    assert!(w.product_f32(&x[1..], &mut y).is_err() && w.product_f32(&x, &mut y[1..]).is_err());
    let mut dx = vec![0.0; 1024];
    assert!(w.transposed_product(&y, &mut dx[1..]).is_err() && w.transposed_product(&y[1..], &mut dx).is_err());
}

#[test]
fn parts_of_shared_bytes_stay_within_them() {
    let mut random = Random(25);
    let owner = Arc::new(random_bytes(BlockType::Q8_0, 2, 32, &mut random));
    let end = owner.len();
    for (start, stop) in [(0, end + 1), (end + 1, end + 2), (2, 1), (0, usize::MAX)] {
        assert!(SharedBytes::part(owner.clone(), start..stop).is_err());
    }
    let second = SharedBytes::part(owner.clone(), 34..68).unwrap();
    let row = QuantisedMatrix::new(BlockType::Q8_0, 1, 32, second).unwrap().dequantise().unwrap();
    let both = QuantisedMatrix::new(BlockType::Q8_0, 2, 32, SharedBytes::part(owner, 0..end).unwrap()).unwrap();
    assert_eq!(row, both.dequantise().unwrap()[32..]);
}
