//! Measures the products at the shapes of a model of 1.5 billion parameters, beside the memory bandwidth of the same run.
//!
//! ```sh
//! cargo run --release -p rlar-quant --example products                     # Q4_K and Q6_K, all shapes
//! cargo run --release -p rlar-quant --example products -- Q5_0 Q8_0 --batches 1,8
//! ```
//!
//! `GB/s` counts the bytes of the weights once, as a single row must read them; `GFLOP/s` counts a multiplication and an
//! addition per weight and row. Every time is the best of several.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use rayon::prelude::*;
use rlar_quant::{BlockType, Kernel, QuantisedMatrix, QuantisedRows};

const SHAPES: [[usize; 2]; 4] = [[1536, 1536], [8960, 1536], [1536, 8960], [151_936, 1536]];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| arguments.iter().position(|a| a == name).and_then(|i| arguments.get(i + 1));
    let batches: Vec<usize> = match value("--batches") {
        Some(list) => list.split(',').map(str::parse).collect::<Result<_, _>>()?,
        None => vec![1, 8, 64, 512],
    };
    let mut types: Vec<BlockType> =
        BlockType::ALL.into_iter().filter(|t| arguments.iter().any(|a| a == t.name())).collect();
    if types.is_empty() {
        types = vec![BlockType::Q4_K, BlockType::Q6_K];
    }
    let f32 = arguments.iter().any(|a| a == "--f32");
    println!("{} threads, kernel {}", rayon::current_num_threads(), Kernel::best().name());
    let buffer = vec![1u64; 1 << 26];
    println!("reading memory: {:.1} GB/s on all threads, {:.1} GB/s on one", read(&buffer, true), read(&buffer, false));
    drop(buffer);
    println!("type    rows  columns  product     batch         ms     GB/s  GFLOP/s");
    for block_type in types {
        for [rows, columns] in SHAPES {
            let weights = weights(block_type, rows, columns)?;
            for &batch in &batches {
                let x: Vec<f32> = (0..batch * columns).map(|i| ((i * 7919) % 1001) as f32 / 500.0 - 1.0).collect();
                let mut y = vec![0f32; batch * rows];
                let report = |name: &str, seconds: f64| {
                    let (bytes, operations) = (weights.size() as f64, 2.0 * (rows * columns * batch) as f64);
                    println!(
                        "{:6} {rows:6}  {columns:7}  {name:10}  {batch:5}  {:9.3}  {:7.2}  {:7.1}",
                        block_type.name(),
                        seconds * 1e3,
                        bytes / seconds / 1e9,
                        operations / seconds / 1e9
                    );
                };
                report(
                    "8 bits",
                    best(|| {
                        let x = QuantisedRows::new(&x, columns, weights.activation_block())?;
                        weights.product(&x, &mut y)
                    })?,
                );
                if f32 {
                    report("f32", best(|| weights.product_f32(&x, &mut y))?);
                    let mut dx = vec![0f32; batch * columns];
                    report("transposed", best(|| weights.transposed_product(&y, &mut dx))?);
                }
            }
        }
    }
    Ok(())
}

/// A matrix of arbitrary integers with small scales.
fn weights(block_type: BlockType, rows: usize, columns: usize) -> Result<QuantisedMatrix, rlar_quant::QuantError> {
    let mut bytes: Vec<u8> = (0..rows * block_type.row_bytes(columns)?).map(|i| (i * 31 + i / 97) as u8).collect();
    for block in bytes.chunks_exact_mut(block_type.bytes()) {
        for at in if block_type == BlockType::Q6_K { [208, 208] } else { [0, 2] } {
            block[at..at + 2].copy_from_slice(&[0, 0x14]);
        }
    }
    QuantisedMatrix::new(block_type, rows, columns, bytes.into())
}

/// The shortest of at least three runs, and of as many as fit into a third of a second.
fn best<E>(mut run: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let (begin, mut best, mut runs) = (Instant::now(), f64::INFINITY, 0);
    while runs < 3 || begin.elapsed().as_secs_f64() < 0.33 {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed().as_secs_f64());
        runs += 1;
    }
    Ok(best)
}

/// GB/s of adding up a buffer that no cache holds.
fn read(buffer: &[u64], parallel: bool) -> f64 {
    let sum =
        |part: &[u64]| part.chunks_exact(8).fold([0u64; 8], |s, c| std::array::from_fn(|i| s[i].wrapping_add(c[i])));
    let seconds = best(|| {
        let total = |sums: [u64; 8]| sums.into_iter().fold(0u64, u64::wrapping_add);
        let sum = if parallel {
            buffer.par_chunks(1 << 16).map(|part| total(sum(part))).reduce(|| 0, u64::wrapping_add)
        } else {
            total(sum(buffer))
        };
        std::hint::black_box(sum);
        Ok::<(), ()>(())
    });
    (buffer.len() * 8) as f64 / seconds.unwrap_or(f64::NAN) / 1e9
}
