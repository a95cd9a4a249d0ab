//! An independent slow reading of the block formats, and random matrices.
//!
//! The formats are read bit by bit from their description in ggml's `ggml-common.h`: fields in the order of the structs,
//! each value a formula of its bits.

use rlar_quant::{BlockType, QuantisedMatrix};

/// Random numbers (`SplitMix64`).
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number from 0 to `n` − 1.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// From 0 up to 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Normally distributed.
    pub fn normal(&mut self) -> f32 {
        ((-2.0 * (1.0 - self.unit()).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()) as f32
    }

    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal()).collect()
    }
}

/// Where the half-precision numbers of a block are.
fn half_offsets(t: BlockType) -> &'static [usize] {
    match t {
        BlockType::Q4_1 | BlockType::Q5_1 | BlockType::Q4_K | BlockType::Q5_K => &[0, 2],
        BlockType::Q6_K => &[208],
        _ => &[0],
    }
}

/// Bytes of a matrix: random bits everywhere, with finite scales of either sign from 2⁻¹² to 2⁻⁴.
pub fn random_bytes(t: BlockType, rows: usize, columns: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..rows * columns / t.values() * t.bytes()).map(|_| random.bits() as u8).collect();
    for block in bytes.chunks_exact_mut(t.bytes()) {
        for at in half_offsets(t) {
            let exponent = 3 + random.below(8) as u16;
            let half = (random.below(2) as u16) << 15 | exponent << 10 | random.below(1 << 10) as u16;
            block[*at..at + 2].copy_from_slice(&half.to_le_bytes());
        }
    }
    bytes
}

pub fn random_matrix(t: BlockType, rows: usize, columns: usize, random: &mut Random) -> QuantisedMatrix {
    QuantisedMatrix::new(t, rows, columns, random_bytes(t, rows, columns, random).into()).unwrap()
}

/// A weight and the magnitude of what it is computed of.
#[derive(Clone, Copy)]
pub struct Weight {
    pub value: f64,
    /// `|scale · integer| + |minimum|`.
    pub magnitude: f64,
}

fn bit(bytes: &[u8], index: usize) -> i32 {
    i32::from(bytes[index / 8] >> (index % 8) & 1)
}

/// An unsigned integer of the bits `start..start + n`, counted from the lowest bit of the first byte.
fn bits(bytes: &[u8], start: usize, n: usize) -> i32 {
    (0..n).map(|i| bit(bytes, start + i) << i).sum()
}

/// Half precision by its definition (IEEE 754 binary16), finite.
pub fn half(bytes: &[u8], at: usize) -> f64 {
    let (fraction, exponent, sign) = (bits(&bytes[at..], 0, 10), bits(&bytes[at..], 10, 5), bit(&bytes[at..], 15));
    let magnitude = if exponent == 0 {
        f64::from(fraction) * 2f64.powi(-24)
    } else {
        f64::from(1024 + fraction) * 2f64.powi(exponent - 25)
    };
    if sign == 1 { -magnitude } else { magnitude }
}

/// Value `i` of a block.
pub fn weight(t: BlockType, b: &[u8], i: usize) -> Weight {
    let nibble = |at: usize| bits(&b[at..], 8 * (i % 16) + if i < 16 { 0 } else { 4 }, 4);
    let simple = |scale: f64, q: i32, minimum: f64| Weight {
        value: scale * f64::from(q) + minimum,
        magnitude: (scale * f64::from(q)).abs() + minimum.abs(),
    };
    match t {
        BlockType::Q4_0 => simple(half(b, 0), nibble(2) - 8, 0.0),
        BlockType::Q4_1 => simple(half(b, 0), nibble(4), half(b, 2)),
        BlockType::Q5_0 => simple(half(b, 0), nibble(6) + 16 * bit(&b[2..], i) - 16, 0.0),
        BlockType::Q5_1 => simple(half(b, 0), nibble(8) + 16 * bit(&b[4..], i), half(b, 2)),
        BlockType::Q8_0 => simple(half(b, 0), i32::from(b[2 + i].cast_signed()), 0.0),
        BlockType::IQ4_NL => {
            let table = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
            simple(half(b, 0), table[nibble(2) as usize], 0.0)
        }
        BlockType::Q4_K | BlockType::Q5_K => {
            let group = i / 32;
            // The low six bits of bytes 0 to 7 are scales and minima 0 to 3. The others have their low four bits in bytes
            // 8 to 11, scale below minimum, and their high two bits above those of bytes 0 to 7.
            let packed = &b[4..16];
            let (scale, minimum) = if group < 4 {
                (bits(packed, 8 * group, 6), bits(packed, 8 * (group + 4), 6))
            } else {
                let low = 8 * (group + 4);
                (
                    bits(packed, low, 4) + 16 * bits(packed, 8 * (group - 4) + 6, 2),
                    bits(packed, low + 4, 4) + 16 * bits(packed, 8 * group + 6, 2),
                )
            };
            let low = if t == BlockType::Q4_K { 16 } else { 48 };
            let mut q = bits(&b[low + 32 * (group / 2) + i % 32..], 4 * (group % 2), 4);
            if t == BlockType::Q5_K {
                q += 16 * bits(&b[16 + i % 32..], group, 1);
            }
            simple(half(b, 0) * f64::from(scale), q, -half(b, 2) * f64::from(minimum))
        }
        BlockType::Q6_K => {
            // In each half of 128 values, the quarters share bytes: two low ones and two high ones of 64 bytes, and pairs
            // of bits of 32 bytes.
            let (part, quarter, l) = (i / 128, i % 128 / 32, i % 32);
            let low = bits(&b[64 * part + 32 * (quarter % 2) + l..], 4 * (quarter / 2), 4);
            let high = bits(&b[128 + 32 * part + l..], 2 * quarter, 2);
            let scale = f64::from(b[192 + i / 16].cast_signed());
            simple(half(b, 208) * scale, low + 16 * high - 32, 0.0)
        }
    }
}

/// All weights of the bytes of a matrix.
pub fn weights(t: BlockType, bytes: &[u8]) -> Vec<Weight> {
    bytes.chunks_exact(t.bytes()).flat_map(|block| (0..t.values()).map(move |i| weight(t, block, i))).collect()
}
