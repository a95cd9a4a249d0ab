//! The values of blocks.

use rlar_quant::BlockType;

use crate::reference::{Random, random_bytes, random_matrix, weights};

#[test]
fn every_type_is_read_as_its_description_says() {
    let mut random = Random(1);
    for t in BlockType::ALL {
        for _ in 0..40 {
            let bytes = random_bytes(t, 1, 2 * t.values(), &mut random);
            let mut found = vec![0f32; 2 * t.values()];
            t.dequantise(&bytes, &mut found).unwrap();
            for (i, (found, expected)) in found.iter().zip(weights(t, &bytes)).enumerate() {
                // A product and a sum in `f32`.
                let distance = (f64::from(*found) - expected.value).abs();
                assert!(
                    distance <= 2f64.powi(-23) * expected.magnitude,
                    "{t}, value {i}: {found} is not {}",
                    expected.value
                );
            }
        }
    }
}

#[test]
fn values_without_rounding_are_exact() {
    let mut random = Random(2);
    for t in BlockType::ALL {
        let mut bytes = random_bytes(t, 1, t.values(), &mut random);
        // Powers of two as scales: every product and sum is a number of `f32`.
        for at in if t == BlockType::Q6_K { vec![208] } else { vec![0, 2] } {
            if at == 0
                || matches!(t, BlockType::Q4_1 | BlockType::Q5_1 | BlockType::Q4_K | BlockType::Q5_K | BlockType::Q6_K)
            {
                bytes[at..at + 2].copy_from_slice(&[0, 0x24]);
            }
        }
        let mut found = vec![0f32; t.values()];
        t.dequantise(&bytes, &mut found).unwrap();
        for (found, expected) in found.iter().zip(weights(t, &bytes)) {
            assert_eq!(f64::from(*found).to_bits(), (expected.value + 0.0).to_bits(), "{t}");
        }
    }
}

#[test]
fn rows_of_a_matrix_are_those_of_its_blocks() {
    let mut random = Random(3);
    for t in BlockType::ALL {
        let matrix = random_matrix(t, 5, 512, &mut random);
        let all = matrix.dequantise().unwrap();
        let mut row = vec![0f32; 512];
        for (i, expected) in all.chunks_exact(512).enumerate() {
            matrix.dequantise_row(i, &mut row).unwrap();
            assert_eq!(row, expected);
        }
        assert!(matrix.dequantise_row(5, &mut row).is_err());
        assert!(matrix.dequantise_row(0, &mut row[1..]).is_err());
    }
}

#[test]
fn parts_and_reordered_rows_have_the_values_of_their_rows() {
    let mut random = Random(4);
    let matrix = random_matrix(BlockType::Q6_K, 6, 256, &mut random);
    let all = matrix.dequantise().unwrap();
    let part = matrix.part(2..5).unwrap();
    assert_eq!(part.dequantise().unwrap(), all[2 * 256..5 * 256]);
    assert_eq!(part.part(1..3).unwrap().dequantise().unwrap(), all[3 * 256..5 * 256]);
    let turned = part.reordered(&[2, 0]).unwrap().dequantise().unwrap();
    assert_eq!(turned, [&all[4 * 256..5 * 256], &all[2 * 256..3 * 256]].concat());
    assert!(part.part(0..4).is_err() && part.reordered(&[3]).is_err());
    assert!(matrix.part(0..0).unwrap().dequantise().unwrap().is_empty());
}
