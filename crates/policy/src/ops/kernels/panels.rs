//! Products with a matrix that was packed once. Each row of the result is computed in the same way whatever the other rows
//! are, in one order of sums, so that it has the same bits alone and in a batch.
//!
//! A panel holds some rows of the matrix, transposed: a SIMD vector has the same element of several rows of it, and each
//! element of `x` is broadcast to it, so that no sum crosses lanes. Panels are read in the order in which they lie in memory.

use std::hint::black_box;
use std::mem::MaybeUninit;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::linear::{ALONE, LINE, Lanes};

/// Number of SIMD vectors that the rows of a panel fill; the last panel may have fewer.
const VECTORS: usize = 3;
/// Largest number of rows of `x` that are processed at a time.
const MOST: usize = 8;

/// A matrix `[rows, columns]` in `f32`, packed in panels.
#[derive(Debug)]
pub struct Panels {
    /// One panel after the other, each `[columns, width]` for `width` rows. Missing rows of the last vector are 0.
    values: Vec<f32>,
    rows: usize,
    columns: usize,
}

impl Panels {
    /// Packs a matrix with these rows, of `columns` elements each.
    ///
    /// # Panics
    /// Without columns.
    pub fn new(w: &[f32], columns: usize) -> Self {
        let (lanes, rows) = (Arch::new().dispatch(Lanes), w.len() / columns);
        let width = VECTORS * lanes;
        let mut values = vec![0f32; rows.next_multiple_of(lanes) * columns];
        values.par_chunks_mut(width * columns).zip(w.par_chunks(width * columns)).for_each(|(panel, w)| {
            let width = panel.len() / columns;
            // What is written for some elements of all rows stays in the cache.
            for (block, panel) in panel.chunks_mut(LINE * width).enumerate() {
                let length = panel.len() / width;
                for (i, row) in w.chunks_exact(columns).enumerate() {
                    for (k, value) in row[block * LINE..][..length].iter().enumerate() {
                        panel[k * width + i] = *value;
                    }
                }
            }
        });
        Self { values, rows, columns }
    }

    /// The products `x · wᵀ` `[n, rows]` of `x` `[n, columns]` with every matrix, all of which have the same number of columns,
    /// in one parallel loop.
    ///
    /// # Panics
    /// When numbers of columns differ.
    pub fn products(matrices: &[&Self], x: &[f32]) -> Vec<Vec<f32>> {
        let columns = matrices.first().map_or(1, |m| m.columns);
        assert!(matrices.iter().all(|m| m.columns == columns), "matrices with different numbers of columns");
        let n = x.len() / columns;
        let mut products: Vec<Vec<f32>> = matrices.iter().map(|m| Vec::with_capacity(n * m.rows)).collect();
        let elements: usize = matrices.iter().map(|m| n * m.rows).sum();
        if elements == 0 {
            return products;
        }
        let arch = Arch::new();
        let width = VECTORS * arch.dispatch(Lanes);
        let tasks = if elements * columns < ALONE { 1 } else { 4 * rayon::current_num_threads() };
        // A task has some panels and, where there are fewer panels than tasks, some rows of `x`.
        let panels: usize = matrices.iter().map(|m| m.rows.div_ceil(width)).sum();
        let across = panels.div_ceil(tasks) * width;
        let down = n.div_ceil(tasks.div_ceil(panels)).next_multiple_of(MOST);
        let mut blocks = Vec::new();
        for (matrix, y) in matrices.iter().zip(&mut products).filter(|(m, _)| m.rows > 0) {
            let y = &mut y.spare_capacity_mut()[..n * matrix.rows];
            for (x, y) in x.chunks(down * columns).zip(y.chunks_mut(down * matrix.rows)) {
                let first = blocks.len();
                let panels = matrix.values.chunks(across * columns);
                blocks.extend(panels.map(|panels| Block { x, panels, columns, y: Vec::with_capacity(down) }));
                for row in y.chunks_exact_mut(matrix.rows) {
                    for (block, part) in blocks[first..].iter_mut().zip(row.chunks_mut(across)) {
                        block.y.push(part);
                    }
                }
            }
        }
        if tasks == 1 {
            for block in blocks {
                arch.dispatch(block);
            }
        } else {
            blocks.into_par_iter().for_each(|block| arch.dispatch(block));
        }
        for (matrix, y) in matrices.iter().zip(&mut products) {
            // SAFETY: so many elements are reserved, and the blocks, which cover all rows and columns, have written each of
            // them.
            unsafe { y.set_len(n * matrix.rows) }
        }
        products
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of bytes that the matrix takes in memory.
    pub fn size(&self) -> usize {
        size_of_val(self.values.as_slice())
    }
}

/// The products of some rows of `x` with some panels.
struct Block<'a> {
    x: &'a [f32],
    panels: &'a [f32],
    columns: usize,
    /// The part of each row of the result that this block computes.
    y: Vec<&'a mut [MaybeUninit<f32>]>,
}

