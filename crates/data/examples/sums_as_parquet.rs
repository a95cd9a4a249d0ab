//! Writes sums with their answers as a Parquet file, to measure how large data sets are read.
//!
//!     cargo run --release -p rlar-data --example sums_as_parquet -- ROWS FILE

use std::error::Error;

use rlar_data::{Column, parquet};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rows, path] = &arguments[..] else { return Err("expected: ROWS FILE".into()) };
    let rows: i64 = rows.parse()?;
    let terms = |i: i64| (i.wrapping_mul(7919) % 9973 + 1, i.wrapping_mul(104_729) % 9967 + 1);
    let column = |text: &dyn Fn(i64) -> String| Column::Text((0..rows).map(text).collect());
    let id = column(&|i| format!("train-{i}"));
    let prompt = column(&|i| {
        let (a, b) = terms(i);
        format!("{a} + {b} =")
    });
    let reference = column(&|i| {
        let (a, b) = terms(i);
        (a + b).to_string()
    });
    let columns = [("id".to_owned(), id), ("prompt".to_owned(), prompt), ("reference".to_owned(), reference)];
    std::fs::write(path, parquet(&columns)?)?;
    Ok(())
}