impl WithSimd for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, panels, columns, mut y } = self;
        let width = VECTORS * S::F32_LANES;
        let mut rest = panels;
        let mut left = 0;
        while !rest.is_empty() {
            let weights;
            (weights, rest) = rest.split_at(rest.len().min(width * columns));
            let panel = WeightPanel { weights, columns, next: &rest[..rest.len().min(weights.len())], left };
            match weights.len() / columns / S::F32_LANES {
                VECTORS => panel.products::<S, VECTORS>(simd, x, &mut y),
                2 => panel.products::<S, 2>(simd, x, &mut y),
                _ => panel.products::<S, 1>(simd, x, &mut y),
            }
            left += width;
        }
    }
}

/// A panel `[columns, width]`.
struct WeightPanel<'a> {
    weights: &'a [f32],
    columns: usize,
    /// What follows in memory, which is loaded into the cache meanwhile.
    next: &'a [f32],
    /// The column of the result in which the panel's products start.
    left: usize,
}

impl WeightPanel<'_> {
    /// Writes the products of all rows of `x` with `V` vectors of rows of the matrix.
    #[inline(always)]
    fn products<S: Simd, const V: usize>(&self, simd: S, x: &[f32], y: &mut [&mut [MaybeUninit<f32>]]) {
        // The sums of a tile fill the registers.
        let most = if S::REGISTER_COUNT < 32 { MOST / 2 } else { MOST };
        let (rows, mut row) = (y.len(), 0);
        while row < rows {
            let (x, y) = (&x[row * self.columns..], &mut y[row..]);
            let count = match most.min(rows - row) {
                MOST.. => MOST,
                4.. => 4,
                2.. => 2,
                _ => 1,
            };
            // Every tile asks for its share of what comes next.
            let next = &self.next[self.next.len() * row / rows..self.next.len() * (row + count) / rows];
            match count {
                MOST => self.tile::<S, MOST, V>(simd, x, next, y),
                4 => self.tile::<S, 4, V>(simd, x, next, y),
                2 => self.tile::<S, 2, V>(simd, x, next, y),
                _ => self.tile::<S, 1, V>(simd, x, next, y),
            }
            row += count;
        }
    }

    /// The products of `R` rows of `x` with `V` vectors of rows of the matrix.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const V: usize>(
        &self,
        simd: S,
        x: &[f32],
        next: &[f32],
        y: &mut [&mut [MaybeUninit<f32>]],
    ) {
        let x: [&[f32]; R] = std::array::from_fn(|r| &x[r * self.columns..][..self.columns]);
        let (weights, _) = S::as_simd_f32s(self.weights);
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        let mut lines = next.chunks(LINE);
        let share = next.len().div_ceil(LINE).div_ceil(self.columns.div_ceil(LINE));
        for (block, weights) in weights.chunks(V * LINE).enumerate() {
            lines.by_ref().take(share).for_each(prefetch);
            let length = weights.len() / V;
            let x: [&[f32]; R] = std::array::from_fn(|r| &x[r][block * LINE..][..length]);
            for (k, weights) in weights.chunks_exact(V).enumerate() {
                for r in 0..R {
                    let value = simd.splat_f32s(x[r][k]);
                    for v in 0..V {
                        sums[r][v] = simd.mul_add_f32s(value, weights[v], sums[r][v]);
                    }
                }
            }
        }
        // A copy that the compiler does not see through: it then keeps the sums above in registers.
        for (sums, y) in black_box(sums).iter().zip(y) {
            let sums = pulp::bytemuck::cast_slice::<S::f32s, f32>(sums);
            for (sums, y) in sums.chunks_exact(S::F32_LANES).zip(y[self.left..].chunks_mut(S::F32_LANES)) {
                if y.len() == S::F32_LANES {
                    y.write_copy_of_slice(sums);
                } else {
                    y.write_copy_of_slice(&sums[..y.len()]);
                }
            }
        }
    }
}

/// Asks the processor to load a cache line into the second cache; nothing happens where there is none.
#[inline(always)]
fn prefetch(line: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(element) = line.first() {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: the instruction reads nothing and cannot fail, and every x86-64 processor has it.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(element).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}
